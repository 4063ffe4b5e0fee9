"""Has the evaluated facts judged once more by a verifier that rewarded nothing.

    python -m factscoring.rejudge --dataset mine.toml --data-dir data --run factscore --split test --judge service

A policy that is tuned on a verifier's scores learns its mistakes too; a second verifier ([judges.NAME] in the definition)
does not share them. On `synth`, whose truth is known, the report shows how far each can be trusted.

Reads: eval/{run}/factscore_outputs/{topic}_fs_out.json, the knowledge base, what the verifier needs.
Writes: eval/{run}/judges/{judge}/{topic}_fs_out.json: the same responses and facts with the other verdicts and scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from factscoring.backends import build_scorer
from factscoring.extraction import Response
from factscoring.facts import Fact
from factscoring.factscore import evaluator_of, note_calls
from factscoring.scorer import Item, count_responses
from volume.context import Context
from volume.errors import ItemError, RecordError
from volume.records import ScoredResponse, ScoredResponses, Topic, load
from volume.stage import run_topics

_OTHERS = ("score", "decisions", "init_score")  # what a verdict changes


def prepare(ctx: Context) -> Callable[[list[Topic]], dict[str, list[Any] | ItemError]]:
    """Open what judging needs and return the function that judges topics."""
    evaluator = dataclasses.replace(evaluator_of(ctx), verifier=ctx.definition.judges[str(ctx.judge)], given=True)
    scorer = build_scorer(evaluator, ctx.log)
    ctx.note("evaluator", scorer.identity())

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        results: dict[str, list[Any] | ItemError] = {}
        scored: dict[str, ScoredResponses] = {}
        for topic in topics:
            try:
                scored[topic["topic"]] = load(ctx.paths.factscore(topic["topic"], ctx.run), ScoredResponses)
            except RecordError as error:
                results[topic["topic"]] = ItemError(str(error))
        items = [Item(name, tuple(map(as_response, responses))) for name, responses in scored.items()]
        for item, outcome in zip(items, scorer.score(items), strict=True):
            if isinstance(outcome, ItemError):
                results[item.topic] = outcome
                continue
            judged = [{**old, **{key: new[key] for key in _OTHERS}} for old, new in zip(scored[item.topic], outcome, strict=True)]  # type: ignore[literal-required]
            results[item.topic] = [judged]
        for name, result in results.items():
            if not isinstance(result, ItemError):
                for key, number in count_responses(result[0]).items():
                    ctx.count(key, number, topic=name)
        note_calls(ctx, scorer)
        return results

    return work


def as_response(scored: ScoredResponse) -> Response:
    """Return a scored response as a response whose facts are given."""
    facts = (
        Fact(decision["atom"], decision.get("kind", "claim"), decision.get("sentence", ""), decision.get("attribute"), decision.get("value"))  # type: ignore[arg-type]
        for group in scored["decisions"]
        for decision in group or []
    )
    return Response(scored["topic"], scored["generation"], tuple(facts))


if __name__ == "__main__":
    raise SystemExit(run_topics("rejudge", prepare, group=16))
