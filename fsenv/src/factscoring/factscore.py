"""Scores responses for truthfulness against a knowledge base.

    python -m factscoring.factscore --dataset synth --data-dir data --split train
    python -m factscoring.factscore --dataset synth --data-dir data --split test --run factscore

Reads: responses/{topic}_generations.json (of a policy: eval/{run}/responses/..., of a run's K-th candidate, given --candidate K:
eval/{run}/candidates/K/responses/...), the knowledge base, what the backends need (world/grammar.json, models, recorded calls).
Writes: factscore_outputs/{topic}_fs_out.json (below the same folder), every response of every question in order.
Counted in the manifest: responses, empty and abstained ones, sentences, facts, supported and undecided ones, unparsed,
off_topic, vague, repeats, refused. Its note `evaluator` says what the scores depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from factscoring.backends import Calls, Evaluator, Model, build_scorer
from factscoring.extraction import Response
from factscoring.scorer import Item, Scorer, count_responses
from volume.context import Context
from volume.errors import ItemError, RecordError, UsageError
from volume.evidence import knowledge_files, model_folder
from volume.files import FileHashes
from volume.records import Generations, ScoredResponses, Topic, load
from volume.stage import run_topics
from volume.steps import asks_service


def prepare(ctx: Context) -> Callable[[list[Topic]], dict[str, list[Any] | ItemError]]:
    """Open what scoring needs and return the function that scores topics.

    Raises:
        UsageError: A section of the definition, a model, or the knowledge base is missing.
        RecordError: One of them cannot be read.
    """
    scorer = build_scorer(evaluator_of(ctx), ctx.log)
    ctx.note("evaluator", scorer.identity())

    return lambda topics: score_topics(ctx, scorer, topics, lambda name: responses_of(ctx, name))


def topics_at_once(ctx: Context) -> int:
    """Return how many topics are scored together: several where a service is asked, so that many calls are in flight; else one, which shares out best."""
    return 16 if asks_service(ctx.step, ctx.definition) else 1


def score_topics(
    ctx: Context, scorer: Scorer, topics: list[Topic], read: Callable[[str], tuple[Response, ...]],
    finish: Callable[[str, ScoredResponses], ScoredResponses] = lambda _, scored: scored,
) -> dict[str, list[Any] | ItemError]:
    """Return the outputs of some topics, or why one failed; count them and the calls for the manifest.

    Args:
        read: Gives a topic's responses; a RecordError of it is the topic's failure.
        finish: Makes what is written from what was scored.
    """
    results: dict[str, list[Any] | ItemError] = {}
    items = []
    for name in (topic["topic"] for topic in topics):
        try:
            items.append(Item(name, read(name)))
        except RecordError as error:
            results[name] = ItemError(str(error))
    for item, scored in zip(items, scorer.score(items), strict=True):
        results[item.topic] = scored if isinstance(scored, ItemError) else [finish(item.topic, scored)]
    for name, result in results.items():  # last: the loop repeats a group in which something was raised
        if not isinstance(result, ItemError):
            for key, number in count_responses(result[0]).items():
                ctx.count(key, number, topic=name)
    if scorer.client is not None:
        ctx.note("calls", scorer.client.usage.as_note())
    return results


def evaluator_of(ctx: Context) -> Evaluator:
    """Return the evaluator that a dataset's definition describes.

    Raises:
        UsageError: A section is missing.
    """
    definition = ctx.definition
    missing = [name for name in ("facts", "retrieval", "verifier", "knowledge") if getattr(definition, name) is None]
    if missing:
        raise UsageError(f"dataset '{definition.name}' lacks [{'], ['.join(missing)}]; bio.toml shows all of them.")
    assert definition.facts and definition.retrieval and definition.verifier and definition.knowledge
    knowledge, *redirects = knowledge_files(definition, ctx.paths, ctx.data_dir)
    return Evaluator(
        facts=definition.facts,
        retrieval=definition.retrieval,
        verifier=definition.verifier,
        knowledge=knowledge,
        redirects=redirects[0] if redirects else None,
        cache=ctx.data_dir / "cache" / "embeddings",
        hashes=FileHashes(ctx.paths.manifests / ".hashes" / f"{ctx.step.id}.json"),  # already holds the hash of a large file
        models={name: Model(model_folder(definition, ctx.paths, ctx.data_dir, name), model.dtype) for name, model in definition.models.items()},
        grammar=ctx.paths.world / "grammar.json" if definition.world or definition.facts.backend == "grammar" else None,
        calls=Calls(ctx.data_dir / "llm_calls.sqlite", definition.llm, ctx.llm_mode, ctx.max_cost, definition.name),
    )


def responses_of(ctx: Context, topic: str) -> tuple[Response, ...]:
    """Return the responses to all of a topic's questions, question by question.

    Raises:
        RecordError: The file cannot be read.
    """
    (path,) = ctx.step.item_inputs(topic)
    generations: Generations = load(path, Generations)
    return tuple(Response(topic, text) for generation in generations.values() for text in generation["responses"])


if __name__ == "__main__":
    raise SystemExit(run_topics("factscore", prepare, group=topics_at_once, fixed=True))
