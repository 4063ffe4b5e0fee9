"""Intervals over people: the percentile bootstrap of ratios of sums, and of paired differences of two runs.

Every figure of an evaluation is a ratio of two sums over people. Per cent correct, micro, is (correct facts) / (facts);
macro, the mean over responses of each response's own ratio, is (sum of ratios) / (responses that have one). People are
drawn, not facts or responses: those of one person hang together. [Efron and Tibshirani 1993, chapter 13]

Sums are taken over integers and draws come from raw Philox words, so the same numbers give the same bytes on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Pair = tuple[Sequence[int], Sequence[int]]  # numerators and denominators, one number per person

# Means of ratios are summed in units of 1e-9: integers add up to the same number in any order, floats do not.
UNIT = 10**9
_DIGITS = 6


class Interval(TypedDict):
    """A figure with the bounds of its 95 % interval; all None where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None


EMPTY: Interval = {"value": None, "low": None, "high": None}


def draw_people(people: int, resamples: int, seed: int) -> Counts:
    """Return how often each person is drawn in each resample, with replacement.

    Args:
        people: Number of people.
        resamples: Number of resamples.
        seed: Key of the counter-based generator.

    Returns:
        Counts of shape (resamples, people); every row sums to ``people``.
    """
    # Raw words, scaled by hand: numpy promises their values for good, those of its `integers` method it does not.
    words = np.random.Philox(key=seed % 2**128).random_raw(resamples * people).astype(np.uint64)
    drawn = ((words >> np.uint64(32)) * np.uint64(people)) >> np.uint64(32)
    rows = np.repeat(np.arange(resamples, dtype=np.int64), people)
    return np.bincount(rows * people + drawn.astype(np.int64), minlength=resamples * people).reshape(resamples, people).astype(np.int64)


def fixed_point(ratios: Iterable[tuple[int, int]]) -> int:
    """Return the sum of ratios (part, whole) in units of 1e-9; ratios with a whole of 0 are left out."""
    return sum(round(Fraction(part, whole) * UNIT) for part, whole in ratios if whole)


def ratio(numerators: Sequence[int], denominators: Sequence[int], draws: Counts, scale: float = 1.0) -> Interval:
    """Return sum(numerators) / sum(denominators) * scale with its 95 % interval.

    Args:
        numerators: One number per person.
        denominators: One number per person.
        draws: From :func:`draw_people`. Shape (resamples, people).
        scale: 100 for per cent.

    Raises:
        ValueError: Lengths differ.
    """
    value = _ratio(_total(numerators), _total(denominators), scale)
    return interval_of(value, _resampled(numerators, denominators, draws, scale))


def difference(first: Pair, second: Pair, draws: Counts, scale: float = 1.0) -> Interval:
    """Return ratio(first) - ratio(second) with its 95 % interval, both runs over the same drawn people (paired).

    Args:
        first: Numerators and denominators of the run of interest, one number per person.
        second: Those of the run that it is compared with, the same people in the same order.
        draws: From :func:`draw_people`.
        scale: 100 for percentage points.

    Raises:
        ValueError: The two runs do not cover the same number of people.
    """
    value = _minus(_ratio_of(first, scale), _ratio_of(second, scale))
    return interval_of(value, _resampled(*first, draws, scale) - _resampled(*second, draws, scale))


