"""Bootstrap intervals over people: numbers worked by hand, the same bytes every time."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from confscoring.statistics import UNIT, correlation_within, difference, draw_people, fixed_point, interval_of, mean_difference, mean_ratio, ratio, relative_change

# Two resamples of three people: everybody once; the first person three times.
HAND = np.array([[1, 1, 1], [3, 0, 0]], dtype=np.int64)


def test_every_resample_draws_as_many_people_as_there_are() -> None:
    draws = draw_people(7, 500, seed=3)
    assert draws.shape == (500, 7) and draws.dtype == np.int64
    assert (draws.sum(axis=1) == 7).all() and (draws >= 0).all()


def test_draws_depend_on_the_seed_alone_and_these_are_the_first_of_seed_0() -> None:
    assert (draw_people(5, 100, 1) == draw_people(5, 100, 1)).all()
    assert (draw_people(5, 100, 1) != draw_people(5, 100, 2)).any()
    words = [int(word) for word in np.random.Philox(key=0).random_raw(4)]
    expected = [0, 0, 0, 0]
    for word in words:
        expected[(word >> 32) * 4 >> 32] += 1  # the upper half of a word, scaled to 0..3
    assert draw_people(4, 1, 0)[0].tolist() == expected


def test_everybody_is_drawn_once_per_resample_on_average() -> None:
    means = draw_people(10, 20_000, 0).mean(axis=0)
    assert np.abs(means - 1).max() < 4 / math.sqrt(20_000)  # the count's standard deviation is about 1


def test_a_ratio_of_sums_weighs_people_by_their_facts() -> None:
    # 6 of 10 facts; in the second resample 3 * 1 of 3 * 2. Between 60 and 50: 2.5 % of the way up is 50.25, 97.5 % is 59.75.
    assert ratio([1, 2, 3], [2, 4, 4], HAND, 100.0) == {"value": 60.0, "low": 50.25, "high": 59.75}


def test_a_mean_of_ratios_weighs_responses_alike() -> None:
    # Responses with 1 of 2, 3 of 3 and 0 of 4 facts right: mean (0.5 + 1 + 0) / 3 = 0.5, though 4 of 9 facts are right.
    sums = [fixed_point([(1, 2)]), fixed_point([(3, 3), (0, 0)]), fixed_point([(0, 4)])]
    assert sums == [UNIT // 2, UNIT, 0]
    assert ratio(sums, [1, 1, 1], HAND, 100.0 / UNIT)["value"] == 50.0


def test_resamples_in_which_nothing_was_counted_are_left_out() -> None:
    # The second resample holds the first person only, who stated nothing.
    assert ratio([0, 1, 1], [0, 2, 2], HAND) == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert ratio([0, 0, 0], [0, 0, 0], HAND) == {"value": None, "low": None, "high": None}


def test_an_interval_is_the_middle_95_per_cent_of_the_resamples_that_count_anything() -> None:
    resampled = np.array([math.nan, *range(101)])
    assert interval_of(50.0, resampled) == {"value": 50.0, "low": 2.5, "high": 97.5}
    assert interval_of(50.0, resampled[:1]) == {"value": 50.0, "low": None, "high": None}
    assert interval_of(None, resampled) == {"value": None, "low": None, "high": None}


def test_a_difference_is_paired_so_that_what_people_share_cancels() -> None:
    hard_and_easy = ([1, 9, 5], [10, 10, 10])
    one_better_each = ([2, 10, 6], [10, 10, 10])
    draws = draw_people(3, 400, 0)
    assert difference(one_better_each, hard_and_easy, draws, 100.0) == {"value": 10.0, "low": 10.0, "high": 10.0}
    alone = ratio(*hard_and_easy, draws, 100.0)
    assert alone["high"] - alone["low"] > 30  # while either run by itself varies with the people drawn


def test_a_relative_change_is_in_per_cent_of_the_run_compared_with() -> None:
    # 3 instead of 6 incorrect facts over 3 responses: -50 %; in the second resample 1 instead of 4: -75 %.
    changed = relative_change(([1, 1, 1], [1, 1, 1]), ([4, 1, 1], [1, 1, 1]), HAND)
    assert changed == {"value": -50.0, "low": -74.375, "high": -50.625}
    assert relative_change(([1, 0, 0], [1, 1, 1]), ([0, 0, 0], [1, 1, 1]), HAND)["value"] is None


def test_runs_over_other_people_are_refused() -> None:
    with pytest.raises(ValueError, match="2 numerators, 3 denominators, draws of 3 people"):
        ratio([1, 2], [1, 2, 3], HAND)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = random.Random(0), 0
    draws = draw_people(60, 400, 0)
    for _ in range(200):
        rates = [rng.random() for _ in range(60)]
        right = [sum(rng.random() < rate for _ in range(8)) for rate in rates]
        found = ratio(right, [8] * 60, draws)
        covered += found["low"] <= 0.5 <= found["high"]
    assert 0.88 <= covered / 200 <= 0.99


def test_within_prompts_a_reward_that_only_knows_the_prompt_is_worth_nothing() -> None:
    # Between the prompts x and y rise together; within each, y does not follow x.
    assert correlation_within([[(0.0, 0.0), (1.0, 0.0)], [(10.0, 5.0), (11.0, 5.0)]]) is None
    # Within: (-1, -1), (1, 1) and (-1, 1), (1, -1) cancel.
    assert correlation_within([[(0.0, 0.0), (2.0, 2.0)], [(10.0, 7.0), (12.0, 5.0)]]) == 0.0
    assert correlation_within([[(0.0, 0.0), (2.0, 1.0)], [(5.0, 3.0)]]) == 1.0
    assert correlation_within([]) is None


def test_a_mean_over_seeds_averages_the_seeds_in_every_resample() -> None:
    # 60 and 20 %; in the second resample 50 and 0 %: 40 and 25, of which 2.5 % of the way up is 25.375.
    parts = [(([1, 2, 3], [2, 4, 4]), HAND), (([0, 1, 0], [2, 2, 1]), HAND)]
    assert mean_ratio(parts, 100.0) == {"value": 40.0, "low": 25.375, "high": 39.625}
    assert mean_ratio(parts[:1], 100.0) == ratio([1, 2, 3], [2, 4, 4], HAND, 100.0)


def test_a_mean_difference_over_seeds_is_paired_within_each() -> None:
    first, second = ([1, 2, 3], [2, 4, 4]), ([1, 1, 1], [2, 2, 1])
    assert mean_difference([(first, first, HAND), (second, second, HAND)]) == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert mean_difference([(first, second, HAND)], 100.0) == difference(first, second, HAND, 100.0)
    # 0.6 - 0.6 and 0.6 - 0.2; in the second resample 0.5 - 0.5 and 0.5 - 0.
    assert mean_difference([(first, second, HAND), (first, ([0, 1, 0], [2, 2, 1]), HAND)])["value"] == 0.2


def test_a_seed_that_counted_nothing_leaves_no_mean() -> None:
    empty = {"value": None, "low": None, "high": None}
    assert mean_ratio([(([1], [2]), HAND[:, :1]), (([0], [0]), HAND[:, :1])]) == empty == mean_ratio([])
    assert mean_difference([(([1], [2]), ([0], [0]), HAND[:, :1])]) == empty
