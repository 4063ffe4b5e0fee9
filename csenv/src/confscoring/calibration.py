"""Does confidence tell correct claims from incorrect ones, and does it mean what it says? Pure functions.

AUROC asks the first: in how many of the pairs of a correct and an incorrect claim is confidence higher in the correct one.
Reliability asks the second: of the claims with confidence 0.7, are 70 % correct?

Claims about one person hang together, so intervals come from drawing people. Counts are whole numbers throughout, and whole
numbers add up to the same in any order: the same claims give the same bytes on any machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from confscoring.statistics import UNIT, Counts, Interval, interval_of, ratio

Claim = tuple[float, bool]  # confidence in it, and whether it is correct
BINS = 10
_DIGITS = 6
_BLOCK = 4_000_000  # numbers held at once while resampling: 32 MB


class CalibrationFile(TypedDict):
    """eval/{run}/calibration.json: the part that evaluation copies."""

    judges: dict[str, dict[str, Any]]


class Bin(TypedDict):
    """The claims whose confidence is in [low, high); the last bin holds 1 as well."""

    low: float
    high: float
    claims: int
    confidence: float | None
    correct: Interval


def concordance(claims: Iterable[Claim]) -> tuple[int, int]:
    """Return (wins, pairs) over all pairs of a correct and an incorrect claim.

    A win is 2 where the correct claim has the higher confidence, 1 where both have the same. wins / (2 pairs) is AUROC: the
    Mann-Whitney form, U / (n1 n0), where U = R1 - n1 (n1 + 1) / 2 and R1 is the rank sum of the n1 correct claims, equal ones at
    their middle rank. [Hanley and McNeil 1982, Radiology 143:29] Sorted once, so n log n steps.
    """
    below = correct = wins = 0
    for _, tied in itertools.groupby(sorted(claims, key=lambda claim: claim[0]), key=lambda claim: claim[0]):
        labels = [label for _, label in tied]
        right = sum(labels)
        wrong = len(labels) - right
        wins += right * (2 * below + wrong)
        below += wrong
        correct += right
    return wins, correct * below


def auroc(people: Sequence[Sequence[Claim]], draws: Counts) -> Interval:
    """Return AUROC over the claims of all people with its 95 % interval; all None where every claim is correct, or none is.

    Args:
        people: The claims about each person.
        draws: From ``statistics.draw_people``. Shape (resamples, people).

    Raises:
        ValueError: ``draws`` is of another number of people.
    """
    wins, pairs = concordance(claim for person in people for claim in person)
    return interval_of(wins / (2 * pairs) if pairs else None, _resampled(people, draws))


def auroc_within(people: Sequence[Sequence[Sequence[Claim]]], draws: Counts) -> tuple[Interval, int]:
    """Return AUROC over the pairs of claims of one prompt alone, and how many pairs that is.

    Preferences are made within a prompt: what only tells easy people from hard ones cannot teach anything. Every pair weighs
    the same, whatever its prompt.

    Args:
        people: For each person the prompts, for each prompt the claims of all its responses.
        draws: From ``statistics.draw_people``. Shape (resamples, people).

    Raises:
        ValueError: ``draws`` is of another number of people.
    """
    found = [[concordance(prompt) for prompt in person] for person in people]
    pairs = [sum(number for _, number in prompts) for prompts in found]
    wins = [sum(number for number, _ in prompts) for prompts in found]
    return ratio(wins, [2 * number for number in pairs], draws), sum(pairs)


def reliability(people: Sequence[Sequence[Claim]], draws: Counts, bins: int = BINS) -> list[Bin]:
    """Return the claims in bins of equal width over [0, 1]: mean confidence against the share that is correct.

    The reliability diagram of Murphy and Winkler 1977 (Applied Statistics 26:41); bins as in arXiv 1706.04599, section 2.

    Args:
        people: The claims about each person; confidence in [0, 1].
        draws: From ``statistics.draw_people``. Shape (resamples, people).
        bins: Number of bins.
    """
    scores: list[list[float]] = [[] for _ in range(bins)]
    claims, right = ([[0] * len(people) for _ in range(bins)] for _ in range(2))
    for place, person in enumerate(people):
        for score, correct in person:
            at = bin_of(score, bins)
            scores[at].append(score)
            claims[at][place] += 1
            right[at][place] += correct
    return [
        {
            "low": round(at / bins, _DIGITS), "high": round((at + 1) / bins, _DIGITS), "claims": len(scores[at]),
            "confidence": round(math.fsum(scores[at]) / len(scores[at]), _DIGITS) if scores[at] else None,
            "correct": ratio(right[at], claims[at], draws),
        }
        for at in range(bins)
    ]  # fmt: skip


def calibration_error(claims: Iterable[Claim], bins: int = BINS) -> float | None:
    """Return the expected calibration error, sum over bins of n_b / N |share correct - mean confidence|; None of nothing.

    [Naeini, Cooper and Hauskrecht 2015; equation 3 of arXiv 1706.04599] n_b cancels: each bin adds |correct - sum of confidence| / N.
    """
    gaps: list[list[float]] = [[] for _ in range(bins)]
    for score, correct in claims:
        gaps[bin_of(score, bins)].append(correct - score)
    total = sum(map(len, gaps))
    return round(math.fsum(abs(math.fsum(gap)) for gap in gaps) / total, _DIGITS) if total else None


def calibration_errors(people: Sequence[Sequence[Claim]], draws: Counts, bins: int = BINS) -> Interval:
    """Return the expected calibration error with its 95 % interval.

    A sum of absolute values grows with noise: resamples have more of it than the claims themselves, so the interval lies rather above the
    figure, and few claims look worse calibrated than many.

    Args:
        people: The claims about each person; confidence in [0, 1].
        draws: From ``statistics.draw_people``. Shape (resamples, people).
        bins: Number of bins.
    """
    gaps = np.zeros((len(people), bins), dtype=np.int64)  # in units of 1e-9, which add up alike in any order
    for place, person in enumerate(people):
        for score, correct in person:
            gaps[place, bin_of(score, bins)] += round((correct - score) * UNIT)
    below = draws @ np.asarray([len(person) for person in people], dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.where(below == 0, np.nan, np.abs(draws @ gaps).sum(axis=1) / below / UNIT)
    return interval_of(calibration_error((claim for person in people for claim in person), bins), resampled)


def brier(people: Sequence[Sequence[Claim]], draws: Counts) -> Interval:
    """Return the mean of (confidence - correct)^2 with its 95 % interval: 0 at best, 0.25 of whoever always says one half. [Brier 1950]

    Args:
        people: The claims about each person; confidence in [0, 1].
        draws: From ``statistics.draw_people``. Shape (resamples, people).
    """
    squares = [sum(round((score - correct) ** 2 * UNIT) for score, correct in person) for person in people]
    return ratio(squares, [len(person) for person in people], draws, 1 / UNIT)


def bin_of(score: float, bins: int) -> int:
    """Return the bin of a number in [0, 1]. Shares like 3 / 10 stand on a bound, and belong above it whatever their last bit says."""
    return min(max(int(score * bins + 1e-9), 0), bins - 1)


def _resampled(people: Sequence[Sequence[Claim]], draws: Counts) -> npt.NDArray[np.float64]:
    """Return AUROC in every resample, NaN where one of the classes is empty.

    Claims are counted once by person and level of confidence; a resample then only weighs people: with 20 answers a question
    there are few levels.
    """
    levels, level = np.unique(np.asarray([score for person in people for score, _ in person], dtype=np.float64), return_inverse=True)
    owner = np.repeat(np.arange(len(people)), [len(person) for person in people])
    label = np.asarray([correct for person in people for _, correct in person], dtype=np.int64)
    counts = np.zeros((2, len(people), len(levels)), dtype=np.float64)
    np.add.at(counts, (label, owner, level), 1.0)
    result = []
    for block in np.array_split(draws, max(1, math.ceil(draws.shape[0] * len(levels) / _BLOCK))):
        wrong, right = (block.astype(np.float64) @ counts[kind] for kind in (0, 1))
        wins = (right * (np.cumsum(wrong, axis=1) - wrong / 2)).sum(axis=1)  # those below, and half of those at the same level
        pairs = right.sum(axis=1) * wrong.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            result.append(np.where(pairs == 0, np.nan, wins / pairs))
    return np.concatenate(result)
