"""Measures one policy on the people of the evaluation split.

    python -m confscoring.evaluate --dataset synth --data-dir data --run factscore

Reads: eval/RUN/responses, eval/RUN/factscore_outputs; and where the dataset has them eval/RUN/judges/ (verdicts of further
verifiers), eval/RUN/relevance, eval/RUN/closed_book.json, eval/RUN/calibration.json and world/.
Writes: eval/RUN/summary.json: figures with 95 % intervals over people, for sampled and greedy responses apart, judged by the
world's truth, by the verifier and by each further one; the counts per person behind them, for paired comparisons; a few marked
responses; the calibration. Where relevance was asked, a fact that has nothing to do with the question is not correct, nor is it
incorrect: it is among all facts, as in arXiv 2311.08401v1, section 4.5.
Not covered: comparisons with other runs (the report makes them, so that runs can be evaluated in any order).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from confscoring.calibration import CalibrationFile
from confscoring.judge import VagueReader, World, confuse, decisions_of, rates
from confscoring.measures import Relevance, RelevanceFile
from confscoring.summary import ClosedBook, Opinions, Scored, summarise
from volume.context import Context
from volume.errors import RecordError, UsageError
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.records import Generations, ScoredResponses, Topics, load
from volume.stage import run_whole

_Each = TypeVar("_Each")


class Answer(TypedDict):
    """A closed-book answer: the part that is needed here."""

    correct: bool


def produce(ctx: Context) -> list[Path]:
    """Write the run's summary; return its path."""
    run = str(ctx.run)
    topics = [topic["topic"] for topic in load(ctx.paths.questions(ctx.definition.eval.split), Topics)[: ctx.limit]]
    responses = {topic: read_responses(ctx.paths, run, topic) for topic in topics}
    relevant = read_relevance(ctx, run, responses)
    if relevant is not None:
        responses = {topic: found if topic in relevant else None for topic, found in responses.items()}
    missing = [topic for topic, found in responses.items() if found is None]
    scored = {topic: found for topic, found in responses.items() if found is not None}
    if not scored:
        raise UsageError(f"run '{run}' has no scored responses in {ctx.paths.eval(run)}. Run `make eval` (its stages responses and factscore) first.")
    world = World.from_file(ctx.paths.world / "world.json") if ctx.definition.world else None
    vague = VagueReader.from_file(ctx.paths.world / "grammar.json") if ctx.definition.world else None
    book = ctx.paths.eval(run) / "closed_book.json"
    judged = {judge: {topic: read_responses(ctx.paths, run, topic, judge) for topic in scored} for judge in ctx.definition.judges}
    opinions = Opinions(relevant, judged)
    summary: dict[str, Any] = {
        "format": 1,
        "dataset": ctx.definition.name,
        "seed": ctx.definition.seed,
        "run": run,
        "label": ctx.definition.runs[run].label,
        "split": ctx.definition.eval.split,
        "people": len(scored),
        "missing": missing,
        **summarise(scored, world, vague, read_closed_book(book) if book.exists() else None, ctx.definition.eval, ctx.definition.seed, opinions),
    }
    if world and judged:
        summary["judges_vs_truth"] = {judge: compare_with_truth(world, verdicts) for judge, verdicts in judged.items()}
    if run in ctx.definition.eval.calibrated and ctx.paths.calibration(run).exists():
        calibration: CalibrationFile = load(ctx.paths.calibration(run), CalibrationFile)
        summary["calibration"] = calibration["judges"]
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
    texts: Generations = load(generations, Generations)
    if [response["generation"] for response in scored] != [text for generation in texts.values() for text in generation["responses"]]:
        raise RecordError(f"{facts} does not score the responses of {generations.name} in their order. Delete it and run `make eval` again.")
    found: Scored = {name: (responses, None) for name, responses in by_decoding(texts, scored).items()}
    if all("tokens" in generation for generation in texts.values()):
        lengths = by_decoding(texts, [number for generation in texts.values() for number in generation["tokens"]])
        found = {name: (responses, lengths[name]) for name, (responses, _) in found.items()}
    return found


def by_decoding(generations: Generations, values: Sequence[_Each]) -> dict[str, list[_Each]]:
    """Return what belongs to the responses of a file, one value each in their order, by decoding.

    Raises:
        RecordError: There are not as many values as responses.
    """
    kinds = [kind for generation in generations.values() for kind in generation.get("decoding", ["sample"] * len(generation["responses"]))]
    if len(kinds) != len(values):
        first = next(iter(generations), "")
        raise RecordError(f"there are {len(kinds)} responses to '{first}' and the questions after it, but {len(values)} records of them. Run `make eval` again.")
    return {kind: [value for value, other in zip(values, kinds, strict=True) if other == kind] for kind in dict.fromkeys(kinds)}


def read_relevance(ctx: Context, run: str, responses: dict[str, Scored | None]) -> dict[str, dict[str, list[Relevance]]] | None:
    """Return {person: {decoding: whether the facts of each response have to do with the question}}; None where the definition does not ask.

    A person on whom that stage failed is not in it.

    Raises:
        RecordError: A file is not about the facts that there are.
    """
    if ctx.definition.relevance is None:
        return None
    found: dict[str, dict[str, list[Relevance]]] = {}
    for topic, scored in responses.items():
        path = ctx.paths.relevance(topic, run)
        if scored is None or not path.exists():
            continue
        record: RelevanceFile = load(path, RelevanceFile)
        own: dict[str, list[Relevance]] = dict(by_decoding(load(ctx.paths.responses(topic, run), Generations), record["relevant"]))
        if any(len(flags) != len(decisions_of(row)) for kind, (rows, _) in scored.items() for flags, row in zip(own[kind], rows, strict=True)):
            raise RecordError(f"{path} is not about the facts in {ctx.paths.factscore(topic, run).name}. Delete it and run `make eval` again.")
        found[topic] = own
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


if __name__ == "__main__":
    raise SystemExit(run_whole("evaluate", produce))
