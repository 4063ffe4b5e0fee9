"""Measures one policy on the people of the evaluation split.

    python -m confscoring.evaluate --dataset synth --data-dir data --run factscore

Reads: eval/RUN/responses, eval/RUN/factscore_outputs, eval/RUN/closed_book.json and world/ (where the dataset has them).
Writes: eval/RUN/summary.json: figures with 95 % intervals over people, for sampled and greedy responses apart, judged by the
world's truth and by the verifier; the counts per person behind them, for paired comparisons; a few marked responses.
Not covered: comparisons with other runs (the report makes them, so that runs can be evaluated in any order).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from confscoring.judge import VagueReader, World, confuse, rates
from confscoring.marking import mark_response
from confscoring.measures import CLOSED_BOOK, Sums, count_attributes, count_topic, measure, of_people
from confscoring.statistics import draw_people, ratio
from volume.context import Context
from volume.errors import RecordError, UsageError
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.records import Generations, ScoredResponse, ScoredResponses, Topics, load
from volume.settings import EvalSettings
from volume.stage import run_whole

Scored = dict[str, tuple[list[ScoredResponse], "list[int] | None"]]  # decoding -> responses, their tokens
ClosedBook = dict[str, dict[str, bool]]  # topic -> attribute -> whether the answer was right


class Answer(TypedDict):
    """A closed-book answer: the part that is needed here."""

    correct: bool


def produce(ctx: Context) -> list[Path]:
    """Write the run's summary; return its path."""
    run = str(ctx.run)
    topics = [topic["topic"] for topic in load(ctx.paths.questions(ctx.definition.eval.split), Topics)[: ctx.limit]]
    responses = {topic: read_responses(ctx.paths, run, topic) for topic in topics}
    missing = [topic for topic, found in responses.items() if found is None]
    scored = {topic: found for topic, found in responses.items() if found is not None}
    if not scored:
        raise UsageError(f"run '{run}' has no scored responses in {ctx.paths.eval(run)}. Run `make eval` (its stages responses and factscore) first.")
    world = World.from_file(ctx.paths.world / "world.json") if ctx.definition.world else None
    vague = VagueReader.from_file(ctx.paths.world / "grammar.json") if ctx.definition.world else None
    book = ctx.paths.eval(run) / "closed_book.json"
    summary = {
        "format": 1,
        "dataset": ctx.definition.name,
        "seed": ctx.definition.seed,
        "run": run,
        "label": ctx.definition.runs[run].label,
        "split": ctx.definition.eval.split,
        "people": len(scored),
        "missing": missing,
        **summarise(scored, world, vague, read_closed_book(book) if book.exists() else None, ctx.definition.eval, ctx.definition.seed),
    }
    if world and ctx.definition.judges:
        summary["judges_vs_truth"] = {
            judge: compare_with_truth(world, {topic: read_responses(ctx.paths, run, topic, judge) for topic in scored}) for judge in ctx.definition.judges
        }
    path = ctx.paths.eval(run) / "summary.json"
    write_json(path, summary)
    ctx.count("people", len(scored))
    ctx.count("missing", len(missing))
    return [path]


def read_responses(paths: DatasetPaths, run: str, topic: str, judge: str | None = None) -> Scored | None:
    """Return a person's scored responses by decoding, or None when an earlier stage failed on this person.

    Args:
        judge: A further verifier, whose verdicts are read in place of those of the one that rewarded.

    Raises:
        RecordError: The scores are not those of the responses.
    """
    return read_scored(paths.responses(topic, run), paths.judged(topic, run, judge) if judge else paths.factscore(topic, run))


