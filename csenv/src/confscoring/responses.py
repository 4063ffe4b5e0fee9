"""Samples responses: the candidates that are scored and paired, or those by which a policy is evaluated.

    python -m confscoring.responses --dataset synth --data-dir data --split train
    python -m confscoring.responses --dataset synth --data-dir data --split test --run factscore
    python -m confscoring.responses --dataset synth --data-dir data --split val --run factscore --candidate 2

A prompt is the question in the form of responses.prompt; a chat model's is that text as a user's message (confscoring.chat). The
few-shot prefix goes before it where an untuned base model is sampled. Policies are trained on the prompt without it, and so they
are sampled without it too; so are chat models that are evaluated beside it.

A text is cut at responses.stop; where that is set, what the model wrote is kept beside it, as `raw`. A file given/responses/
{topic}_generations.json is taken in place of sampling for training.

Reads: the questions of the split; the model of [responses], or the run's policy, or one of the candidates for it.
Writes: responses/{topic}_generations.json, or eval/{run}/responses/… with one greedy response after the sampled ones; by which
a policy is chosen, sampled ones alone: eval/{run}/candidates/{k}/responses/…, of SFT eval/{run}/{split}/responses/….
"""

from __future__ import annotations

import dataclasses
from typing import Any

from confscoring.given import take_given
from confscoring.samplers import note_calls, open_sampler
from confscoring.sampling import Prompt, Sample, margins_of
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.policy_steps import is_tuned, run_model
from volume.records import Topic
from volume.settings import SamplingSettings
from volume.stage import run_topics
from volume.topics import given_responses


def decodings(ctx: Context) -> list[tuple[str, SamplingSettings]]:
    """Return the ways in which responses are drawn: as defined for training, sampled and greedy for evaluation."""
    settings = ctx.definition.responses
    assert settings is not None
    if not ctx.run:
        return [("sample", settings)]
    model = run_model(ctx.definition, ctx.run)
    if is_tuned(ctx.definition, ctx.run) or (model != settings.model and ctx.definition.models[model].chat):
        settings = dataclasses.replace(settings, prefix="")
    evaluation = ctx.definition.eval
    ways = [("sample", dataclasses.replace(settings, n=evaluation.n, temperature=evaluation.temperature))]
    if evaluation.greedy and ctx.split == evaluation.split:  # sampled ones decide between candidates
        ways.append(("greedy", dataclasses.replace(settings, n=1, temperature=0.0, top_p=1.0, top_k=0)))
    return ways


def prepare(ctx: Context) -> Any:
    """Open the sampler; return the work on a group of topics.

    Raises:
        UsageError: The definition has no [responses], or the model cannot be used.
    """
    settings = ctx.definition.responses
    if settings is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [responses]; bio.toml shows the section.")
    # Where all responses are given, neither the model nor its service need be there.
    given_all = not ctx.run and all(given_responses(ctx.paths, topic["topic"]) for topic in ctx.topics)
    sampler = None if given_all else open_sampler(ctx, settings, ctx.run)
    ways = decodings(ctx)
    # Every policy is evaluated with the same draws, so that paired differences are not blurred by other ones.
    stream = "eval" if ctx.run else "responses"

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        given = [] if ctx.run else [topic for topic in topics if given_responses(ctx.paths, topic["topic"])]
        left = [topic for topic in topics if topic not in given]
        return (draw(left) if left else {}) | take_all(ctx, given, settings.n)

    def draw(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        assert sampler is not None
        results: dict[str, list[Any] | ItemError] = {}
        asked = list(dict.fromkeys((topic["topic"], question) for topic in topics for question in topic["questions"]))
        drawn: dict[tuple[str, str], list[tuple[str, Sample]]] = {key: [] for key in asked}
        for decoding, how in ways:
            prompts = [Prompt(f"{stream}/{topic}/{question}", how.prompt.format(question=question, topic=topic)) for topic, question in asked]
            for key, samples in zip(asked, sampler.sample(prompts, how), strict=True):
                if isinstance(samples, ItemError):
                    results[key[0]] = samples
                else:
                    drawn[key] += [(decoding, sample) for sample in samples]
        for topic in topics:
            name = topic["topic"]
            if name in results:
                continue
            rows = {question: drawn[name, question] for question in topic["questions"]}
            samples = [sample for row in rows.values() for _, sample in row]
            ctx.count("responses", len(samples), topic=name)
            ctx.count("tokens", sum(sample.tokens for sample in samples), topic=name)
            ctx.count("empty", sum(not sample.text for sample in samples), topic=name)
            results[name] = [{question: collect(row) for question, row in rows.items()}]
        note_calls(ctx, sampler)
        return results

    return work


def take_all(ctx: Context, topics: list[Topic], n: int) -> dict[str, list[Any] | ItemError]:
    """Return the outputs of topics whose responses are given."""
    results: dict[str, list[Any] | ItemError] = {}
    for topic in topics:
        taken = take_given(ctx.paths, topic, n)
        if taken is not None:
            results[topic["topic"]] = taken if isinstance(taken, ItemError) else [taken]
        if isinstance(taken, dict):
            texts = [text for row in taken.values() for text in row["responses"]]
            for name, number in (("responses", len(texts)), ("given", len(texts)), ("empty", sum(not text for text in texts))):
                ctx.count(name, number, topic=topic["topic"])
    return results


def collect(row: list[tuple[str, Sample]]) -> dict[str, Any]:
    """Return what is kept of the responses to a question, each with its decoding."""
    margins = margins_of(sample for _, sample in row)
    raw = [sample.raw for _, sample in row if sample.raw is not None]
    return {
        "responses": [sample.text for _, sample in row],
        "decoding": [decoding for decoding, _ in row],
        "tokens": [sample.tokens for _, sample in row],
        **({"margins": margins} if margins is not None else {}),
        **({"raw": raw} if raw else {}),
    }


def topics_at_once(ctx: Context) -> int:
    """Return how many topics are sampled together."""
    settings = ctx.definition.responses
    return settings.topics_at_once if settings else 1


if __name__ == "__main__":
    raise SystemExit(run_topics("responses", prepare, group=topics_at_once, fixed=True))
