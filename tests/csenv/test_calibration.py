"""AUROC, reliability and calibration error: numbers worked by hand, and against counting every pair."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from confscoring.calibration import BINS, Claim, auroc, auroc_within, bin_of, calibration_error, concordance, reliability
from confscoring.statistics import draw_people

# Two resamples of two people: each once; the first twice.
HAND = np.array([[1, 1], [2, 0]], dtype=np.int64)


def claims_of(rng: random.Random, number: int, signal: float) -> list[Claim]:
    """Return claims with few levels of confidence, so with many ties; ``signal`` is how far correct ones are higher."""
    claims = []
    for _ in range(number):
        correct = rng.random() < 0.6
        claims.append((min(max(round(rng.random() + signal * correct, 1), 0.0), 1.0), correct))
    return claims


def test_a_tie_is_half_a_win() -> None:
    # Correct: 0.9, 0.5. Incorrect: 0.5, 0.1. Pairs: 0.9 beats both, 0.5 ties with 0.5 and beats 0.1: 3.5 of 4.
    claims = [(0.9, True), (0.5, True), (0.5, False), (0.1, False)]
    assert concordance(claims) == (7, 4)  # a win counts 2, a tie 1
    assert concordance(reversed(claims)) == (7, 4)
    assert concordance([(-confidence, correct) for confidence, correct in claims]) == (1, 4)


def test_sorting_counts_what_comparing_every_pair_counts() -> None:
    claims = claims_of(random.Random(0), 300, 0.2)
    right, wrong = ([confidence for confidence, correct in claims if correct is kind] for kind in (True, False))
    wins = sum(2 if a > b else 1 if a == b else 0 for a in right for b in wrong)
    assert concordance(claims) == (wins, len(right) * len(wrong))


def test_it_is_the_rank_sum_formula_with_middle_ranks() -> None:
    # Confidences 0.1, 0.5, 0.5, 0.9 have ranks 1, 2.5, 2.5, 4: the correct ones sum to 6.5, less 2 * 3 / 2, over 2 * 2.
    wins, pairs = concordance([(0.9, True), (0.5, True), (0.5, False), (0.1, False)])
    assert wins / (2 * pairs) == (6.5 - 2 * 3 / 2) / (2 * 2) == 0.875


def test_auroc_resamples_people_with_all_their_claims() -> None:
    ada, bo = [(0.9, True), (0.1, False)], [(0.2, True), (0.8, False)]
    # Together: 0.9 beats both, 0.2 beats 0.1 alone: 3 of 4. Ada twice: 4 of 4. 2.5 % and 97.5 % of the way from 0.75 to 1.
    assert auroc([ada, bo], HAND) == {"value": 0.75, "low": 0.75625, "high": 0.99375}


def test_where_all_claims_are_correct_or_none_is_there_is_no_auroc() -> None:
    assert auroc([[(0.9, True)], [(0.1, True)]], HAND) == {"value": None, "low": None, "high": None}
    assert auroc([[], []], HAND) == {"value": None, "low": None, "high": None}
    # Bo alone has incorrect claims: the resample without Bo is left out.
    assert auroc([[(0.9, True)], [(0.1, False)]], HAND) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_draws_of_other_people_are_refused() -> None:
    with pytest.raises(ValueError):
        auroc([[(0.9, True), (0.1, False)]], HAND)


def test_resampling_in_blocks_gives_what_resampling_each_by_itself_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    people = [claims_of(rng, 12, 0.3) for _ in range(9)]
    draws = draw_people(9, 50, 0)
    each = []
    for row in draws:
        wins, pairs = concordance(claim for person, times in zip(people, row, strict=True) for claim in person * int(times))
        each.append(wins / (2 * pairs))
    low, high = np.percentile(each, [2.5, 97.5])
    whole = auroc(people, draws)
    assert (whole["low"], whole["high"]) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    monkeypatch.setattr("confscoring.calibration._BLOCK", 40)
    assert auroc(people, draws) == whole


def test_confidence_that_only_knows_the_person_is_a_coin_within_prompts() -> None:
    easy, hard = [(0.9, True), (0.9, True), (0.9, False)], [(0.1, True), (0.1, False), (0.1, False)]
    # Together: each 0.9 wins 2 and ties once, 0.1 ties twice and loses once: 6 of 9.
    assert auroc([easy, hard], HAND)["value"] == pytest.approx(6 / 9, abs=1e-6)
    within, pairs = auroc_within([[easy], [hard]], HAND)
    assert within == {"value": 0.5, "low": 0.5, "high": 0.5} and pairs == 4


def test_within_prompts_every_pair_weighs_the_same_and_prompts_of_one_kind_say_nothing() -> None:
    # Ada's prompts: 2 of 2 pairs won, and one without a pair. Bo: 0 of 1. 2 of 3; with Ada alone 4 of 4.
    ada, bo = [[(0.9, True), (0.8, True), (0.1, False)], [(0.5, True)]], [[(0.2, True), (0.8, False)]]
    assert auroc_within([ada, bo], HAND) == ({"value": 0.666667, "low": 0.675, "high": 0.991667}, 3)
    assert auroc_within([[[(0.5, True)]], [[]]], HAND) == ({"value": None, "low": None, "high": None}, 0)


def test_bins_hold_their_lower_bound_and_the_last_one_its_upper() -> None:
    assert [bin_of(value, 10) for value in (0.0, 0.05, 0.1, 0.95, 1.0)] == [0, 0, 1, 9, 9]
    shares = [count / 20 for count in range(21)]
    assert [bin_of(share, 10) for share in shares] == [min(count // 2, 9) for count in range(21)]
    assert bin_of(math.exp(-math.log(10)), 10) == 1  # 0.1 but for its last bit
    assert bin_of(0.1 * 3, 10) == 3 and bin_of(0.3 - 1e-16, 10) == 3


def test_reliability_sets_mean_confidence_beside_the_share_that_is_correct() -> None:
    ada, bo = [(0.72, True), (0.78, True), (0.1, False)], [(0.75, False)]
    bins = reliability([ada, bo], HAND)
    assert len(bins) == BINS and [row["claims"] for row in bins] == [0, 1, 0, 0, 0, 0, 0, 3, 0, 0]
    # 2 of 3; Ada alone 2 of 2: 0.666667 + 2.5 % of 0.333333, and 97.5 % of it.
    assert bins[7] == {"low": 0.7, "high": 0.8, "claims": 3, "confidence": 0.75, "correct": {"value": 0.666667, "low": 0.675, "high": 0.991667}}
    assert bins[0] == {"low": 0.0, "high": 0.1, "claims": 0, "confidence": None, "correct": {"value": None, "low": None, "high": None}}


def test_the_calibration_error_weighs_the_gap_of_each_bin_by_its_claims() -> None:
    # Bin 0.7: 3 claims, mean 0.75, 2/3 correct: gap 1/12. Bin 0.1: 1 claim, 0.1, none correct: gap 0.1. (3 / 12 + 0.1) / 4.
    claims = [(0.72, True), (0.78, True), (0.75, False), (0.1, False)]
    assert calibration_error(claims) == pytest.approx((0.25 + 0.1) / 4)
    assert calibration_error([(1.0, True), (0.0, False)]) == 0.0
    assert calibration_error([]) is None


def test_over_and_under_confidence_within_a_bin_cancel_and_between_bins_do_not() -> None:
    assert calibration_error([(0.5, True), (0.5, False)]) == 0.0
    assert calibration_error([(0.4, True), (0.6, False)]) == pytest.approx(0.6)


def test_the_interval_of_auroc_covers_the_truth_about_as_often_as_it_says() -> None:
    # Correct claims uniform on [0, 1] plus 0.25, incorrect ones uniform on [0, 1]: AUROC 1 - 0.75^2 / 2.
    rng, covered, truth = random.Random(0), 0, 1 - 0.75**2 / 2
    draws = draw_people(40, 300, 0)
    for _ in range(150):
        people = [[(rng.random() + 0.25 * correct, correct) for correct in (rng.random() < 0.6 for _ in range(8))] for _ in range(40)]
        found = auroc(people, draws)
        assert found["low"] is not None and found["high"] is not None
        covered += found["low"] <= truth <= found["high"]
    assert 0.88 <= covered / 150 <= 0.99