def read_scored(generations: Path, facts: Path) -> Scored | None:
    """Return scored responses by decoding, or None where one of the two files is missing; raises as `read_responses` does."""
    if not (generations.exists() and facts.exists()):
        return None
    scored: ScoredResponses = load(facts, ScoredResponses)
    found: Scored = {}
    place = 0
    for generation in load(generations, Generations).values():
        texts = generation["responses"]
        decoding = generation.get("decoding", ["sample"] * len(texts))
        tokens = generation.get("tokens")
        part = scored[place : place + len(texts)]
        if [response["generation"] for response in part] != texts or len(decoding) != len(texts):
            raise RecordError(f"{facts} does not score the responses of {generations.name} in their order. Delete it and run `make eval` again.")
        for index, (response, kind) in enumerate(zip(part, decoding, strict=True)):
            responses, lengths = found.setdefault(kind, ([], [] if tokens else None))
            responses.append(response)
            if lengths is not None and tokens:
                lengths.append(tokens[index])
        place += len(texts)
    return found


def compare_with_truth(world: World, scored: dict[str, Scored | None]) -> dict[str, Any]:
    """Return {decoding: a verifier's verdicts against the truth} over the people whom it judged."""
    found = [parts for parts in scored.values() if parts is not None]
    result: dict[str, Any] = {}
    for decoding in dict.fromkeys(name for parts in found for name in parts):
        verdicts = confuse(world, [response for parts in found if decoding in parts for response in parts[decoding][0]])
        result[decoding] = {"claims": verdicts, "rates": rates(verdicts)}
    return result


def read_closed_book(path: Path) -> ClosedBook:
    """Read eval/RUN/closed_book.json: whether the policy answers each person's questions.

    Raises:
        RecordError: It does not hold that.
    """
    found: dict[str, dict[str, Answer]] = load(path, dict[str, dict[str, Answer]])
    return {topic: {attribute: answer["correct"] for attribute, answer in answers.items()} for topic, answers in found.items()}


def summarise(
    scored: dict[str, Scored], world: World | None, vague: VagueReader | None, book: ClosedBook | None, settings: EvalSettings, seed: int
) -> dict[str, Any]:
    """Return the figures of one run, then the counts per person that they come from.

    Args:
        scored: {person: responses by decoding}.
        world: The truth, None for a dataset without.
        vague: Finds what a text leaves open, None for a dataset without a grammar.
        book: Closed-book answers, None where they were not asked.
        settings: How many resamples the intervals take.
        seed: Key of the resamples; the same people are drawn for every run.
    """
    topics = list(scored)
    judges = ["truth", "verifier"] if world else ["verifier"]
    draws = draw_people(len(topics), settings.bootstrap, seed)
    tiers = [world.people[topic]["tier"] for topic in topics] if world else []
    decodings: dict[str, Any] = {}
    sums: dict[str, Sums] = {}
    cells: dict[str, Any] = {}
    for decoding in sorted({name for found in scored.values() for name in found}, key=lambda name: (name != "sample", name)):
        parts = {topic: scored[topic].get(decoding, ([], None)) for topic in topics}
        rows = [count_topic(world, topic, *part) for topic, part in parts.items()]
        sums[decoding] = {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)}
        decodings[decoding] = {
            "responses": sum(sums[decoding]["responses"]),
            "figures": measure(sums[decoding], judges, draws),
        }
        if world:
            everything = [response for responses, _ in parts.values() for response in responses]
            verdicts = confuse(world, everything)
            decodings[decoding]["verifier_vs_truth"] = {"claims": verdicts, "rates": rates(verdicts)}
            decodings[decoding]["by_tier"] = _by_tier(world, tiers, sums[decoding], judges, settings.bootstrap, seed)
            per_topic = [count_attributes(world, vague, topic, responses) for topic, (responses, _) in parts.items()]
            cells[decoding] = {a: {status: [row[a][status] for row in per_topic] for status in ("correct", "incorrect", "vague")} for a in world.attributes}
    result: dict[str, Any] = {"judges": judges, "decodings": decodings}
    counts: dict[str, Any] = {"names": topics, "tiers": tiers, "sums": sums, "cells": cells}
    if book is not None:
        result["closed_book"], counts["closed_book"] = _closed_book(book, world, topics, draws)
    examples = [mark_response(world, vague, topic, scored[topic]["sample"][0][0]) for topic in choose_examples(topics, tiers) if "sample" in scored[topic]]
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


if __name__ == "__main__":
    raise SystemExit(run_whole("evaluate", produce))
