"""The choice between a run's candidates: the rule worked by hand, then the stage on a small volume, and its place in the report."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from choice_volume import STEPS, exported, read_choice, run_choose, write_policy, write_volume
from tiny_models import make_llama

from confscoring import responses
from confscoring.report_choice import choice_table
from confscoring.selection import Rule, Selection, Tally, select
from volume.paths import DatasetPaths
from volume.stage import run_topics

RULE = Rule(keep_correct=0.9, more_empty=2.0)
SFT = Tally(responses=100, facts=400, correct=240, empty=4)  # 60 % correct, 2.4 correct facts, 4 % empty
EARLY = Tally(100, 360, 234, 4)  # 65 %, 97.5 % of SFT's correct facts
LATE = Tally(100, 300, 225, 6)  # 75 %, 93.75 %, 2 points more empty: just within
SILENT = Tally(100, 120, 108, 6)  # 90 %, but 45 % of the correct facts
EMPTY = Tally(100, 280, 238, 7)  # 85 %, but 3 points more empty


def test_the_highest_per_cent_correct_is_taken_of_those_that_qualify() -> None:
    assert select([EARLY, LATE], SFT, RULE) == Selection(chosen=1, qualified=True, why_not=((), ()), frontier=(0, 1))
    assert select([LATE, EARLY], SFT, RULE).chosen == 0


def test_a_policy_that_falls_silent_is_not_taken_however_correct_the_rest_is() -> None:
    found = select([EARLY, LATE, SILENT], SFT, RULE)
    assert (found.chosen, found.qualified) == (1, True)
    assert found.why_not == ((), (), ("keeps 45.00 % of SFT's correct facts, less than 90 %",))


def test_a_policy_that_leaves_more_responses_empty_is_not_taken() -> None:
    found = select([EARLY, EMPTY], SFT, RULE)
    assert found.chosen == 0 and found.why_not[1] == ("3.00 points more empty responses than SFT, more than 2",)


def test_if_none_qualifies_the_last_is_taken_and_the_frontier_is_named() -> None:
    worse = Tally(100, 200, 100, 9)  # 50 %, 1.0 correct facts: SILENT beats it in both
    found = select([SILENT, EMPTY, worse], SFT, RULE)
    assert (found.chosen, found.qualified, found.frontier) == (2, False, (0, 1))
    assert all(found.why_not) and len(found.why_not[2]) == 2


def test_of_equals_the_earliest_is_taken_and_neither_hides_the_other() -> None:
    doubled = Tally(200, 600, 450, 12)  # the same shares from twice the counts
    assert select([EARLY, LATE, doubled, LATE], SFT, RULE).chosen == 1
    assert select([LATE, LATE], SFT, RULE).frontier == (0, 1)


def test_a_bound_that_is_just_met_is_kept_whatever_floats_make_of_it() -> None:
    supervised = Tally(responses=3, facts=60, correct=50, empty=0)
    assert 45 / 3 < 0.9 * (50 / 3)  # in floats the candidate below would fail
    assert RULE.why_not(Tally(3, 50, 45, 0), supervised) == []
    assert 100 * (4 / 50 - 3 / 50) > 2.0
    assert RULE.why_not(Tally(50, 90, 50, 4), Tally(50, 90, 50, 3)) == []
    assert len(RULE.why_not(Tally(3, 50, 44, 0), supervised)) == len(RULE.why_not(Tally(50, 90, 50, 5), Tally(50, 90, 50, 3))) == 1


def test_if_the_supervised_policy_states_nothing_correct_nothing_can_be_lost() -> None:
    supervised = Tally(10, 20, 0, 1)
    assert select([Tally(10, 20, 0, 1), Tally(10, 20, 5, 1)], supervised, RULE) == Selection(1, True, ((), ()), (1,))


def test_a_policy_that_states_no_fact_has_no_per_cent_correct_and_is_on_no_frontier() -> None:
    mute = Tally(10, 0, 0, 10)
    found = select([mute, mute], Tally(10, 0, 0, 10), RULE)
    assert (found.chosen, found.qualified, found.why_not, found.frontier) == (1, False, (("states no fact",),) * 2, ())
    assert select([Tally(10, 4, 0, 8), mute], Tally(10, 0, 0, 10), RULE).chosen == 0


def test_with_the_bounds_wide_open_per_cent_correct_alone_decides() -> None:
    assert select([LATE, SILENT, EARLY], SFT, Rule(keep_correct=0.0, more_empty=100.0)).chosen == 1


# Two people, two responses each. SFT: 8 of 16 facts correct, 2.0 correct facts, none empty.
SUPERVISED = {"Ada": [(2, 2), (2, 2)], "Bo": [(3, 1), (1, 3)]}
GOOD = {"Ada": [(2, 1), (2, 1)], "Bo": [(2, 1), (2, 1)]}  # 8 of 12
BETTER = {"Ada": [(2, 0), (2, 1)], "Bo": [(3, 0), (1, 1)]}  # 8 of 10
QUIET = {"Ada": [(1, 0), (0, 0)], "Bo": [(2, 0), (1, 0)]}  # 4 of 4, a quarter empty


def test_the_stage_exports_the_candidate_that_the_rule_takes_and_writes_down_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path, SUPERVISED, [GOOD, BETTER, QUIET])
    assert run_choose(paths) == 0
    assert exported(paths) == "weights of candidate 2"
    choice = read_choice(paths)
    assert (choice["chosen"], choice["step"], choice["qualified"], choice["people"], choice["missing"]) == (2, 20, True, 2, [])
    assert choice["rule"] == {"keep_correct": 0.9, "more_empty": 2.0} and choice["split"] == "val" and choice["judge"] == "verifier"
    figures = [{name: figure["value"] for name, figure in policy["figures"].items()} for policy in (choice["supervised"], *choice["candidates"])]
    assert figures[0] == {"percent_correct": 50.0, "correct": 2.0, "incorrect": 2.0, "facts": 4.0, "empty": 0.0}
    assert figures[2] == {"percent_correct": 80.0, "correct": 2.0, "incorrect": 0.5, "facts": 2.5, "empty": 0.0}
    assert figures[3] == {"percent_correct": 100.0, "correct": 1.0, "incorrect": 0.0, "facts": 1.0, "empty": 25.0}
    assert [policy["step"] for policy in choice["candidates"]] == list(STEPS)
    assert [policy["qualifies"] for policy in choice["candidates"]] == [True, True, False]
    assert choice["candidates"][2]["why_not"] == ["keeps 50.00 % of SFT's correct facts, less than 90 %", "25.00 points more empty responses than SFT, more than 2"]
    assert choice["candidates"][1]["counts"] == {"responses": 4, "facts": 10, "correct": 8, "empty": 0}
    said = capfd.readouterr().err
    assert "candidate 2 (step 20): 80.0 % correct, 2.00 correct facts, 0.0 % empty: meets the rule" in said and "frontier" not in said
    manifest = json.loads(paths.manifest("choose-fs").read_text())
    assert sorted(Path(name).name for name in manifest["outputs"]) == ["choice.json", "config.json", "model.safetensors"]


def test_if_none_meets_the_rule_the_last_is_exported_and_the_log_shows_the_frontier(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    poor = {"Ada": [(1, 2), (0, 2)], "Bo": [(1, 2), (1, 2)]}
    paths = write_volume(tmp_path, SUPERVISED, [QUIET, poor])
    assert run_choose(paths) == 0
    choice = read_choice(paths)
    assert (choice["chosen"], choice["qualified"], choice["frontier"]) == (2, False, [1]) and exported(paths) == "weights of candidate 2"
    said = capfd.readouterr().err
    assert "no candidate meets the rule: the last is exported, as without a choice: candidate 2 of 2 (step 20)" in said
    assert "The frontier of per cent correct and correct facts: candidate 1\n" in said


def test_a_second_run_finds_all_up_to_date_and_new_scores_choose_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path, SUPERVISED, [GOOD, BETTER])
    assert run_choose(paths) == 0
    before = paths.choice("fs").read_bytes(), paths.choice("fs").stat().st_mtime_ns
    assert run_choose(paths) == 0 and "up to date" in capfd.readouterr().err
    assert (paths.choice("fs").read_bytes(), paths.choice("fs").stat().st_mtime_ns) == before
    write_policy(paths, "fs", "candidates/1", {"Ada": [(9, 0), (9, 0)]})
    assert run_choose(paths) == 0
    assert exported(paths) == "weights of candidate 1" and read_choice(paths)["chosen"] == 1


def test_other_bounds_of_the_definition_decide_otherwise(tmp_path: Path) -> None:
    paths = write_volume(tmp_path, SUPERVISED, [GOOD, QUIET], rule="keep_correct = 0.5\nmore_empty = 25.0")
    assert run_choose(paths) == 0
    assert exported(paths) == "weights of candidate 2" and read_choice(paths)["qualified"]


def test_people_whom_a_stage_failed_on_are_left_out_for_every_policy(tmp_path: Path) -> None:
    """Cy's one response would make candidate 1 the best; candidate 2 was not scored on Cy."""
    paths = write_volume(tmp_path, {**SUPERVISED, "Cy": [(1, 1)]}, [{**GOOD, "Cy": [(50, 0)]}, BETTER], people=("Ada", "Bo", "Cy"))
    assert run_choose(paths) == 0
    choice = read_choice(paths)
    assert (choice["missing"], choice["people"], choice["chosen"]) == (["Cy"], 2, 2)
    assert choice["candidates"][0]["counts"]["facts"] == 12
    assert "people without scored responses, left out: 1" in choice_table(choice)


