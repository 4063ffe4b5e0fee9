"""A policy asked back about its own claims: which ones, by whose answers, and the figures worked by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_volume import decision, scored
from sampling_volume import PREFIX
from tiny_models import make_llama

from confscoring import answers, calibrate, evaluate, questions
from confscoring.calibrate import judges_of, measure_claims
from confscoring.calibration import Claim, brier, calibration_error, calibration_errors
from confscoring.estimate import ESTIMATORS
from confscoring.judge import World
from confscoring.questions import one_each
from confscoring.reward_functions import Fact, ResponseFacts
from confscoring.statistics import draw_people
from volume.costs import tell_estimate
from volume.errors import RecordError
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.stage import run_topics, run_whole

HAND = np.array([[1, 1], [2, 0]], dtype=np.int64)  # two resamples of two topics: each once; the first twice
PEOPLE = ("Ada Albane", "Oskar Venn")
ASKED = ("Who is {}?", "What did {} do?")


def write_volume(folder: Path, section: str = "") -> DatasetPaths:
    """Write a run's responses with their scores, sampled and greedy, of two people and two questions each."""
    (folder / "mine.toml").write_text(
        'name = "mine"\ndescription = "people"\nsplits = ["train", "dpoval", "test"]\n[models.tiny]\npath = "models/tiny"\n[runs.fs]\nkind = "sft"\nlabel = "FS"\n'
        '[questions]\nbackend = "rules"\n[responses]\nmodel = "tiny"\nn = 2\nmax_new_tokens = 8\n'
        f'[answers]\nmodel = "tiny"\nn = 4\nmax_new_tokens = 6\nstop = ["\\n"]\nprefix = """{PREFIX}"""\n[eval]\ncalibrated = ["fs"]\nbootstrap = 50\n{section}'
    )
    paths = DatasetPaths(folder / "dataset_mine")
    write_json(paths.questions("test"), [{"topic": name, "topic_id": place, "questions": [text.format(name) for text in ASKED]} for place, name in enumerate(PEOPLE)])
    for name in PEOPLE:
        texts = {text.format(name): {"responses": [f"{kind} {place}" for kind in ("first", "second", "greedy")], "decoding": ["sample", "sample", "greedy"]}
                 for place, text in enumerate(ASKED)}  # fmt: skip
        write_json(paths.responses(name, "fs"), texts)
        rows = [
            {**scored(name, [decision(f"{name} was born in {kind.title()}ville."), {**decision(f"{name} became a surveyor in {1900 + place}."), "is_supported": False}]),
             "generation": f"{kind} {place}"}
            for place in range(2) for kind in ("first", "second", "greedy")
        ]  # fmt: skip
        write_json(paths.factscore(name, "fs"), rows)
    return paths


def arguments(paths: DatasetPaths, *more: str) -> list[str]:
    folder = paths.root.parent
    return ["--dataset", str(folder / "mine.toml"), "--data-dir", str(folder), "--run", "fs", "--split", "test", *more]


def ask(paths: DatasetPaths) -> int:
    return run_topics("questions", questions.prepare, 32, argv=arguments(paths))