def relative_change(first: Pair, second: Pair, draws: Counts) -> Interval:
    """Return 100 * (ratio(first) / ratio(second) - 1), per cent, with its paired 95 % interval; arguments as for ``difference``."""
    before = _ratio(_total(second[0]), _total(second[1]), 1.0)
    after = _ratio(_total(first[0]), _total(first[1]), 1.0)
    value = None if after is None or not before else 100.0 * (after / before - 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = 100.0 * (_resampled(*first, draws, 1.0) / _resampled(*second, draws, 1.0) - 1.0)
    return interval_of(value, resampled)


def mean_ratio(parts: Sequence[tuple[Pair, Counts]], scale: float = 1.0) -> Interval:
    """Return the mean over experiments, such as seeds, of ratio * scale, with its 95 % interval; all None where an experiment has counted nothing.

    Args:
        parts: Of each experiment its numerators and denominators, and its draws. Where the experiments share their people, they must share
            the draws too: what is drawn then is a person with all that every experiment counted of them.

    Raises:
        ValueError: Lengths differ.
    """
    return _mean([(_ratio_of(pair, scale), _resampled(*pair, draws, scale)) for pair, draws in parts])


def mean_difference(parts: Sequence[tuple[Pair, Pair, Counts]], scale: float = 1.0) -> Interval:
    """Return the mean over experiments of (ratio(first) - ratio(second)) * scale, paired by person within each; otherwise as ``mean_ratio``."""
    return _mean([
        (_minus(_ratio_of(first, scale), _ratio_of(second, scale)), _resampled(*first, draws, scale) - _resampled(*second, draws, scale))
        for first, second, draws in parts
    ])  # fmt: skip


def _mean(parts: Sequence[tuple[float | None, npt.NDArray[np.float64]]]) -> Interval:
    values = [value for value, _ in parts if value is not None]
    if not values or len(values) < len(parts):
        return {**EMPTY}
    return interval_of(math.fsum(values) / len(values), np.mean([resampled for _, resampled in parts], axis=0))


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _ratio_of(pair: Pair, scale: float) -> float | None:
    return _ratio(_total(pair[0]), _total(pair[1]), scale)


def correlation_within(groups: Iterable[Sequence[tuple[float, float]]]) -> float | None:
    """Return Pearson's r of (x, y) after taking each group's means away: does x rank y among the responses to one prompt?

    Args:
        groups: One list of pairs per prompt. Groups of fewer than two pairs say nothing and are left out.

    Returns:
        r, or None where x or y never varies within a group.
    """
    xx: list[float] = []
    yy: list[float] = []
    xy: list[float] = []
    for pairs in groups:
        if len(pairs) < 2:
            continue
        mean_x = math.fsum(x for x, _ in pairs) / len(pairs)
        mean_y = math.fsum(y for _, y in pairs) / len(pairs)
        for x, y in pairs:
            xx.append((x - mean_x) ** 2)
            yy.append((y - mean_y) ** 2)
            xy.append((x - mean_x) * (y - mean_y))
    spread = math.fsum(xx) * math.fsum(yy)  # fsum rounds once, whatever the order
    # Means of equal floats can miss them by a rounding: such a spread is no spread.
    return round(math.fsum(xy) / math.sqrt(spread), _DIGITS) if spread > 1e-18 else None


def _total(numbers: Sequence[int]) -> int:
    return sum(int(number) for number in numbers)


def _ratio(numerator: int, denominator: int, scale: float) -> float | None:
    return numerator / denominator * scale if denominator else None


def _resampled(numerators: Sequence[int], denominators: Sequence[int], draws: Counts, scale: float) -> npt.NDArray[np.float64]:
    """Return the ratio in every resample, NaN where its denominator is 0."""
    if not len(numerators) == len(denominators) == draws.shape[1]:
        raise ValueError(f"{len(numerators)} numerators, {len(denominators)} denominators, draws of {draws.shape[1]} people: expected as many of each")
    above = draws @ np.asarray(numerators, dtype=np.int64)
    below = draws @ np.asarray(denominators, dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below * scale)


def interval_of(value: float | None, resampled: npt.NDArray[Any]) -> Interval:
    """Return a figure with the 2.5th and 97.5th percentile of its resamples.

    Args:
        value: The figure; None where nothing was counted.
        resampled: The same figure in each resample, NaN where nothing was counted. Shape (resamples,).
    """
    if value is None:
        return {**EMPTY}
    kept = resampled[np.isfinite(resampled)]
    if not len(kept):
        return {"value": round(value, _DIGITS), "low": None, "high": None}
    low, high = np.percentile(kept, [2.5, 97.5])
    return {"value": round(value, _DIGITS), "low": round(float(low), _DIGITS), "high": round(float(high), _DIGITS)}