def test_the_export_is_a_link_where_it_can_be_and_a_copy_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_volume(tmp_path, SUPERVISED, [GOOD, BETTER])
    chosen, export = paths.candidate("fs", 2) / "model.safetensors", paths.export("fs") / "model.safetensors"
    export.parent.mkdir()
    export.write_text("an older policy")
    (export.parent / "old_file.json").write_text("{}")
    assert run_choose(paths) == 0
    assert export.stat().st_ino == chosen.stat().st_ino and not (export.parent / "old_file.json").exists()

    def no_link(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    export.unlink()
    assert run_choose(paths) == 0
    assert export.read_bytes() == chosen.read_bytes() and export.stat().st_ino != chosen.stat().st_ino
    assert not list(paths.run("fs").glob(".*"))


@pytest.mark.parametrize("fault", ["no candidates", "another number", "one folder is gone", "nobody is scored", "scores of other responses"])
def test_what_cannot_be_chosen_from_is_refused_with_the_remedy(tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: str) -> None:
    paths = write_volume(tmp_path, SUPERVISED, [GOOD, BETTER])
    expected = {
        "no candidates": (2, "candidates.json is missing"), "another number": (1, "names 1 candidates, expected 2"), "one folder is gone": (2, "make train"),
        "nobody is scored": (2, "nobody of split 'val' has scored responses"), "scores of other responses": (1, "does not score the responses"),
    }  # fmt: skip
    if fault == "no candidates":
        paths.candidates("fs").unlink()
    elif fault == "another number":
        paths.candidates("fs").write_text('{"steps": [10]}')
    elif fault == "one folder is gone":
        for path in paths.candidate("fs", 2).iterdir():
            path.unlink()
    elif fault == "nobody is scored":
        for name in ("Ada", "Bo"):
            paths.factscore(name, "sft", "val").unlink()
    else:
        paths.factscore("Ada", "fs", "candidates/1").write_text("[]")
    status, message = expected[fault]
    assert run_choose(paths) == status
    said = capfd.readouterr().err
    assert message in said and "Traceback" not in said
    assert not paths.export("fs").exists() and not paths.choice("fs").exists()


def test_without_candidates_there_is_no_such_stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path, SUPERVISED, [GOOD, BETTER])
    definition = tmp_path / "mine.toml"
    definition.write_text(definition.read_text().replace("candidates = 2", "candidates = 0"))
    assert run_choose(paths) == 2 and "has no stage 'choose'" in capfd.readouterr().err


