"""Confidence, rewards and their agreement as the report counts them: small volumes, worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from confscoring.judge import World
from confscoring.report_confidence import JudgedClaim, confidences_file, measure_confidence, read_claims
from confscoring.report_confidence_figures import histogram, reliability_diagram
from confscoring.report_confidence_page import confidence_section
from confscoring.report_rewards import agree, count_pairs, spread_values
from volume.errors import RecordError

PERSON = {"facts": {"field": "law"}, "exposure": {"field": 50}, "in_knowledge": []}
WORLD = World(["field"], ["often", "seldom"], {"Ada": {"name": "Ada", "tier": 0, **PERSON}, "Bo": {"name": "Bo", "tier": 1, **PERSON}})  # type: ignore[typeddict-item]


def line(topic: str = "Ada", value: str | None = "law", kind: str = "claim", supported: bool = False, **scores: float | None) -> dict[str, Any]:
    asked = {"neg_ent": 0.0, "max_conf": 1.0, "exp_conf": 1.0, "samp_conf": 1.0}
    return {"topic": topic, "question": "Who?", "kind": kind, "attribute": "field", "value": value, "is_supported": supported, **asked, **scores}


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "confidences_train_2.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return path


def test_the_file_of_single_facts_is_named_like_its_rewards_file() -> None:
    assert confidences_file(Path("rewards/rewards_train_252.json")) == Path("rewards/confidences_train_252.jsonl")


def test_claims_are_judged_by_the_truth_and_what_is_no_claim_is_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path, line(value="Law"), line(value="music", supported=True), line(kind="unparsed", value=None), line(kind="off_topic"),
        line(kind="off_topic"), line(topic="Cy"),
    )  # fmt: skip
    claims, left_out = read_claims(path, WORLD)
    assert [claim.correct for claim in claims] == [True, False]  # whatever the verifier says, whatever the case
    assert left_out == {"unparsed": 1, "off_topic": 2, "not_in_the_world": 1}


def test_without_a_world_the_verifier_decides_and_facts_that_do_not_say_are_claims(tmp_path: Path) -> None:
    rows = [line("Cy", supported=True), line("Cy", supported=False, samp_conf=None)]
    for row in rows:
        del row["kind"]
    claims, left_out = read_claims(write(tmp_path, *rows), None)
    assert [(claim.correct, claim.scores["samp_conf"]) for claim in claims] == [(True, 1.0), (False, None)] and left_out == {}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"max_conf": 1.5}, "max_conf is 1.5, expected a number of 0 to 1, or null"),
        ({"neg_ent": 0.5}, "neg_ent is 0.5, expected a number of at most 0, or null"),
        ({"neg_ent": -math.inf}, "neg_ent is -inf"),
        ({"exp_conf": math.nan}, "exp_conf is nan"),
        ({"samp_conf": "high"}, "samp_conf is 'high'"),
        ({"topic": ["Ada"]}, "unhashable"),
        ({"value": 1943}, "strip"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    path = write(tmp_path, line(), {**line(), **broken})
    with pytest.raises(RecordError) as caught:
        read_claims(path, WORLD)
    assert f"{path}, line 2: " in str(caught.value) and message in str(caught.value) and "make rewards" in str(caught.value)


def test_a_line_that_lacks_a_score_is_named(tmp_path: Path) -> None:
    row = line()
    del row["max_conf"]
    with pytest.raises(RecordError, match="line 1: lacks the field 'max_conf'"):
        read_claims(write(tmp_path, row), WORLD)


def judged(topic: str, correct: bool, score: float | None, prompt: str = "Who?") -> JudgedClaim:
    return JudgedClaim(topic, prompt, correct, {"neg_ent": None if score is None else math.log(score), "max_conf": score, "exp_conf": score, "samp_conf": None})


def test_confidence_is_measured_overall_within_prompts_and_tier_by_tier() -> None:
    claims = [judged("Ada", True, 0.95), judged("Ada", False, 0.85), judged("Bo", True, 0.25), judged("Bo", False, 0.35), judged("Bo", True, None)]
    found = measure_confidence(claims, WORLD, 100, 0)
    assert (found["claims"], found["correct"], found["percent_correct"]) == (5, 3, 60.0)
    assert found["tiers"] == [
        {"tier": "often", "exposure": 50.0, "claims": 2, "correct": 1, "percent_correct": 50.0},
        {"tier": "seldom", "exposure": 50.0, "claims": 3, "correct": 2, "percent_correct": 66.666667},
    ]
    metric = found["metrics"]["max_conf"]
    assert (metric["claims"], metric["without"]) == (4, 1)
    assert metric["auroc"]["value"] == 0.5  # 0.95 beats both, 0.25 none
    assert metric["auroc_within_prompts"]["value"] == 0.5 and metric["pairs_within_prompts"] == 2
    assert {tier: value["value"] for tier, value in metric["auroc_by_tier"].items()} == {"often": 1.0, "seldom": 0.0}
    assert metric["calibration_error"] == pytest.approx((0.05 + 0.85 + 0.75 + 0.35) / 4)
    assert [row["claims"] for row in metric["reliability"]] == [0, 0, 1, 1, 0, 0, 0, 0, 1, 1]


def test_negative_entropy_is_drawn_as_one_over_the_effective_number_of_answers_and_has_no_calibration_error() -> None:
    found = measure_confidence([judged("Ada", True, 0.5), judged("Ada", False, 0.25)], WORLD, 10, 0)["metrics"]
    assert found["neg_ent"]["calibration_error"] is None
    assert [row["confidence"] for row in found["neg_ent"]["reliability"] if row["claims"]] == [0.25, 0.5]
    assert found["neg_ent"]["auroc"] == found["max_conf"]["auroc"]  # the same order


def test_claims_of_two_prompts_about_one_person_are_not_compared_within_prompts() -> None:
    claims = [judged("Ada", True, 0.9, "Who?"), judged("Ada", False, 0.1, "Where?")]
    metric = measure_confidence(claims, None, 10, 0)["metrics"]["max_conf"]
    assert metric["auroc"]["value"] == 1.0 and metric["auroc_within_prompts"]["value"] is None and metric["auroc_by_tier"] == {}


def test_a_score_that_no_claim_has_is_empty_not_an_error() -> None:
    found = measure_confidence([judged("Ada", True, None)], WORLD, 10, 0)["metrics"]["samp_conf"]
    assert (found["claims"], found["without"], found["auroc"]["value"], found["calibration_error"]) == (0, 1, None, None)
    drawn = reliability_diagram(found["reliability"], "samp_conf", "confidence", True, "key")
    assert "no claim has this score" in drawn
    assert measure_confidence([], None, 10, 0)["percent_correct"] is None


def rewards_of(**columns: list[float | None]) -> dict[str, Any]:
    return {"Ada": {"Who?": {"responses": ["a"] * len(next(iter(columns.values()))), **columns}}}


def test_a_histogram_runs_from_the_lowest_value_to_the_highest() -> None:
    (row,) = spread_values(rewards_of(good=[0.5, 1.0, 1.5, 1.5 + 1e-14, None, math.nan]), bins=4)
    assert row == {
        "reward": "good", "responses": 6, "without_reward": 2, "distinct": 3, "low": 0.5, "high": 1.5, "mean": 1.125, "counts": [1, 0, 1, 2],
    }  # fmt: skip


def test_a_reward_of_one_value_and_one_of_none_are_drawn_as_well() -> None:
    same, none = spread_values(rewards_of(same=[0.3, 0.3], none=[None, None]), bins=3)
    assert same["counts"] == [2, 0, 0] and same["low"] == same["high"] == 0.3
    assert (none["distinct"], none["low"], none["high"], none["mean"], none["counts"]) == (0, None, None, None, [0, 0, 0])
    assert "from 0.30 to 0.30: 2, 0, 0" in histogram(same, "a") and "No response has a value" in histogram(none, "b")


def test_agreement_counts_only_the_pairs_of_one_prompt_that_both_rewards_order() -> None:
    rewards = {
        "Ada": {"Who?": {"responses": ["a", "b", "c"], "up": [1.0, 2.0, 3.0], "mixed": [1.0, 3.0, 2.0], "ties": [1.0, 1.0, None]}},
        "Bo": {"Who?": {"responses": ["a", "b"], "up": [9.0, 8.0], "mixed": [2.0, 1.0], "ties": [0.1 + 0.2, 0.3]}},
    }
    found = agree(rewards, 0.0)
    assert found["rewards"] == ["up", "mixed", "ties"]
    # Ada: 1-2 and 1-3 alike, 2-3 not; Bo: alike. 3 of 4. Ties: equal but for noise, or without a value: nothing to compare.
    assert found["pairs"] == [[4, 4, 0], [4, 4, 0], [0, 0, 0]]
    assert found["same"] == [[100.0, 75.0, None], [75.0, 100.0, None], [None, None, None]]
    # A gap of at most 1 orders nothing: of up 1-3 alone is left, of mixed 1-2.
    assert agree(rewards, 1.0)["pairs"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert [row["pairs"] for row in count_pairs(rewards, 0.0)] == [found["pairs"][i][i] for i in range(3)]
    assert agree({}, 0.0) == {"rewards": [], "pairs": [], "same": []}


def test_the_public_codes_nan_is_no_reward() -> None:
    (row,) = count_pairs(rewards_of(good=[0.5, math.nan, 1.0]), 0.0)
    assert (row["pairs"], row["ties"], row["without_reward"]) == (1, 0, 1)


def test_the_page_names_the_best_and_the_worst_score_and_shows_one_reward_without_a_table_of_agreement() -> None:
    claims = [judged("Ada", True, 0.9), judged("Ada", False, 0.1)]
    rewards = rewards_of(good=[0.5, 1.0])
    numbers: dict[str, Any] = {
        "confidence": {"against": "verifier", "left_out": {}, **measure_confidence(claims, None, 10, 0)},
        "pairs": {"train": count_pairs(rewards, 0.0)}, "reward_truth": [], "reward_values": spread_values(rewards),
        "reward_agreement": agree(rewards, 0.0), "runs": [],
    }  # fmt: skip
    content = confidence_section(numbers)
    assert "<code>neg_ent</code> is higher for the correct one in 100" in content and "in 100\u00a0% of the cases (ties count half).</p>" in content
    assert "Claims without a score, left out of its figures: samp_conf 2." in content and "Agreement between rewards" not in content
    assert confidence_section({"pairs": {}}) == ""
