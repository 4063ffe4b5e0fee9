"""What is counted in a response, and which ratios of those counts are the figures of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

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
    "distinct_correct": Figure("distinct", "people", "Different correct facts", "per topic, over all its responses", 1.0, 1),
}
PLAIN: dict[str, Figure] = {
    "facts": Figure("facts", "responses", "Facts", "per response"),
    "words": Figure("words", "responses", "Words", "per response"),
    "tokens": Figure("tokens", "responses", "Tokens", "per response"),
    "empty": Figure("empty", "responses", "Empty (no fact)", "% of responses", 100.0, -1),
    "respond": Figure("rated", "responses", "Respond ratio (states a fact)", "% of responses", 100.0, 1),  # as FActScore defines it
    "abstained": Figure("abstained", "responses", "Declines to answer, by its wording", "% of responses", 100.0),
    "irrelevant": Figure("irrelevant", "responses", "Supported facts that do not answer the question", "per response", 1.0, -1),
    "vague": Figure("vague", "responses", "Vague sentences", "per response"),
    "vague_share": Figure("vague", "sentences", "Vague sentences", "% of sentences", 100.0),
    "unparsed": Figure("unparsed", "sentences", "Unparsed sentences", "% of sentences", 100.0, -1),
    "off_topic": Figure("off_topic", "responses", "About somebody else", "per response", 1.0, -1),
    "repeats": Figure("repeats", "responses", "Repeated facts", "per response", 1.0, -1),
}
_BELOW = tuple(dict.fromkeys(figure.denominator for figure in JUDGED.values()))
CLOSED_BOOK = Figure("closed_right", "closed_asked", "Closed-book accuracy", "%", 100.0, 1)

Sums = dict[str, list[int]]
Relevance = Sequence[bool | None]  # of the facts of a response; None: not asked about, or undecided


class RelevanceFile(TypedDict):
    """eval/{run}/relevance/{topic}_relevance.json: for each response, in the order of the responses' file, whether each fact is relevant."""

    relevant: list[list[bool | None]]


def count_topic(
    world: World | None, topic: str, scored: Sequence[ScoredResponse], tokens: Sequence[int] | None, relevant: Sequence[Relevance] | None = None,
    judged: Mapping[str, Sequence[ScoredResponse] | None] | None = None,
) -> dict[str, int]:
    """Return the counts of one person's responses.

    Args:
        world: The truth; None for a dataset that has none, which leaves out the counts judged by it.
        topic: The person.
        scored: The responses with their decisions.
        tokens: Their lengths in tokens; None, and then not counted, where nobody wrote them down.
        relevant: For each response whether its facts have to do with the question: one that does not is correct by no judge, and not
            incorrect for that. None where nobody asked.
        judged: The same responses with the decisions of further verifiers, by the verifier's name; None of one that failed on this person, who
            then is not among those that its figures are about.
    """
    names = ("people", "responses", "facts", "claims", "sentences", "vague", "unparsed", "off_topic", "repeats", "words", "empty", "rated")
    totals = {name: 0 for name in names} | {"people": int(bool(scored))}
    totals |= {} if tokens is None else {"tokens": sum(tokens)}
    totals |= {} if relevant is None else {"irrelevant": sum(list(own).count(False) for own in relevant)}
    if all("abstained" in response for response in scored):
        totals["abstained"] = sum(response["abstained"] for response in scored)
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
    if world is not None:
        totals |= _count_verdicts("truth", scored, [[world.supports(topic, decision) for decision in decisions_of(response)] for response in scored], relevant)
    totals |= _count_verdicts("verifier", scored, _verdicts(scored), relevant)
    for judge, rows in (judged or {}).items():
        totals |= _count_verdicts(judge, rows or [], _verdicts(rows or []), relevant if rows else None)
        totals |= {f"{judge}_{name}": totals[name] if rows else 0 for name in _BELOW}
    return totals


def _verdicts(scored: Sequence[ScoredResponse]) -> list[list[bool]]:
    return [[decision["is_supported"] for decision in decisions_of(response)] for response in scored]


def _count_verdicts(
    judge: str, scored: Sequence[ScoredResponse], verdicts: Sequence[Sequence[bool]], relevant: Sequence[Relevance] | None
) -> dict[str, int]:
    """Return the counts of responses by one judge's verdicts on their facts."""
    correct = incorrect = 0
    shares: list[tuple[int, int]] = []
    distinct: set[str] = set()
    for place, (response, own) in enumerate(zip(scored, verdicts, strict=True)):
        asked = relevant[place] if relevant is not None else [None] * len(own)
        counted = [supported and answers is not False for supported, answers in zip(own, asked, strict=True)]
        correct += sum(counted)
        incorrect += own.count(False)
        shares.append((sum(counted), len(own)))
        distinct |= {fold_atom(decision["atom"]) for decision, right in zip(decisions_of(response), counted, strict=True) if right}
    return {f"{judge}_correct": correct, f"{judge}_incorrect": incorrect, f"{judge}_ratios": fixed_point(shares), f"{judge}_distinct": len(distinct)}


def fold_atom(atom: str) -> str:
    """Return what makes two facts of a topic the same: their text, whatever its white space, case and full stop."""
    return " ".join(atom.casefold().split()).rstrip(".")


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
    denominator = sums.get(f"{judge}_{figure.denominator}", sums.get(figure.denominator))  # its own where it did not judge everybody
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
