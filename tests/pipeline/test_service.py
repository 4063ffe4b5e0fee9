"""A service within the pipeline: a second verifier over real HTTP, in the report beside the first, and what a plan says it costs.

The scripted judge knows the toy world's truth and errs on known claims, so the report's figures can be reckoned by hand.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from scripted_judge import JUDGE, errs, truthful_but
from scripted_service import ScriptedService
from toy import TOY, run

ERRS = 0.15  # share of the claims on which the judge errs
RUNS = ("base", "sft", "factscore")


@pytest.fixture(scope="module")
def judged(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], ScriptedService, str]:
    volume = tmp_path_factory.mktemp("judged") / "volume"
    shutil.copytree(finished, volume)
    with ScriptedService(truthful_but(volume / "dataset_toy", RUNS, ERRS)) as service:
        definition = volume.parent / "toy.toml"
        definition.write_text(TOY.read_text() + JUDGE.format(url=service.url))
        planned = run("plan", volume, dataset=definition).stdout
        done = run("report", volume, dataset=definition, OPENAI_API_KEY="sk-planted")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return volume, {"definition": definition, "said": done.stdout}, service, planned


def test_the_report_shows_both_verifiers_against_the_truth(judged: tuple[Path, dict[str, Any], ScriptedService, str]) -> None:
    volume, about, _, _ = judged
    summary = json.loads((volume / "dataset_toy" / "report" / "summary.json").read_text())
    page = (volume / "dataset_toy" / "report" / "index.html").read_text()
    assert summary["verifiers"] == {"": "lexical", "service": "llm scripted"} and "Verifiers side by side" in page
    rows = [row for row in summary["runs"] if row["present"]]
    for row in rows:
        lexical = row["decodings"]["sample"]["verifier_vs_truth"]
        service = row["judges_vs_truth"]["service"]["sample"]
        # By hand: every sampled claim, judged by the truth and by whether the judge errs on it.
        right = wrong = 0
        for path in sorted((volume / "dataset_toy" / "eval" / row["name"] / "factscore_outputs").glob("*.json")):
            generations = json.loads((path.parents[1] / "responses" / path.name.replace("_fs_out", "_generations")).read_text())
            decoding = [kind for generation in generations.values() for kind in generation["decoding"]]
            for kind, response in zip(decoding, json.loads(path.read_text()), strict=True):
                for decision in response["decisions"][0] if kind == "sample" else []:
                    if decision["kind"] == "claim":
                        right, wrong = (right, wrong + 1) if errs(response["topic"], decision["atom"], ERRS) else (right + 1, wrong)
        assert service["rates"]["agreement"] == pytest.approx(100 * right / (right + wrong))
        assert sum(service["claims"][f"{a}_{b}"] for a in ("supported", "unsupported") for b in ("true", "false")) == right + wrong
        assert service["rates"]["agreement"] != lexical["rates"]["agreement"]
    for rate in {f"{row['judges_vs_truth']['service']['sample']['rates']['agreement']:.1f}" for row in rows}:
        assert rate in page


def test_only_the_judging_steps_ran_and_each_different_claim_was_asked_once(judged: tuple[Path, dict[str, Any], ScriptedService, str]) -> None:
    _, about, service, _ = judged
    started = set(re.findall(r"^\[(\S+)\] starts", about["said"], flags=re.M))
    assert started == {f"judge-service-{name}" for name in RUNS} | {f"eval-{name}" for name in RUNS} | {"report"}
    assert max(service.answered.values()) == 1 and service.authorizations[0] == "Bearer sk-planted"


def test_the_plan_says_calls_tokens_and_money_before_and_nothing_after(judged: tuple[Path, dict[str, Any], ScriptedService, str]) -> None:
    volume, about, service, planned = judged
    lines = re.findall(r"judge-service-\w+: at most ([\d,]+) calls, about ([\d,]+) tokens, ([\d.]+) US dollars", planned)
    asked = [int(calls.replace(",", "")) for calls, _, _ in lines]
    assert len(lines) == 3 and len(service.calls) <= sum(asked) <= 1.5 * len(service.calls)  # runs share claims, which are asked once
    again = run("plan", volume, dataset=about["definition"])
    assert "Calls to" not in again.stdout and "0 of" in again.stdout


def test_replay_gives_the_same_verdicts_with_no_service_and_no_network(judged: tuple[Path, dict[str, Any], ScriptedService, str]) -> None:
    volume, about, _, _ = judged
    folder = volume / "dataset_toy" / "eval" / "sft" / "judges" / "service"
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    shutil.rmtree(folder)
    (volume / "dataset_toy" / "manifests" / "judge-service-sft.json").unlink()
    done = run("report", volume, "--llm-mode", "replay", dataset=about["definition"])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert {path.name: path.read_bytes() for path in folder.glob("*.json")} == before


def test_the_key_is_in_no_file_of_the_volume(judged: tuple[Path, dict[str, Any], ScriptedService, str]) -> None:
    volume, about, _, _ = judged
    assert "sk-planted" not in about["said"]
    for path in volume.rglob("*"):
        if path.is_file():
            assert b"sk-planted" not in path.read_bytes(), path


def test_a_key_file_stands_for_the_variable_and_a_wrong_one_is_named(judged: tuple[Path, dict[str, Any], ScriptedService, str], tmp_path: Path) -> None:
    volume, about, _, _ = judged
    done = run("report", volume, dataset=about["definition"], OPENAI_API_KEY_FILE=str(tmp_path / "none"), OPENAI_API_KEY="")
    assert "Traceback" not in done.stderr
    again = run("plan", volume, dataset=Path("bio"), OPENAI_API_KEY_FILE=str(tmp_path / "none"), OPENAI_API_KEY="")
    assert again.returncode == 2 and "OPENAI_API_KEY_FILE" in again.stderr
    (tmp_path / "key").write_text("sk-file\n")
    again = run("plan", volume, dataset=Path("bio"), OPENAI_API_KEY_FILE=str(tmp_path / "key"), OPENAI_API_KEY="")
    assert again.returncode == 0 and "environment variable OPENAI_API_KEY" not in again.stdout
