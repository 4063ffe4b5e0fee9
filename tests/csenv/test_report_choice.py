"""The choice between a run's candidates in the report: its tables, the mark in the training curve, and the whole page."""

from __future__ import annotations

import shutil
from pathlib import Path

from choice_volume import read_choice, run_choose, write_volume
from fake_volume import make_volume
from test_report import Checked, read, stage

from confscoring.report_choice import choice_section
from confscoring.report_figures import reward_curves
from volume.datasets import DATASETS

# Two people, two responses each. SFT: 8 of 16 facts correct, 2.0 correct facts, none empty.
SUPERVISED = {"Ada": [(2, 2), (2, 2)], "Bo": [(3, 1), (1, 3)]}
GOOD = {"Ada": [(2, 1), (2, 1)], "Bo": [(2, 1), (2, 1)]}  # 8 of 12
BETTER = {"Ada": [(2, 0), (2, 1)], "Bo": [(3, 0), (1, 1)]}  # 8 of 10
QUIET = {"Ada": [(1, 0), (0, 0)], "Bo": [(2, 0), (1, 0)]}  # 4 of 4, a quarter empty


def choices(tmp_path: Path, *candidates: dict[str, list[tuple[int, int]]]) -> dict[str, object]:
    paths = write_volume(tmp_path, SUPERVISED, list(candidates))
    assert run_choose(paths) == 0
    return {"choices": {"fs": read_choice(paths)}}


def test_the_report_shows_every_candidate_and_which_was_taken(tmp_path: Path) -> None:
    page = choice_section(choices(tmp_path, GOOD, BETTER, QUIET))
    assert '<h3 class="caption">Candidates of FactTune-FS' in page and page.count('<th scope="row">step ') == 3
    assert page.count('<tr class="key">') == 1 and '<tr class="key"><th scope="row">step 20</th><td>80.0' in page
    assert "No policy met the rule" not in page and "at least 90 % of SFT’s correct facts" in page
    assert choice_section({}) == ""


def test_the_report_says_so_where_no_candidate_met_the_rule(tmp_path: Path) -> None:
    page = choice_section(choices(tmp_path, QUIET, QUIET))
    assert "No policy met the rule: FactTune-FS. There the last one was taken" in page
    assert "taken: the last; keeps 50.00 % of SFT" in page and "on the frontier" in page


def test_the_training_curve_marks_the_step_that_was_taken_and_only_then() -> None:
    steps = [{"step": step, "examples": 8 * step, "chosen_reward": 0.1 * step, "rejected_reward": -0.1 * step} for step in (1, 10, 20)]
    plain, marked = (reward_curves(steps, -2.0, 2.0, "FS", "curve-fs", chosen) for chosen in (None, 10))
    assert "taken" not in plain and "the policy of step 10 was taken" in marked
    assert 'x1="147" y1="10" x2="147" y2="160"' in marked  # half of the way from 40 to 254


def test_the_choice_between_candidates_is_shown_where_the_definition_has_it_and_only_there(tmp_path: Path) -> None:
    make_volume(tmp_path / "data", people=8, policies=("sft", "factscore"), n=2)
    for run in ("sft", "factscore"):
        assert stage("evaluate", tmp_path / "data", "--run", run).returncode == 0
    assert stage("report", tmp_path / "data").returncode == 0
    plain = read(tmp_path / "data")
    few = {"Ada": [(2, 0)]}
    chosen = write_volume(tmp_path / "other", {"Ada": [(2, 2)]}, [{"Ada": [(2, 1)]}, few, few], people=("Ada",))
    assert run_choose(chosen) == 0
    shutil.copy(chosen.choice("fs"), tmp_path / "data" / "dataset_synth" / "runs" / "factscore" / "choice.json")
    shutil.rmtree(tmp_path / "data" / "dataset_synth" / "report")
    assert stage("report", tmp_path / "data").returncode == 0
    assert read(tmp_path / "data") == plain  # what an earlier definition has left there says nothing
    definition = tmp_path / "synth.toml"
    definition.write_text((DATASETS / "synth.toml").read_text().replace("[dpo]\n", "[dpo]\ncandidates = 3\n"))
    done = stage("report", tmp_path / "data", "--dataset", str(definition))
    assert done.returncode == 0, done.stderr
    numbers, page = read(tmp_path / "data")
    assert list(numbers["choices"]) == ["factscore"] and numbers["choices"]["factscore"]["step"] == 20
    assert "runs/factscore/choice.json" in numbers["inputs"]
    checked = Checked()
    checked.feed(page)
    assert checked.open == [] and len(checked.ids) == len(set(checked.ids))
    assert "Candidates of FactTune-FS" in checked.text and "step 30" in checked.text
    assert page.count("was taken.</desc>") == 1 and '<tr class="key"><th scope="row">step 20</th><td>100.0' in page
