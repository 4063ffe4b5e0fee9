"""Confidence against correctness: how well the four scores of a claim tell whether it is correct.

The truth is the world's where there is one, else the verifier's verdict. Text that could not be read, or that is about somebody
else, is no claim and is left out: a question was never asked about it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from confscoring.calibration import Claim, auroc, auroc_within, calibration_error, reliability
from confscoring.judge import World, kind_of
from confscoring.report_numbers import mean_exposure
from confscoring.statistics import draw_people
from volume.errors import RecordError
from volume.records import Decision, read_lines

# Three are probabilities. Negative entropy is none: it is drawn as exp(neg_ent), one over the effective number of answers
# (the reciprocal of the Hill number of order 1; max_conf and exp_conf are those of orders infinity and 2), and has no calibration error.
METRICS = ("neg_ent", "max_conf", "exp_conf", "samp_conf")


@dataclass(frozen=True)
class JudgedClaim:
    """A claim of a response with its confidence scores; None where no question could be asked or nothing was claimed."""

    topic: str
    prompt: str
    correct: bool
    scores: dict[str, float | None]


def confidences_file(rewards: Path) -> Path:
    """Return the file of single facts that was written with a rewards file."""
    return rewards.with_name(rewards.stem.replace("rewards_", "confidences_", 1) + ".jsonl")


def read_claims(path: Path, world: World | None) -> tuple[list[JudgedClaim], dict[str, int]]:
    """Return the claims of a confidences file, judged, and how many facts are none, by kind.

    Args:
        path: rewards/confidences_{split}_{n}.jsonl.
        world: The truth; None where the verifier's verdict has to do.

    Raises:
        RecordError: A line lacks a field, or a score is no number.
    """
    claims: list[JudgedClaim] = []
    left_out: Counter[str] = Counter()
    for number, row in read_lines(path):
        try:
            topic, decision = row["topic"], cast(Decision, row)
            if kind_of(decision) != "claim":
                left_out[kind_of(decision)] += 1
            elif world is not None and topic not in world.people:
                left_out["not_in_the_world"] += 1
            else:
                correct = world.supports(topic, decision) if world else decision["is_supported"]
                claims.append(JudgedClaim(topic, row["question"], bool(correct), {name: _score(row[name], name) for name in METRICS}))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            fault = f"lacks the field {error}" if isinstance(error, KeyError) else str(error)
            raise RecordError(f"{path}, line {number}: {fault}. Delete the file and run `make rewards` again, or mend that line.") from error
    return claims, dict(left_out)


def _score(value: Any, name: str) -> float | None:
    if value is None:
        return None
    low, high = (-math.inf, 0.0) if name == "neg_ent" else (0.0, 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or math.isinf(value):
        raise ValueError(f"{name} is {value!r}, expected a number of {'at most 0' if name == 'neg_ent' else '0 to 1'}, or null")
    return float(value)


def measure_confidence(claims: Sequence[JudgedClaim], world: World | None, resamples: int, seed: int) -> dict[str, Any]:
    """Return how each score goes with correctness: AUROC overall, within prompts and by exposure tier; reliability; calibration error.

    Args:
        claims: From ``read_claims``.
        world: For the tiers; None leaves them out.
        resamples, seed: Of the bootstrap over people.
    """
    topics = list(dict.fromkeys(claim.topic for claim in claims))
    tiers = {topic: world.tiers[world.people[topic]["tier"]] for topic in topics} if world else {}
    groups = [(tier, [topic for topic in topics if tiers[topic] == tier]) for tier in world.tiers] if world else []
    draws = draw_people(len(topics), resamples, seed)
    metrics: dict[str, Any] = {}
    for name in METRICS:
        scored = _by_prompt(claims, name)
        people = [[claim for prompt in scored[topic] for claim in prompt] for topic in topics]
        shown = [[(math.exp(score), correct) for score, correct in person] for person in people] if name == "neg_ent" else people
        within, pairs = auroc_within([scored[topic] for topic in topics], draws)
        metrics[name] = {
            "claims": sum(map(len, people)), "without": len(claims) - sum(map(len, people)),
            "auroc": auroc(people, draws), "auroc_within_prompts": within, "pairs_within_prompts": pairs,
            "calibration_error": None if name == "neg_ent" else calibration_error(claim for person in people for claim in person),
            "reliability": reliability(shown, draws),
            "auroc_by_tier": {
                tier: auroc([[claim for prompt in scored[topic] for claim in prompt] for topic in members], draw_people(len(members), resamples, seed))
                for tier, members in groups if members
            },
        }  # fmt: skip
    return {**_count(claims), "metrics": metrics, "tiers": [
        {"tier": tier, "exposure": round(mean_exposure(world, tier), 6), **_count([claim for claim in claims if tiers[claim.topic] == tier])}
        for tier, members in groups if members and world
    ]}  # fmt: skip


def _by_prompt(claims: Sequence[JudgedClaim], name: str) -> dict[str, list[list[Claim]]]:
    """Return {topic: claims with that score, prompt by prompt}."""
    found: dict[str, dict[str, list[Claim]]] = {}
    for claim in claims:
        prompt = found.setdefault(claim.topic, {}).setdefault(claim.prompt, [])
        score = claim.scores[name]
        if score is not None:
            prompt.append((score, claim.correct))
    return {topic: list(prompts.values()) for topic, prompts in found.items()}


def _count(claims: Sequence[JudgedClaim]) -> dict[str, Any]:
    correct = sum(claim.correct for claim in claims)
    return {"claims": len(claims), "correct": correct, "percent_correct": round(100 * correct / len(claims), 6) if claims else None}
