"""The rule by which one of a run's candidates is chosen: by the factuality of its responses, not by its loss.

Over-optimisation shows in minutes: validation per cent correct falls while the accuracy on held-out pairs still rises (Rafailov et
al. 2024, arXiv 2406.02900). Per cent correct alone would reward a policy for falling silent. So: the highest per cent correct among the candidates
that keep a share of SFT's correct facts and leave few more responses empty than SFT does. Comparisons are of exact fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypedDict

from confscoring.statistics import Interval


@dataclass(frozen=True)
class Tally:
    """Counts over a policy's responses to the prompts that all policies in question answered."""

    responses: int
    facts: int
    correct: int
    empty: int  # responses without a fact

    @property
    def precision(self) -> Fraction | None:
        """The share of the facts that is correct; None where no fact is stated."""
        return Fraction(self.correct, self.facts) if self.facts else None

    @property
    def correct_facts(self) -> Fraction:
        """Correct facts per response."""
        return Fraction(self.correct, self.responses)

    @property
    def empty_share(self) -> Fraction:
        """The share of the responses that states no fact."""
        return Fraction(self.empty, self.responses)


@dataclass(frozen=True)
class Rule:
    """What a candidate has to keep of the supervised policy."""

    keep_correct: float  # least share of its correct facts per response
    more_empty: float  # percentage points by which empty responses may exceed its own

    def why_not(self, candidate: Tally, supervised: Tally) -> list[str]:
        """Return why a candidate does not qualify, in words; nothing where it does. A bound that is just met is kept."""
        reasons = []
        if candidate.precision is None:
            reasons.append("states no fact")
        if candidate.correct_facts < _exact(self.keep_correct) * supervised.correct_facts:
            share = float(100 * candidate.correct_facts / supervised.correct_facts)
            reasons.append(f"keeps {share:.2f} % of SFT's correct facts, less than {100 * self.keep_correct:g} %")
        more = 100 * (candidate.empty_share - supervised.empty_share)
        if more > _exact(self.more_empty):
            reasons.append(f"{float(more):.2f} points more empty responses than SFT, more than {self.more_empty:g}")
        return reasons


@dataclass(frozen=True)
class Selection:
    """The outcome; candidates are named by their place, from 0.

    Attributes:
        chosen: The one to export.
        qualified: Whether it met the rule. If not, none did, and the last is taken, as if there had been no choice.
        why_not: What each candidate fails for; nothing for one that qualifies.
        frontier: Those that no other beats in per cent correct and in correct facts, in order.
    """

    chosen: int
    qualified: bool
    why_not: tuple[tuple[str, ...], ...]
    frontier: tuple[int, ...]


def select(candidates: Sequence[Tally], supervised: Tally, rule: Rule) -> Selection:
    """Return which candidate is exported: of those that qualify the one with the highest per cent correct, the earliest of equals.

    Args:
        candidates: At least one, in the order of training, over the same prompts as ``supervised``.
        supervised: The policy that they all started from.
        rule: What qualifies.
    """
    why_not = tuple(tuple(rule.why_not(candidate, supervised)) for candidate in candidates)
    best: int | None = None
    for place, candidate in enumerate(candidates):
        if not why_not[place] and (best is None or _precision(candidate) > _precision(candidates[best])):
            best = place
    frontier = tuple(
        place for place, candidate in enumerate(candidates)
        if candidate.facts and not any(_beats(other, candidate) for other in candidates)
    )  # fmt: skip
    return Selection(len(candidates) - 1 if best is None else best, best is not None, why_not, frontier)


def _beats(one: Tally, other: Tally) -> bool:
    """Return whether one is at least as good in both figures and better in one (Pareto dominance)."""
    ours, theirs = (_precision(one), one.correct_facts), (_precision(other), other.correct_facts)
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def _precision(tally: Tally) -> Fraction:
    return Fraction(-1) if tally.precision is None else tally.precision


def _exact(value: float) -> Fraction:
    """Return the decimal number that a setting was written as: 0.9 is nine tenths, which no binary float is."""
    return Fraction(str(value))


class Measured(TypedDict):
    """A policy of choice.json: its counts and its figures, with 95 % intervals over people."""

    step: int
    counts: dict[str, int]
    figures: dict[str, Interval]


class Candidate(Measured):
    """One of the candidates."""

    candidate: int
    qualifies: bool
    why_not: list[str]


class Bounds(TypedDict):
    """The rule's two numbers."""

    keep_correct: float
    more_empty: float


class Choice(TypedDict):
    """``runs/{run}/choice.json``; ``chosen`` and ``frontier`` number candidates from 1, as their folders are."""

    format: int
    dataset: str
    seed: int
    run: str
    label: str
    supervised_run: str
    supervised_label: str
    split: str
    judge: str
    decoding: str
    people: int
    missing: list[str]
    rule: Bounds
    supervised: Measured
    candidates: list[Candidate]
    frontier: list[int]
    qualified: bool
    chosen: int
    step: int
    verdict: str
