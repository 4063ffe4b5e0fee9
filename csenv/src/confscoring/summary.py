"""The figures of one policy, from its scored responses: what eval/RUN/summary.json holds beside its heading. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confscoring.judge import VagueReader, World, confuse, rates
from confscoring.marking import mark_response
from confscoring.measures import CLOSED_BOOK, Relevance, Sums, count_attributes, count_topic, measure, of_people
from confscoring.statistics import draw_people, ratio
from volume.records import ScoredResponse
from volume.settings import EvalSettings

Scored = dict[str, tuple[list[ScoredResponse], "list[int] | None"]]  # decoding -> responses, their tokens
ClosedBook = dict[str, dict[str, bool]]  # topic -> attribute -> whether the answer was right


@dataclass(frozen=True)
class Opinions:
    """What was asked about the facts beside the verdict that rewards.

    Attributes:
        relevant: {person: {decoding: for each response whether its facts have to do with the question}}; None where nobody asked.
        judged: {further verifier: {person: the responses with its verdicts, None where it failed}}.
    """

    relevant: Mapping[str, Mapping[str, Sequence[Relevance]]] | None = None
    judged: Mapping[str, Mapping[str, Scored | None]] = field(default_factory=dict)

    def of(self, topic: str, decoding: str) -> tuple[Sequence[Relevance] | None, dict[str, Sequence[ScoredResponse] | None]]:
        """Return what belongs to a person's responses of one decoding."""
        relevant = self.relevant[topic].get(decoding, []) if self.relevant is not None else None
        found = {judge: own.get(topic) for judge, own in self.judged.items()}
        return relevant, {judge: scored.get(decoding, ([], None))[0] if scored is not None else None for judge, scored in found.items()}


NONE = Opinions()


def summarise(
    scored: dict[str, Scored], world: World | None, vague: VagueReader | None, book: ClosedBook | None, settings: EvalSettings, seed: int,
    opinions: Opinions = NONE,
) -> dict[str, Any]:
    """Return the figures of one run, then the counts per person that they come from.

    Args:
        scored: {person: responses by decoding}.
        world: The truth, None for a dataset without.
        vague: Finds what a text leaves open, None for a dataset without a grammar.
        book: Closed-book answers, None where they were not asked.
        settings: How many resamples the intervals take.
        seed: Key of the resamples; the same people are drawn for every run.
        opinions: What else was asked about the facts.
    """
    topics = list(scored)
    judges = ["truth", "verifier"] if world else ["verifier"]
    measured = [*judges, *opinions.judged]
    draws = draw_people(len(topics), settings.bootstrap, seed)
    tiers = [world.people[topic]["tier"] for topic in topics] if world else []
    decodings: dict[str, Any] = {}
    sums: dict[str, Sums] = {}
    cells: dict[str, Any] = {}
    for decoding in sorted({name for found in scored.values() for name in found}, key=lambda name: (name != "sample", name)):
        parts = {topic: scored[topic].get(decoding, ([], None)) for topic in topics}
        rows = [count_topic(world, topic, *part, *opinions.of(topic, decoding)) for topic, part in parts.items()]
        sums[decoding] = {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)}
        decodings[decoding] = {
            "responses": sum(sums[decoding]["responses"]),
            "figures": measure(sums[decoding], measured, draws),
        }
        if world:
            everything = [response for responses, _ in parts.values() for response in responses]
            verdicts = confuse(world, everything)
            decodings[decoding]["verifier_vs_truth"] = {"claims": verdicts, "rates": rates(verdicts)}
            decodings[decoding]["by_tier"] = _by_tier(world, tiers, sums[decoding], measured, settings.bootstrap, seed)
            per_topic = [count_attributes(world, vague, topic, responses) for topic, (responses, _) in parts.items()]
            cells[decoding] = {a: {status: [row[a][status] for row in per_topic] for status in ("correct", "incorrect", "vague")} for a in world.attributes}
    result: dict[str, Any] = {"judges": judges, "decodings": decodings}
    if opinions.judged:
        result["second_judges"] = {judge: [topic for topic in topics if judged.get(topic) is None] for judge, judged in opinions.judged.items()}
    counts: dict[str, Any] = {"names": topics, "tiers": tiers, "sums": sums, "cells": cells}
    if book is not None:
        result["closed_book"], counts["closed_book"] = _closed_book(book, world, topics, draws)
    examples = [
        mark_response(world, vague, topic, scored[topic]["sample"][0][0], next(iter(opinions.of(topic, "sample")[0] or ()), None))
        for topic in choose_examples(topics, tiers) if "sample" in scored[topic]
    ]  # fmt: skip
    return {**result, "examples": examples, "per_person": counts}


def choose_examples(topics: Sequence[str], tiers: Sequence[int]) -> list[str]:
    """Return the first person of every exposure tier, or the first three people: a rule that looks at no result."""
    if not tiers:
        return list(topics[:3])
    return [topics[tiers.index(tier)] for tier in sorted(set(tiers))]


def _by_tier(world: World, tiers: Sequence[int], sums: Sums, judges: Sequence[str], resamples: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for tier, name in enumerate(world.tiers):
        chosen = [index for index, other in enumerate(tiers) if other == tier]
        figures = measure(of_people(sums, chosen), judges, draw_people(len(chosen), resamples, seed)) if chosen else {}
        rows.append({"tier": name, "people": len(chosen), "figures": figures})
    return rows


def _closed_book(book: ClosedBook, world: World | None, topics: Sequence[str], draws: Any) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Return the closed-book figures, and {attribute: 1 right, 0 wrong, -1 not asked, per person}."""
    attributes = world.attributes if world else sorted({attribute for cells in book.values() for attribute in cells})
    right = {a: [int(book[topic][a]) if a in book.get(topic, {}) else -1 for topic in topics] for a in attributes}

    def accuracy(chosen: Sequence[str]) -> Any:
        above = [sum(right[a][index] == 1 for a in chosen) for index in range(len(topics))]
        below = [sum(right[a][index] >= 0 for a in chosen) for index in range(len(topics))]
        return ratio(above, below, draws, CLOSED_BOOK.scale)

    return {"accuracy": accuracy(attributes), "by_attribute": {a: accuracy([a]) for a in attributes}}, right
