"""Samples responses: the candidates that are scored and paired, or those by which a policy is evaluated.

    python -m confscoring.responses --dataset synth --data-dir data --split train
    python -m confscoring.responses --dataset synth --data-dir data --split test --run factscore

Reads: the questions of the split; the model of [responses], or the run's policy.
Writes: responses/{topic}_generations.json, or eval/{run}/responses/… with one greedy response after the sampled ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from confscoring.sampler import Prompt, Sample, Sampler
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.evidence import model_folder
from volume.records import Topic
from volume.settings import SamplingSettings
from volume.stage import run_topics
from volume.steps import policy_folder

GROUP = 64  # topics sampled together, so that batches are full


def open_sampler(ctx: Context) -> Sampler:
    """Load the run's policy, or without a run the model that the responses come from."""
    settings = ctx.definition.responses
    assert settings is not None
    if settings.backend != "transformers":
        raise UsageError(f"responses.backend = '{settings.backend}' is not available yet; available: transformers.")
    name = settings.model
    folder = policy_folder(ctx.definition, ctx.paths, ctx.data_dir, ctx.run) if ctx.run else model_folder(ctx.definition, ctx.paths, ctx.data_dir, name)
    return Sampler(folder, ctx.definition.models[name].dtype, ctx.definition.seed, ctx.definition.name)


def decodings(ctx: Context) -> list[tuple[str, SamplingSettings]]:
    """Return the ways in which responses are drawn: as defined for training, sampled and greedy for evaluation."""
    settings = ctx.definition.responses
    assert settings is not None
    if not ctx.run:
        return [("sample", settings)]
    evaluation = ctx.definition.eval
    ways = [("sample", dataclasses.replace(settings, n=evaluation.n, temperature=evaluation.temperature))]
    if evaluation.greedy:
        ways.append(("greedy", dataclasses.replace(settings, n=1, temperature=0.0, top_p=1.0, top_k=0)))
    return ways


def prepare(ctx: Context) -> Any:
    """Load the model; return the work on a group of topics."""
    sampler = open_sampler(ctx)
    ways = decodings(ctx)
    # Every policy is evaluated with the same draws, so that paired differences are not blurred by other ones.
    stream = "eval" if ctx.run else "responses"

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        asked = [(topic["topic"], question) for topic in topics for question in topic["questions"]]
        drawn: dict[tuple[str, str], list[tuple[str, Sample]]] = {key: [] for key in asked}
        for decoding, settings in ways:
            prompts = [Prompt(f"{stream}/{topic}/{question}", settings.prompt.format(question=question, topic=topic)) for topic, question in asked]
            for key, samples in zip(asked, sampler.sample(prompts, settings), strict=True):
                drawn[key] += [(decoding, sample) for sample in samples]
        results: dict[str, list[Any] | ItemError] = {}
        for topic in topics:
            name = topic["topic"]
            rows = {question: drawn[name, question] for question in topic["questions"]}
            samples = [sample for row in rows.values() for _, sample in row]
            ctx.count("responses", len(samples), topic=name)
            ctx.count("tokens", sum(sample.tokens for sample in samples), topic=name)
            ctx.count("empty", sum(not sample.text for sample in samples), topic=name)
            results[name] = [{
                question: {
                    "responses": [sample.text for _, sample in row],
                    "decoding": [decoding for decoding, _ in row],
                    "tokens": [sample.tokens for _, sample in row],
                }
                for question, row in rows.items()
            }]  # fmt: skip
        return results

    return work


if __name__ == "__main__":
    raise SystemExit(run_topics("responses", prepare, group=GROUP))