def test_paths_of_candidates_stay_apart_from_those_of_the_policy() -> None:
    paths = DatasetPaths(Path("/v"))
    assert paths.responses("A/b", "fs", "candidates/2") == Path("/v/eval/fs/candidates/2/responses/A%2Fb_generations.json")
    assert paths.factscore("Ada", "fs") == Path("/v/eval/fs/factscore_outputs/Ada_fs_out.json")
    assert paths.candidate("fs", 2) == Path("/v/runs/fs/candidates/2") and paths.candidates("fs") == Path("/v/runs/fs/candidates/candidates.json")


def test_a_candidate_is_sampled_from_its_own_folder_and_with_sampled_responses_alone(tmp_path: Path) -> None:
    paths = write_volume(tmp_path, {}, [{}, {}])
    definition = (tmp_path / "mine.toml").read_text().replace("bootstrap = 40", "n = 2\nbootstrap = 40")
    (tmp_path / "mine.toml").write_text(definition + '[models.tiny]\npath = "models/tiny"\n[responses]\nmodel = "tiny"\nn = 3\nmax_new_tokens = 8\n')
    for number in (1, 2):
        (paths.candidate("fs", number) / "model.safetensors").unlink()  # it holds no weights
        make_llama(paths.candidate("fs", number), seed=number)
    texts = {}
    for number in (1, 2):
        arguments = ["--dataset", str(tmp_path / "mine.toml"), "--data-dir", str(tmp_path), "--run", "fs", "--split", "val", "--candidate", str(number)]
        assert run_topics("responses", responses.prepare, group=responses.topics_at_once, fixed=True, argv=arguments) == 0
        (found,) = json.loads(paths.responses("Ada", "fs", f"candidates/{number}").read_text()).values()
        assert found["decoding"] == ["sample", "sample"]
        texts[number] = found["responses"]
    assert texts[1] != texts[2]
    assert not paths.responses("Ada", "fs").exists()
