"""What is counted in a response, and which ratios of those counts are the figures of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confscoring.judge import VagueReader, World, decisions_of, kind_of
from confscoring.statistics import UNIT, Counts, Interval, fixed_point, ratio
from volume.records import ScoredResponse


@dataclass(frozen=True)
class Figure:
    """A figure: sum of ``numerator`` over people, divided by that of ``denominator``, times ``scale``.

    Attributes:
        label: Its name in the report.
        unit: What its number is.
        better: 1 where more is better, -1 where less is, 0 where it depends.
    """

    numerator: str
    denominator: str
    label: str
    unit: str
    scale: float = 1.0
    better: int = 0


# Judged by the truth or by the verifier: their counts carry the judge's name in front.
JUDGED: dict[str, Figure] = {
    "percent_correct": Figure("correct", "facts", "Correct, of all facts", "%", 100.0, 1),
    "percent_correct_macro": Figure("ratios", "rated", "Correct, mean over responses", "%", 100.0 / UNIT, 1),
    "correct": Figure("correct", "responses", "Correct facts", "per response", 1.0, 1),
    "incorrect": Figure("incorrect", "responses", "Incorrect facts", "per response", 1.0, -1),
}
PLAIN: dict[str, Figure] = {
    "facts": Figure("facts", "responses", "Facts", "per response"),
    "words": Figure("words", "responses", "Words", "per response"),
    "tokens": Figure("tokens", "responses", "Tokens", "per response"),
    "empty": Figure("empty", "responses", "Empty (no fact)", "% of responses", 100.0, -1),
    "vague": Figure("vague", "responses", "Vague sentences", "per response"),
    "vague_share": Figure("vague", "sentences", "Vague sentences", "% of sentences", 100.0),
    "unparsed": Figure("unparsed", "sentences", "Unparsed sentences", "% of sentences", 100.0, -1),
    "off_topic": Figure("off_topic", "responses", "About somebody else", "per response", 1.0, -1),
    "repeats": Figure("repeats", "responses", "Repeated facts", "per response", 1.0, -1),
}
CLOSED_BOOK = Figure("closed_right", "closed_asked", "Closed-book accuracy", "%", 100.0, 1)

Sums = dict[str, list[int]]


def count_topic(world: World | None, topic: str, scored: Sequence[ScoredResponse], tokens: Sequence[int] | None) -> dict[str, int]:
    """Return the counts of one person's responses.

    Args:
        world: The truth; None for a dataset that has none, which leaves out the counts judged by it.
        topic: The person.
        scored: The responses with their decisions.
        tokens: Their lengths in tokens; None, and then not counted, where nobody wrote them down.
    """
    names = ("responses", "facts", "claims", "sentences", "vague", "unparsed", "off_topic", "repeats", "words", "empty", "rated")
    totals = {name: 0 for name in names} | ({} if tokens is None else {"tokens": sum(tokens)})
    judges = ("truth", "verifier") if world else ("verifier",)
    totals |= {f"{judge}_{name}": 0 for judge in judges for name in ("correct", "incorrect", "ratios")}
    for response in scored:
        decisions = decisions_of(response)
        kinds = [kind_of(decision) for decision in decisions]
        totals["responses"] += 1
        totals["facts"] += len(decisions)
        totals["claims"] += kinds.count("claim")
        totals["words"] += len(response["generation"].split())
        totals["empty"] += not decisions
        totals["rated"] += bool(decisions)
        totals["sentences"] += response.get("sentences", 0)
        totals["vague"] += response.get("vague", 0)
        totals["repeats"] += response.get("repeats", 0)
        totals["unparsed"] += response.get("unparsed", kinds.count("unparsed"))
        totals["off_topic"] += response.get("off_topic", kinds.count("off_topic"))
        for judge in judges:
            right = sum(world.supports(topic, decision) if world and judge == "truth" else decision["is_supported"] for decision in decisions)
            totals[f"{judge}_correct"] += right
            totals[f"{judge}_incorrect"] += len(decisions) - right
            totals[f"{judge}_ratios"] += fixed_point([(right, len(decisions))])
    return totals


def count_attributes(world: World, vague: VagueReader | None, topic: str, scored: Iterable[ScoredResponse]) -> dict[str, dict[str, int]]:
    """Return {attribute: {correct, incorrect, vague: number}} over one person's responses; vague counts once per response."""
    cells = {attribute: {"correct": 0, "incorrect": 0, "vague": 0} for attribute in world.attributes}
    for response in scored:
        stated = set()
        for decision in decisions_of(response):
            attribute = decision.get("attribute")
            if kind_of(decision) == "claim" and attribute in cells:
                cells[attribute]["correct" if world.supports(topic, decision) else "incorrect"] += 1
                stated.add(attribute)
        if vague is not None:
            for attribute in vague.attributes(response["generation"]) - stated:
                cells[attribute]["vague"] += 1
    return cells


def columns(judge: str, figure: Figure, sums: Mapping[str, Sequence[int]]) -> tuple[Sequence[int], Sequence[int]] | None:
    """Return a figure's numerators and denominators, one number per person; None where they were not counted."""
    numerator = sums.get(f"{judge}_{figure.numerator}", sums.get(figure.numerator))
    denominator = sums.get(figure.denominator)
    return None if numerator is None or denominator is None else (numerator, denominator)


def measure(sums: Mapping[str, Sequence[int]], judges: Sequence[str], draws: Counts) -> dict[str, dict[str, Interval]]:
    """Return {judge: {figure: interval}}, the figures that no judge changes under ``plain``."""
    measured: dict[str, dict[str, Interval]] = {}
    for judge, figures in (*((judge, JUDGED) for judge in judges), ("plain", PLAIN)):
        found = {name: (columns(judge, figure, sums), figure.scale) for name, figure in figures.items()}
        measured[judge] = {name: ratio(*pair, draws, scale) for name, (pair, scale) in found.items() if pair is not None}
    return measured


def of_people(sums: Mapping[str, Sequence[int]], chosen: Sequence[int]) -> Sums:
    """Return the sums of some people only, by their indices."""
    return {name: [numbers[index] for index in chosen] for name, numbers in sums.items()}
