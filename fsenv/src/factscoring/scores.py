"""The scores of a response and of a set of responses, as FActScore defines them (Min et al. 2023, section 3).

None stands for "no score": a response without facts has none, and as JSON that is null, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from volume.records import ScoredResponse


def compute_init_score(supported: int, facts: int) -> float | None:
    """Return the share of supported facts: the paper's reward ``factscore_avg``."""
    return supported / facts if facts else None


def compute_length_penalty(facts: int, gamma: int) -> float:
    """Return 1 for more than ``gamma`` facts, else exp(1 - gamma / facts): short answers are easily right."""
    return 1.0 if facts > gamma else math.exp(1 - gamma / facts)


def compute_score(supported: int, facts: int, gamma: int) -> float | None:
    """Return the length-penalised score: the reward ``factscore_lp_avg``."""
    init_score = compute_init_score(supported, facts)
    return None if init_score is None else init_score * compute_length_penalty(facts, gamma)


def compute_respond_ratio(facts: int) -> float:
    """Return 1.0 for a response that states something, else 0.0."""
    return 1.0 if facts else 0.0


def aggregate(responses: Sequence[ScoredResponse]) -> dict[str, float | None]:
    """Return the four figures of a set: means over the responses that state something, and the share of those.

    Returns:
        score, init_score, respond_ratio, num_facts_per_response; None where there is nothing to average.
    """
    answered = [response for response in responses if response["num_facts_per_response"]]
    return {
        "score": _mean([response["score"] for response in answered]),
        "init_score": _mean([response["init_score"] for response in answered]),
        "respond_ratio": _mean([response["respond_ratio"] for response in responses]),
        "num_facts_per_response": _mean([response["num_facts_per_response"] for response in answered]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
