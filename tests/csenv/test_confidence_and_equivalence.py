"""Confidence scores and equivalence classes: hand-worked numbers, and the public code's own figures."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path

import pytest

from confscoring import confidence
from confscoring.equivalence import class_counts, class_key, word_key
from confscoring.rewards import answer_rewards, confidences, count_pairs
from volume.errors import UsageError

GOLDEN = Path(os.environ.get("UPSTREAM_GOLDEN") or Path(__file__).resolve().parents[1] / "fixtures" / "upstream.json")


def test_hand_worked_scores() -> None:
    masses = [0.5, 0.25, 0.25]
    assert confidence.max_confidence(masses) == 0.5
    assert confidence.expected_confidence(masses) == 0.375
    assert confidence.negative_entropy(masses) == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    assert confidence.claim_confidence({("a",): 0.75, ("b",): 0.25}, ("b",)) == 0.25
    assert confidence.claim_confidence({("a",): 1.0}, ("z",)) == 0.0


def test_scores_equal_those_of_the_upstream_code() -> None:
    cases = json.loads(GOLDEN.read_text())["confidence"]
    assert len(cases) >= 100
    for case in cases:
        masses = list(case["classes"].values())
        assert confidence.negative_entropy(masses) == pytest.approx(case["neg_ent"], abs=1e-12)
        assert confidence.max_confidence(masses) == pytest.approx(case["max_conf"], abs=1e-12)
        assert confidence.expected_confidence(masses) == pytest.approx(case["exp_conf"], abs=1e-12)


def test_equal_masses_give_equal_scores_in_every_order() -> None:
    masses = [0.1, 0.2, 0.3, 0.15, 0.25]
    assert len({confidence.expected_confidence(order) for order in itertools.permutations(masses)}) == 1
    assert len({confidence.negative_entropy(order) for order in itertools.permutations(masses)}) == 1
    assert len({confidence.mean_or_none(order) for order in itertools.permutations(masses)}) == 1


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("The Beatles", "beatles.", True),
        ("in Paris, France", "Paris France", True),
        ("male", "female", False),  # the public code's suffix rule calls these equal
        ("7", "1947", False),
        ("3.5", "3 5", False),
        ("1,000", "1000", True),
        ("the", "of", False),  # nothing but stop words: they are what is left to compare
        ("", "Paris", False),
        ("", " ", True),
    ],
)
def test_two_answers_are_equivalent_when_their_words_are(left: str, right: str, same: bool) -> None:
    assert (word_key(left) == word_key(right)) is same


def test_classes_do_not_depend_on_the_order_of_the_answers() -> None:
    answers = ["Paris", "", "London", "paris", "Paris."]
    for order in itertools.permutations(answers):
        assert class_counts(order, word_key) == {("paris",): 3, (): 1, ("london",): 1}


def test_other_backends_are_not_available_yet() -> None:
    with pytest.raises(UsageError, match="equivalence.backend = 'suffix' is not available yet"):
        class_key("suffix")


def test_claim_confidence_looks_at_the_claim_and_the_others_do_not() -> None:
    answers = ["Melby"] * 15 + ["Ilby"] * 5
    right, wrong = confidences(answers, word_key, "Melby"), confidences(answers, word_key, "Ilby")
    assert (right["samp_conf"], wrong["samp_conf"]) == (0.75, 0.25)
    assert right["max_conf"] == wrong["max_conf"] == 0.75
    assert right["exp_conf"] == wrong["exp_conf"] == 0.625


def test_a_response_is_scored_by_the_mean_over_its_facts_and_unreadable_ones_count_as_no_confidence() -> None:
    row = {"topic": "Ada", "generation": "", "score": None, "init_score": None, "respond_ratio": 1.0, "num_facts_per_response": 2, "decisions": [[
        {"atom": "a", "is_supported": True, "atomic_question": "q", "claim_answer": "x"},
        {"atom": "b", "is_supported": False, "atomic_question": None, "claim_answer": None},
    ]]}  # fmt: skip
    scores = answer_rewards(row, {"q": ["x", "x", "x", "y"]}, word_key, 4)
    assert scores["aq_max_conf_avg"] == 0.375 and scores["aq_samp_conf_avg"] == 0.375
    assert scores["aq_exp_conf_avg"] == 0.3125
    assert scores["aq_neg_ent_avg"] == pytest.approx((0.75 * math.log(0.75) + 0.25 * math.log(0.25) - math.log(4)) / 2)
    empty = answer_rewards({**row, "decisions": [[]]}, {}, word_key, 4)
    assert set(empty.values()) == {None}


def test_pairs_are_counted_strictly_and_noise_makes_ties() -> None:
    rewards = {"Ada": {"q": {"responses": ["a", "b", "c", "d"], "x": [0.5, 0.5 + 1e-16, 0.7, None], "y": [0.1, 0.2, 0.3, 0.1 + 0.2]}}}
    assert count_pairs(rewards) == {"x": (2, 1, 1), "y": (5, 1, 0)}
