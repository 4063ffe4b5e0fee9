"""Scores of a response and of a set."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from factscoring.scores import aggregate, compute_init_score, compute_length_penalty, compute_respond_ratio, compute_score


def test_the_penalty_acts_up_to_gamma_facts() -> None:
    assert compute_length_penalty(5, 10) == pytest.approx(math.exp(-1))
    assert compute_length_penalty(10, 10) == compute_length_penalty(11, 10) == 1.0
    assert compute_length_penalty(1, 10) == pytest.approx(math.exp(-9))
    assert compute_score(2, 4, 2) == 0.5


def test_no_facts_give_no_score_and_no_division() -> None:
    assert compute_init_score(0, 0) is None and compute_score(0, 0, 10) is None
    assert compute_respond_ratio(0) == 0.0 and compute_respond_ratio(3) == 1.0


def test_scores_equal_those_of_the_upstream_code() -> None:
    path = Path(os.environ.get("UPSTREAM_GOLDEN") or Path(__file__).parents[1] / "fixtures" / "upstream.json")
    rows = json.loads(path.read_text())["factscore_penalty_gamma10"]
    assert len(rows) >= 20
    for row in rows:
        assert compute_init_score(row["supported"], row["facts"]) == pytest.approx(row["init_score"], abs=1e-12), row
        assert compute_score(row["supported"], row["facts"], 10) == pytest.approx(row["score"], abs=1e-12), row


def test_a_set_is_the_mean_over_responses_that_state_something() -> None:
    def response(facts: int, supported: int) -> Any:
        return {
            "score": compute_score(supported, facts, 10), "init_score": compute_init_score(supported, facts),
            "respond_ratio": compute_respond_ratio(facts), "num_facts_per_response": facts,
        }  # fmt: skip

    # 1/2 and 12/12, and one without facts: init (0.5 + 1) / 2, score (0.5 e^-4 + 1) / 2, 2 of 3 respond, (2 + 12) / 2 facts.
    found = aggregate([response(2, 1), response(12, 12), response(0, 0)])
    assert found == pytest.approx({"score": (0.5 * math.exp(-4) + 1) / 2, "init_score": 0.75, "respond_ratio": 2 / 3, "num_facts_per_response": 7.0})
    assert set(aggregate([]).values()) == {None}