def answer(paths: DatasetPaths) -> int:
    return run_topics("answers", answers.prepare, 32, fixed=True, argv=arguments(paths))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_greedy_response_to_each_question_is_asked_about_and_the_policy_answers_itself(tmp_path: Path) -> None:
    paths = write_volume(tmp_path)
    make_llama(paths.export("fs"), positions=512, seed=1)
    make_llama(tmp_path / "models" / "tiny", positions=512, seed=2)
    assert ask(paths) == 0 and answer(paths) == 0
    rows = read(paths.atomic_qs(PEOPLE[0], "fs"))
    assert [row["generation"] for row in rows] == ["greedy 0", "greedy 1"]
    asked = [{one["atomic_question"] for one in row["decisions"][0]} for row in rows]
    assert all(None not in own and len(own) == 2 for own in asked) and rows[0]["decisions"][0][0]["claim_answer"] == "Greedyville"
    first = read(paths.samples("own", PEOPLE[0], "fs"))
    assert [set(own) for own in first["samples"]] == asked and {len(texts) for own in first["samples"] for texts in own.values()} == {4}
    assert not (paths.root / "atomic_qs").exists() and not (paths.root / "atomic_qs_samples").exists()  # the rewards' own folders
    assert run_whole("calibrate", calibrate.produce, argv=arguments(paths)) == 0 and run_whole("evaluate", evaluate.produce, argv=arguments(paths)) == 0
    found = read(paths.calibration("fs"))
    assert found["judges"]["verifier"]["claims"] == 8 and found["judges"]["verifier"]["percent_correct"]["value"] == 50.0 and list(found["judges"]) == ["verifier"]
    assert read(paths.eval("fs") / "summary.json")["calibration"] == found["judges"]
    make_llama(paths.export("fs"), positions=512, seed=3)
    assert answer(paths) == 0
    assert read(paths.samples("own", PEOPLE[0], "fs"))["samples"] != first["samples"]


def test_a_policy_s_draws_are_its_own_and_those_of_the_rewards_stay_as_they_are() -> None:
    settings: Any = type("Settings", (), {"prompt": "Q: {question}"})
    items = [answers.answer_prompt("Ada", "Where?", settings, run).item for run in (None, "sft", "fs")]
    assert items[0] == "answers/Ada/Where?" and len(set(items)) == 3


def test_without_a_greedy_response_the_first_is_asked_about_and_scores_of_others_are_refused() -> None:
    rows: Any = [{"generation": text} for text in ("a", "b", "c", "d")]
    sampled: Any = {"Q1?": {"responses": ["a", "b"]}, "Q2?": {"responses": ["c", "d"], "decoding": ["sample", "greedy"]}}
    assert [row["generation"] for row in one_each(sampled, rows, "Ada")] == ["a", "d"]
    with pytest.raises(RecordError, match="not those that were sampled"):
        one_each(sampled, rows[::-1], "Ada")
    with pytest.raises(RecordError, match="Q1"):
        one_each({"Q1?": {"responses": []}}, [], "Ada")


def response(topic: str, *facts: Fact) -> ResponseFacts:
    return ResponseFacts(topic, "Q?", 0, "x", facts, None, None, 4)


def test_confidence_is_set_against_each_judge_and_what_cannot_be_asked_is_left_out_and_counted() -> None:
    fact = {"field": "law"}
    world = World(["field"], ["often"], {name: {"name": name, "tier": 0, "facts": fact, "exposure": {}, "in_knowledge": []} for name in ("Ada", "Bo")})
    claims = {
        "Ada": [response("Ada", Fact("a", True, attribute="field", value="Law", samp_conf=1.0), Fact("b", False, attribute="field", value="art", samp_conf=0.5),
                         Fact("c", False, "unparsed"), Fact("d", True))],
        "Bo": [response("Bo", Fact("e", False, attribute="field", value="law", samp_conf=0.75), Fact("f", False, attribute="field", value="art", samp_conf=0.25))],
    }  # fmt: skip
    by_truth, by_verifier = (measure_claims(claims, judge, HAND) for judge in judges_of(world).values())
    assert list(judges_of(world)) == ["truth", "verifier"]
    assert (by_truth["claims"], by_truth["without"], by_truth["percent_correct"]["value"], by_verifier["percent_correct"]["value"]) == (4, 1, 50.0, 25.0)
    assert by_truth["confidence"]["value"] == 62.5 and by_truth["auroc"]["value"] == 1.0
    # (1 - 1)^2, 0.5^2, 0.25^2, 0.25^2, over 4; Ada twice: 0.25 / 2. By the verifier Bo's 0.75 is wrong: 0.75^2.
    assert by_truth["brier"] == {"value": 0.09375, "low": pytest.approx(0.094531, abs=2e-6), "high": pytest.approx(0.124219, abs=2e-6)}
    assert by_verifier["brier"]["value"] == pytest.approx((0.25 + 0.5625 + 0.0625) / 4)
    assert by_truth["calibration_error"]["value"] == 0.25  # bins 1.0, 0.5, 0.75, 0.25: gaps 0, 0.5, 0.25, 0.25
    assert by_truth["calibration_error"]["high"] == by_truth["calibration_error"]["value"] == by_truth["calibration_error"]["low"]  # Ada twice: 0.5 / 2
    assert by_truth["pairs_within_responses"] == 2 and sum(one["claims"] for one in by_truth["reliability"]) == 4


