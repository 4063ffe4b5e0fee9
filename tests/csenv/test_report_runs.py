"""Several base models, decoders and judges on one page; the Pareto front; what it took."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_volume import make_volume
from test_report import Checked, interval, stage

from confscoring.report_calibration import calibration_content
from confscoring.report_cost import collect_costs, cost_page, sum_costs
from confscoring.report_judges import opinions_table
from confscoring.report_numbers import choose_runs, pareto_front
from confscoring.report_work import count_work
from volume.datasets import load_definition
from volume.paths import DatasetPaths

TWO = """
description = "two models"
splits = ["train", "test"]
[models.one]
path = "models/one"
[models.two]
path = "models/two"
[decoders.dola]
kind = "dola"
[runs.base]
kind = "base"
label = "One"
model = "one"
[runs.sft]
kind = "sft"
label = "SFT of one"
model = "one"
[runs.factscore]
label = "FS of one"
model = "one"
reward = "factscore_avg"
[runs.sft2]
kind = "sft"
label = "SFT of two"
model = "two"
[runs.factscore2]
label = "FS of two"
model = "two"
reward = "factscore_avg"
[runs.random2]
label = "Random of two"
model = "two"
reward = "random"
[runs.dola2]
kind = "decode"
label = "DoLa on FS of two"
start = "factscore2"
decoder = "dola"
extra = true
[eval]
bootstrap = 100
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A definition of two models, each with its supervised run, and a decoder on top."""
    path = tmp_path_factory.mktemp("definition") / "two.toml"
    path.write_text(TWO)
    return path


def test_the_page_is_about_the_first_tuned_run_and_the_supervised_run_that_it_descends_from(two: Path) -> None:
    definition = load_definition(str(two))
    everything = list(definition.runs)
    assert choose_runs(definition, everything) == {"base": "base", "reference": "sft", "main": "factscore", "control": "random2"}
    second = [name for name in everything if name.endswith("2") or name == "base"]
    assert choose_runs(definition, second) == {"base": "base", "reference": "sft2", "main": "factscore2", "control": "random2"}
    assert choose_runs(definition, ["base", "sft"]) == {"base": "base", "reference": "sft", "main": None, "control": None}
    assert choose_runs(definition, ["factscore2", "sft"])["reference"] is None  # its own is not there, another's will not do


def test_every_run_is_compared_with_its_own_supervised_run_and_the_page_says_with_which(two: Path, tmp_path: Path) -> None:
    made = {"base": "base", "sft": "sft", "factscore": "factscore", "sft2": "random", "factscore2": "max_conf", "dola2": "exp_conf"}
    source = make_volume(tmp_path, people=24, policies=tuple(made.values()))
    root = tmp_path / "dataset_two"
    for name, policy in made.items():
        shutil.copytree(source.eval(policy), root / "eval" / name, ignore=shutil.ignore_patterns("closed_book.json"))
    shutil.copy(source.questions("test"), root)
    for arguments in (*(["evaluate", "--run", name] for name in made), ["report"]):
        command = [sys.executable, "-m", f"confscoring.{arguments[0]}", "--dataset", str(two), "--data-dir", str(tmp_path), *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    numbers, page = json.loads((root / "report" / "summary.json").read_text()), (root / "report" / "index.html").read_text()
    runs = {run["name"]: run for run in numbers["runs"]}

    def share(run: str) -> float:
        return float(runs[run]["decodings"]["sample"]["figures"]["verifier"]["percent_correct"]["value"])

    for run, reference in (("factscore", "sft"), ("factscore2", "sft2"), ("dola2", "sft2"), ("base", "sft")):
        change = runs[run]["versus_reference"]["decodings"]["sample"]["verifier"]["percent_correct"]["value"]
        assert runs[run]["reference"] == reference and change == pytest.approx(share(run) - share(reference), abs=1e-5)
    assert "versus_reference" not in runs["sft2"] and "Not run: Random of two." in page and "further policies" not in page
    assert "difference<br>from its SFT, points" in page and "<small>against SFT of two</small>" in page
    assert "DoLa against layers high, alpha 0.1" in page and "✓</sup>" in page and "supported<sup>✓" in page
    checked = Checked()
    checked.feed(page)
    assert checked.open == [] and len(checked.ids) == len(set(checked.ids))


def test_the_front_holds_what_no_other_policy_beats_in_both() -> None:
    points = {"sft": (2.0, 3.0), "good": (1.0, 2.5), "worse": (1.5, 2.4), "silent": (0.1, 0.2), "twin": (1.0, 2.5), "same_x": (1.0, 2.0)}
    assert pareto_front(points) == ["silent", "good", "twin", "sft"]
    assert pareto_front({}) == [] and pareto_front({"one": (0.0, 0.0)}) == ["one"]


def judged(first: float, second: float) -> dict[str, Any]:
    return {judge: {"percent_correct": interval(value, value - 1, value + 1)} for judge, value in (("verifier", first), ("other", second))}


def test_what_a_run_gains_by_the_verifier_that_rewarded_it_stands_beside_what_it_gains_by_another() -> None:
    def run(name: str, first: float, second: float) -> dict[str, Any]:
        row: dict[str, Any] = {"name": name, "label": name, "present": True, "reference": "sft", "decodings": {"sample": {"figures": judged(first, second)}}}
        return row | ({"versus_reference": {"decodings": {"sample": judged(first - 60, second - 55)}}} if name != "sft" else {})

    numbers = {"roles": {"reference": "sft", "main": "fs"}, "verifiers": {"": "lexical", "other": "llm some-model"}, "runs": [run("sft", 60, 55), run("fs", 72, 58)]}
    table = opinions_table(numbers)
    assert "llm some-model<br>(judge other)" in table and "lexical<br>(rewards)" in table
    assert table.index("+12.0") < table.index("+3.0") and table.count("<tr") == 3
    assert opinions_table({**numbers, "verifiers": {"": "lexical"}}) == ""


def test_the_reliability_of_the_tuned_policy_stands_beside_that_of_sft() -> None:
    found = {
        "claims": 1234, "without": 2,
        **{name: interval(0.5, 0.4, 0.6) for name in ("percent_correct", "confidence", "calibration_error", "auroc", "brier")},
        "reliability": [{"low": 0.0, "high": 0.5, "claims": 0, "confidence": None, "correct": interval(0, 0, 0)},
                        {"low": 0.5, "high": 1.0, "claims": 1234, "confidence": 0.8, "correct": interval(0.6, 0.5, 0.7)}],
    }  # fmt: skip
    runs = [{"name": name, "label": name, "present": True, "calibration": {"truth": found}} for name in ("sft", "fs")] + [{"name": "no", "label": "no", "present": True}]
    content = calibration_content({"judge": "truth", "roles": {"reference": "sft", "main": "fs"}, "runs": runs})
    assert content.count("<svg") == 2 and content.count("<tr") == 3 and "2 not asked" in content
    assert calibration_content({"judge": "truth", "roles": {"reference": None, "main": None}, "runs": runs[2:]}) == ""


def test_work_is_counted_from_what_training_logged_and_evaluation_counted() -> None:
    sums = {"sample": {"responses": [2, 2], "facts": [5, 6], "tokens": [30, 40]}, "greedy": {"responses": [1, 1], "facts": [3, 3], "tokens": [9, 9]}}
    curves = {"sft": [], "dpo": [{"step": 10, "examples": 640}, {"step": 20, "examples": 1280}]}
    assert count_work({"per_person": {"sums": sums}}, curves) == {"steps": 20, "examples": 1280, "responses": 6, "tokens": 88, "facts": 17}
    del sums["greedy"]["tokens"]
    assert count_work({"per_person": {"sums": sums}}, {}) == {"steps": None, "examples": None, "responses": 6, "tokens": None, "facts": 17}


def test_costs_are_read_from_manifests_added_up_and_shown_and_are_no_output_of_the_step(tmp_path: Path) -> None:
    make_volume(tmp_path, people=24, policies=("sft",))
    for name, arguments in (("evaluate", ["--run", "sft"]), ("report", [])):
        done = stage(name, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
    root = tmp_path / "dataset_synth"
    written = json.loads((root / "cost.json").read_text())
    assert [row["step"] for row in written["steps"]] == ["eval-sft"] and written["steps"][0]["stage"] == "eval"
    manifest = json.loads((root / "manifests" / "eval-sft.json").read_text())
    assert written["total"]["seconds"] == manifest["seconds"] and written["total"]["usd"] is None
    outputs = json.loads((root / "manifests" / "report.json").read_text())["outputs"]
    assert not [name for name in outputs if "cost" in name]
    page = (root / "report" / "index.html").read_text()
    assert manifest["started"] not in page and manifest["environment"]["processor"] not in page
    (root / "manifests" / "eval-sft.json").write_text(json.dumps({**manifest, "seconds": 86399.0}))  # its own figure may stand in a drawing by chance
    assert stage("report", tmp_path).returncode == 0 and (root / "report" / "index.html").read_text() == page
    (root / "manifests" / "eval-sft.json").write_text(json.dumps(manifest))

    calls = {"asked": 7, "recorded": 3, "prompt_tokens": 900, "completion_tokens": 50, "usd": 0.25}
    asked = {**manifest, "step": "factscore-train", "notes": {"calls": calls}, "seconds": 3600.0}
    (root / "manifests" / "factscore-train.json").write_text(json.dumps(asked))
    rows = collect_costs(DatasetPaths(root), {"factscore-train": "factscore", "eval-sft": "eval", "train-sft": "train"})
    total = sum_costs(rows)
    assert [row["step"] for row in rows] == ["factscore-train", "eval-sft"]
    assert (total["asked"], total["prompt_tokens"], total["usd"], total["seconds"]) == (7, 900, 0.25, 3600.0 + manifest["seconds"])
    text = cost_page("synth <x>", rows)
    checked = Checked()
    checked.feed(text)
    assert checked.open == [] and checked.loads == [] and "synth &lt;x&gt;" in text and "1 h 0 min" in text and "0.25" in text
