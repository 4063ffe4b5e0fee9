"""Confidence of a model in a claim, from sampled answers to a question about it. Pure functions.

The first three look at the answers alone; ``samp_conf`` alone asks whether they agree with what was claimed.
Sums are exactly rounded (math.fsum), so equal masses give equal scores in whatever order they come: with plain sums, ties
turn into preferences that differ in the sixteenth digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Confidence:
    """The four scores of one question; ``samp_conf`` is None where no answer was claimed."""

    neg_ent: float
    max_conf: float
    exp_conf: float
    samp_conf: float | None


def score_classes(sizes: Sequence[int], claimed: int | None) -> Confidence:
    """Return the confidence scores of answers that were sorted into classes.

    Args:
        sizes: Answers in each class, at least one class.
        claimed: Answers that agree with the claimed one; None where none was claimed.
    """
    total = sum(sizes)
    shares = [size / total for size in sizes]
    return Confidence(negative_entropy(shares), max_confidence(shares), expected_confidence(shares), None if claimed is None else claimed / total)


def negative_entropy(masses: Sequence[float]) -> float:
    """Return sum p ln p over the classes, in nats; 0 is certainty. Masses are normalised, as scipy.stats.entropy does."""
    total = math.fsum(masses)
    return math.fsum(mass / total * math.log(mass / total) for mass in masses if mass > 0)


def least_negative_entropy(samples: int) -> float:
    """Return -ln n: the negative entropy of n answers that all differ, the least that n answers can have."""
    return 0.0 - math.log(samples)


def max_confidence(masses: Sequence[float]) -> float:
    """Return the largest class's share (FactTune-MC, arXiv 2311.08401, section 3.2)."""
    return max(masses)


def expected_confidence(masses: Sequence[float]) -> float:
    """Return sum p^2: the chance that another sample agrees with a sampled answer (FactTune-EC of the conference version)."""
    return math.fsum(mass * mass for mass in masses)


def mean_or_none(values: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing: a response without facts has no reward, not a reward of zero."""
    return math.fsum(values) / len(values) if values else None