def test_the_calibration_error_of_a_resample_is_that_of_its_claims() -> None:
    rng = random.Random(0)
    people: list[list[Claim]] = [[(rng.randrange(21) / 20, rng.random() < 0.6) for _ in range(rng.randrange(6))] for _ in range(12)]
    for row in draw_people(12, 20, 0):
        drawn = [claim for person, times in zip(people, row, strict=True) for claim in person * int(times)]
        found = calibration_errors(people, row[None])
        assert found["low"] == found["high"] == pytest.approx(calibration_error(drawn), abs=2e-6)
    assert calibration_errors(people, draw_people(12, 20, 0))["value"] == calibration_error(claim for person in people for claim in person)
    assert calibration_errors([[], []], HAND) == brier([[], []], HAND) == {"value": None, "low": None, "high": None}


def test_topics_without_answers_are_named_and_none_at_all_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path)
    assert run_whole("calibrate", calibrate.produce, argv=arguments(paths)) == 2
    assert "no topic whose claims were asked back about" in capsys.readouterr().err
    assert ask(paths) == 0
    rows = read(paths.atomic_qs(PEOPLE[0], "fs"))
    given = [{one["atomic_question"]: ["Greedyville", "greedyville.", "Hull", ""] for one in row["decisions"][0]} for row in rows]
    write_json(paths.samples("own", PEOPLE[0], "fs"), {"samples": given})
    assert run_whole("calibrate", calibrate.produce, argv=arguments(paths)) == 0
    found = read(paths.calibration("fs"))
    assert found["missing"] == [PEOPLE[1]] and found["topics"] == 1
    own = found["judges"]["verifier"]
    assert own["confidence"]["value"] == 25.0 and own["auroc"]["value"] == 1.0  # two of four say Greedyville, none says the year
    assert own["brier"]["value"] == pytest.approx(0.125)


def test_comparisons_by_a_service_are_counted_beforehand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path, '[equivalence]\nbackend = "llm"\nmodel = "scripted"\n')
    assert ask(paths) == 0
    rows = read(paths.atomic_qs(PEOPLE[0], "fs"))
    given = [{one["atomic_question"]: ["Rome", "Bern", "Rome", "Rome"] for one in row["decisions"][0]} for row in rows]
    write_json(paths.samples("own", PEOPLE[0], "fs"), {"samples": given})
    capsys.readouterr()
    assert tell_estimate(["calibrate", *arguments(paths)], ESTIMATORS) == 0
    found = json.loads(capsys.readouterr().out)
    # Two towns with each other and with what is claimed: 3 for each, of which one comes with two claims; the other person: 3 facts of 10.
    assert found["calls"] == 3 * 3 + 3 * 10


def test_questions_about_a_policy_s_claims_are_counted_by_those_that_are_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path)
    definition = paths.root.parent / "mine.toml"
    definition.write_text(definition.read_text().replace('backend = "rules"', 'backend = "llm"\nmodel = "scripted"'))
    assert tell_estimate(["questions", *arguments(paths)], ESTIMATORS) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 2 * 3  # of the greedy responses: a town, and two years
    paths.factscore(PEOPLE[0], "fs").unlink()
    assert tell_estimate(["questions", *arguments(paths)], ESTIMATORS) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 3 + 2 * 6 * 4  # one response to each of two questions
