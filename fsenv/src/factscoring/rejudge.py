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
from factscoring.factscore import evaluator_of, score_topics, topics_at_once
from volume.context import Context
from volume.errors import ItemError
from volume.records import ScoredResponse, ScoredResponses, Topic, load
from volume.stage import run_topics

_OTHERS = ("score", "decisions", "init_score")  # what a verdict changes


def prepare(ctx: Context) -> Callable[[list[Topic]], dict[str, list[Any] | ItemError]]:
    """Open what judging needs and return the function that judges topics."""
    evaluator = dataclasses.replace(evaluator_of(ctx), verifier=ctx.definition.judges[str(ctx.judge)], given=True)
    scorer = build_scorer(evaluator, ctx.log)
    ctx.note("evaluator", scorer.identity())

    def read(name: str) -> tuple[Response, ...]:
        return tuple(map(as_response, _scored(ctx, name)))

    def finish(name: str, judged: ScoredResponses) -> ScoredResponses:
        pairs = zip(_scored(ctx, name), judged, strict=True)
        return [{**old, **{key: new[key] for key in _OTHERS}} for old, new in pairs]  # type: ignore[literal-required, typeddict-item]

    return lambda topics: score_topics(ctx, scorer, topics, read, finish)


def _scored(ctx: Context, name: str) -> ScoredResponses:
    scored: ScoredResponses = load(ctx.paths.factscore(name, ctx.run), ScoredResponses)
    return scored


def as_response(scored: ScoredResponse) -> Response:
    """Return a scored response as a response whose facts are given."""
    facts = (
        Fact(decision["atom"], decision.get("kind", "claim"), decision.get("sentence", ""), decision.get("attribute"), decision.get("value"))  # type: ignore[arg-type]
        for group in scored["decisions"]
        for decision in group or []
    )
    return Response(scored["topic"], scored["generation"], tuple(facts))


if __name__ == "__main__":
    raise SystemExit(run_topics("rejudge", prepare, group=topics_at_once, fixed=True))
