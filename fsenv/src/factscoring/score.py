"""Scores any texts against any knowledge base, outside the pipeline.

    python -m factscoring.score --input answers.jsonl --output scored.jsonl --knowledge wiki.db
    python -m factscoring.score --input labelled.jsonl --output scored.jsonl --knowledge wiki.db --verifier llm --verifier-model MODEL

    from factscoring.score import score
    result = score([{"topic": "Ada Lovelace", "text": "Ada Lovelace was born in London."}], knowledge="wiki.db")
    result.figures["score"], result.records[0]["decisions"]

Reads: JSON lines, {"topic", "text"} (or "output", or "generation"); in FActScore's labelled form the row also has
"annotations", whose atomic facts are taken as they are (null: the response abstained).
Writes: a scored row for every row read, in order, or {"topic", "generation", "error"}; beside it OUTPUT.manifest.json with
the evaluator's identity and the four figures. Killed and started again, it goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factscoring.backends import build_scorer
from factscoring.extraction import Response
from factscoring.facts import Fact
from factscoring.score_arguments import Arguments, evaluator_from, parse_arguments
from factscoring.scorer import Item, Scorer, count_responses
from factscoring.scores import aggregate
from volume.errors import COMPLETE, PARTIAL, ItemError, RecordError, UsageError, tell_errors
from volume.files import hold_alone, sha256_value, write_json, write_text
from volume.journal import Journal
from volume.progress import Progress
from volume.records import ScoredResponse, read_lines

_BATCH = 64  # rows scored together: enough to keep a service busy, little enough to lose on a kill
_TEXT = ("text", "output", "generation")
_SHOWN = 12  # failures on the screen; the manifest has them all


@dataclass(frozen=True)
class Result:
    """What scoring gave.

    Attributes:
        records: One scored response for each row, None where the row failed.
        failures: {row index from 0: why}.
        figures: score, init_score, respond_ratio, num_facts_per_response over the rows that did not fail.
        evaluator: What the scores depend on.
    """

    records: list[ScoredResponse | None]
    failures: dict[int, str]
    figures: dict[str, float | None]
    evaluator: dict[str, Any]


def score(rows: Sequence[Mapping[str, Any]], knowledge: str | Path, **options: Any) -> Result:
    """Score rows of topic and text.

    Args:
        rows: Each {"topic", "text"}, or with "annotations" as in FActScore's labelled data.
        knowledge: The SQLite file documents(title, text).
        options: The command's options by name, e.g. ``facts="llm", facts_model="…", verifier="local", verifier_model="models/…"``.
            Recorded calls and page embeddings are kept in files that begin with ``output`` (default ``factscoring``).

    Raises:
        UsageError: An option, a file or a model is wrong or missing.
        VolumeError: The service stopped the run (bad key, cap reached, not reachable).
    """
    named = {"output": "factscoring", **options, "input": "-", "knowledge": knowledge}
    given = parse_arguments([f"--{name.replace('_', '-')}={value}" for name, value in named.items()])
    responses, annotated = read_rows(enumerate(rows, start=1))
    scorer = _open_scorer(given, annotated)
    records: list[ScoredResponse | None] = []
    failures: dict[int, str] = {}
    for start in range(0, len(responses), _BATCH):
        for result in score_batch(scorer, responses[start : start + _BATCH]):
            if isinstance(result, ItemError):
                failures[len(records)] = str(result)
            records.append(None if isinstance(result, ItemError) else result)
    return Result(records, failures, aggregate([record for record in records if record is not None]), scorer.identity())


def _open_scorer(given: Arguments, annotated: bool) -> Scorer:
    evaluator = evaluator_from(given, annotated)
    scorer = build_scorer(evaluator, _say)
    evaluator.hashes.save()  # a knowledge base of 20 GiB is hashed once
    return scorer


def score_batch(scorer: Scorer, responses: Sequence[Response]) -> list[ScoredResponse | ItemError]:
    """Return a scored response, or why there is none, for each of some responses, whatever their topics."""
    results: list[ScoredResponse | ItemError] = []
    for outcome in scorer.score([Item(response.topic, (response,)) for response in responses]):
        results.append(outcome if isinstance(outcome, ItemError) else outcome[0])
    return results


def read_rows(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> tuple[list[Response], bool]:
    """Return the responses in numbered rows, and whether facts come with them.

    Raises:
        RecordError: A field is missing or of a wrong type, or only some rows have annotations; the message names the row.
    """
    responses: list[Response] = []
    annotated: bool | None = None
    for number, row in rows:
        if annotated is not None and annotated != ("annotations" in row):
            raise RecordError(f"row {number} {'has' if 'annotations' in row else 'lacks'} 'annotations', unlike the rows before it; score the two kinds apart.")
        annotated = "annotations" in row
        responses.append(_read_row(row, number))
    return responses, bool(annotated)


def _read_row(row: Mapping[str, Any], number: int) -> Response:
    text = next((row[name] for name in _TEXT if name in row), None)
    topic = row.get("topic")
    if not isinstance(topic, str) or not topic.strip():
        raise RecordError(f"row {number}: 'topic' is {topic!r}, expected the title of a page.")
    if not isinstance(text, str):
        raise RecordError(f"row {number} ({topic!r}): expected a text under one of {', '.join(map(repr, _TEXT))}; found {text!r}.")
    if row.get("annotations") is None:
        return Response(topic, text)
    try:
        facts = [
            Fact(fact["text"].strip(), "claim", sentence.get("text", ""))
            for sentence in row["annotations"]
            for fact in sentence.get("model-atomic-facts") or sentence.get("human-atomic-facts") or []
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"row {number} ({topic!r}): 'annotations' is not FActScore's list of sentences with 'model-atomic-facts': {error!r}") from error
    return Response(topic, text, tuple(fact for fact in facts if fact.atom))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = parse_arguments(argv)
    return tell_errors(lambda: _run_alone(given))


def _run_alone(given: Arguments) -> int:
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with hold_alone(given.output.with_name(f".{given.output.name}.lock"), f"{given.output} is being written by another process; wait for it."):
        return _run(given)


def _run(given: Arguments) -> int:
    responses, annotated = read_rows(read_lines(given.input))
    responses = responses[: given.limit]
    if not responses:
        raise UsageError(f"{given.input} has no rows; expected JSON lines of topic and text.")
    scorer = _open_scorer(given, annotated)
    identity = scorer.identity()
    # Finished rows wait here until all are done: a killed run goes on, and nobody takes half a result for a whole one.
    waiting_room = given.output.with_name(f".{given.output.name}.rows.jsonl")
    journal = Journal(waiting_room)
    marks = [sha256_value([identity["id"], index, dataclasses.asdict(response)]) for index, response in enumerate(responses)]
    done: dict[int, ScoredResponse] = {index: journal.entries[mark]["record"] for index, mark in enumerate(marks) if mark in journal.entries}
    if done:
        _say(f"{len(done)} of {len(responses)} rows are done already")
    failures: dict[int, str] = {}
    waiting = [index for index in range(len(responses)) if index not in done]
    with Progress("score", len(done), len(responses), _say) as progress:
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            for index, result in zip(batch, score_batch(scorer, [responses[index] for index in batch]), strict=True):
                if isinstance(result, ItemError):
                    failures[index] = str(result)
                else:
                    journal.add({"topic": marks[index], "record": result})
                    done[index] = result
            progress.show(len(done))
    rows: list[Any] = [
        {"topic": response.topic, "generation": response.text, "error": failures[index]} if index in failures else done[index]
        for index, response in enumerate(responses)
    ]
    write_text(given.output, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    records = [done[index] for index in sorted(done)]
    figures = aggregate(records)
    counts = {"rows": len(rows), "failed": len(failures), **count_responses(records)}
    reasons = {str(index + 1): why for index, why in failures.items()}
    write_json(
        given.output.with_name(f"{given.output.name}.manifest.json"),
        {"evaluator": identity, "figures": figures, "counts": counts, "failures": reasons},
    )
    if not failures:
        waiting_room.unlink(missing_ok=True)
    print(show_figures(figures))
    for number, why in list(reasons.items())[:_SHOWN]:
        print(f"failed: row {number}: {why}", file=sys.stderr)
    if failures:
        told = f"{len(failures)} of {len(rows)} rows failed and are in no figure; {given.output} has the reasons."
        print(f"{told} Run the same command again to retry them.", file=sys.stderr)
    return PARTIAL if failures else COMPLETE


def show_figures(figures: Mapping[str, float | None]) -> str:
    """Return the four figures in the words in which FActScore prints them."""
    lines = (
        ("FActScore", "score", 100, "%"),
        ("FActScore w/o length penalty", "init_score", 100, "%"),
        ("Respond ratio", "respond_ratio", 100, "%"),
        ("# Atomic facts per valid response", "num_facts_per_response", 1, ""),
    )
    shown = ((name, figures[key], factor, unit) for name, key, factor, unit in lines)
    return "\n".join(f"{name} = {'none' if value is None else f'{value * factor:.1f}{unit}'}" for name, value, factor, unit in shown)


def _say(message: str) -> None:
    print(f"score: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
