"""The rewards of one response, worked by hand, and the counting of pairs."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from confscoring.confidence import Confidence
from confscoring.reward_functions import Fact, ResponseFacts, known_rewards
from confscoring.rewards import count_pairs
from volume.settings import RewardsSettings


def response(*facts: Fact, **more: Any) -> ResponseFacts:
    share = sum(fact.supported for fact in facts) / len(facts) if facts else None
    return ResponseFacts("Ada", "Who?", 0, "text", facts, share, share, **{"samples": 4, **more})


def answered(supported: bool, neg_ent: float, max_conf: float, exp_conf: float, samp_conf: float | None) -> Fact:
    claimed = None if samp_conf is None else "x"
    return Fact("a", supported, question="q", claimed=claimed, answers=("x",) * 4, neg_ent=neg_ent, max_conf=max_conf, exp_conf=exp_conf, samp_conf=samp_conf)


def all_of(given: ResponseFacts, entities: bool = False, **settings: Any) -> dict[str, float | None]:
    return {name: reward(given, RewardsSettings(**settings)) for name, reward in known_rewards(entities).items()}


UNREADABLE = Fact("?", False, "unparsed")


def test_the_columns_stand_in_a_fixed_order() -> None:
    facts = ["factscore_avg", "factscore_lp_avg", "factscore_detail_avg", "aq_neg_ent_avg", "aq_max_conf_avg", "aq_exp_conf_avg", "aq_samp_conf_avg"]
    assert list(known_rewards(False)) == [*facts, "random"]
    assert list(known_rewards(True)) == [*facts, "ne_neg_ent_avg", "ne_max_conf_avg", "ne_exp_conf_avg", "random"]


def test_a_response_is_scored_by_the_mean_over_its_facts_and_unreadable_ones_count_as_no_confidence() -> None:
    entropy = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    scores = all_of(response(answered(True, entropy, 0.75, 0.625, 0.75), UNREADABLE))
    assert (scores["factscore_avg"], scores["aq_max_conf_avg"], scores["aq_samp_conf_avg"], scores["aq_exp_conf_avg"]) == (0.5, 0.375, 0.375, 0.3125)
    assert scores["aq_neg_ent_avg"] == pytest.approx((entropy - math.log(4)) / 2, abs=1e-15)


def test_a_response_without_facts_has_no_reward_but_the_control() -> None:
    scores = all_of(response(draw=0.25), entities=True)
    assert scores.pop("random") == 0.25
    assert set(scores.values()) == {None}


def test_detail_pays_for_supported_facts_on_top_of_their_share() -> None:
    two_of_four = response(answered(True, 0, 1, 1, 1), answered(True, 0, 1, 1, 1), UNREADABLE, UNREADABLE)
    assert all_of(two_of_four)["factscore_detail_avg"] == pytest.approx(0.5 + 0.3 * math.log(3), abs=1e-15)
    assert all_of(two_of_four, detail_weight=0.0)["factscore_detail_avg"] == 0.5
    assert all_of(response(UNREADABLE))["factscore_detail_avg"] == 0.0
    one, three = (response(*[answered(True, 0, 1, 1, 1)] * number) for number in (1, 3))
    assert all_of(one)["factscore_avg"] == all_of(three)["factscore_avg"]
    assert (all_of(one)["factscore_detail_avg"] or 0) < (all_of(three)["factscore_detail_avg"] or 0)


def test_claim_confidence_is_unknown_where_no_fact_says_what_it_claims() -> None:
    silent = answered(True, 0.0, 1.0, 1.0, None)
    assert all_of(response(silent, silent, UNREADABLE))["aq_samp_conf_avg"] is None
    assert all_of(response(silent, silent))["aq_max_conf_avg"] == 1.0
    assert all_of(response(silent, answered(True, 0.0, 1.0, 1.0, 1.0)))["aq_samp_conf_avg"] == 0.5  # one fact says it: the other counts 0
    assert all_of(response(UNREADABLE))["aq_samp_conf_avg"] == 0.0  # nothing could be asked: no confidence, as in the other columns


def test_entities_are_scored_by_the_mean_over_them() -> None:
    scores = all_of(response(entities=(Confidence(-1.0, 0.5, 0.5, None), Confidence(0.0, 1.0, 1.0, None))), entities=True)
    assert (scores["ne_neg_ent_avg"], scores["ne_max_conf_avg"], scores["ne_exp_conf_avg"]) == (-0.5, 0.75, 0.75)


def test_the_same_facts_in_another_order_give_the_same_bits() -> None:
    facts = [answered(bool(number % 2), -number / 7, 1 / (number + 1), 1 / (number + 3), number / 11) for number in range(5)]
    found = {tuple(sorted(all_of(response(*order)).items())) for order in itertools.permutations(facts)}
    assert len(found) == 1


def test_pairs_are_counted_strictly_noise_makes_ties_and_a_reward_that_nobody_has_counts_none() -> None:
    columns: dict[str, list[Any]] = {"responses": ["a", "b", "c", "d"], "x": [0.5, 0.5 + 1e-16, 0.7, None], "y": [0.1, 0.2, 0.3, 0.1 + 0.2], "none": [None] * 4}
    assert count_pairs({"Ada": {"q": columns}}) == {"x": (2, 1, 1), "y": (5, 1, 0), "none": (0, 0, 4)}
    assert count_pairs({"Ada": {"q": columns, "r": columns}, "Bo": {"q": columns}})["x"] == (6, 3, 3)
    assert count_pairs({"Ada": {"q": {"responses": [], "x": []}, "r": {"responses": ["a"], "x": [1.0]}}}) == {"x": (0, 0, 0)}


def test_the_pairs_of_the_public_codes_rewards_are_as_many_as_it_makes_of_them() -> None:
    golden = json.loads(Path(os.environ.get("UPSTREAM_GOLDEN") or Path(__file__).resolve().parents[1] / "fixtures" / "upstream.json").read_text())
    assert {name: pairs for name, (pairs, _, _) in count_pairs(golden["rewards_file"]).items()} == golden["pair_counts"]
