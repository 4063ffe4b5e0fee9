"""Samples answers to the atomic questions.

    python -m confscoring.answers --dataset synth --data-dir data --split train
    python -m confscoring.answers --dataset synth --data-dir data --split test --run factscore

With --run, a policy answers questions about its own claims, after the same few-shot prefix: tuning has not taught it to answer.
Then it is eval/{run}/ in place of the dataset's own folder, the model is the run's policy, and {sampler} is `own`.

Reads: atomic_qs/{topic}_aqs.json and the model of [answers]. Writes: atomic_qs_samples/{sampler}/{topic}_samples.json, one
dict of questions per response, and the margins of the draws. A question that several responses of a topic raise is asked once.
"""

from __future__ import annotations

import re
from typing import Any

from confscoring.samplers import note_calls, open_sampler
from confscoring.sampling import Prompt, Sample, margins_of
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.records import ScoredResponse, ScoredResponses, Topic, load
from volume.settings import SamplingSettings
from volume.stage import run_topics


def questions_of(row: ScoredResponse) -> list[str]:
    """Return the distinct questions of a response, in order."""
    found = [decision.get("atomic_question") for group in row["decisions"] for decision in group or []]
    return list(dict.fromkeys(question for question in found if question))


def prepare(ctx: Context) -> Any:
    """Open the sampler; return the work on a group of topics.

    Raises:
        UsageError: The definition has no [answers], or the model cannot be used.
    """
    settings = ctx.definition.answers
    if settings is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [answers]; bio.toml shows the section.")
    sampler = open_sampler(ctx, settings, ctx.run)
    given_away = find_given_away([topic["topic"] for topic in ctx.topics], settings.prefix)
    if given_away:
        ctx.note("in_prefix", given_away)
        ctx.log(f"answers.prefix names {len(given_away)} topic(s) and so gives answers away: {', '.join(given_away[:5])}. Take other examples.")

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        rows: dict[str, ScoredResponses] = {topic["topic"]: load(ctx.paths.atomic_qs(topic["topic"], ctx.run), ScoredResponses) for topic in topics}
        asked = list(dict.fromkeys((name, question) for name, responses in rows.items() for row in responses for question in questions_of(row)))
        prompts = [answer_prompt(name, question, settings, ctx.run) for name, question in asked]
        drawn = dict(zip(asked, sampler.sample(prompts, settings), strict=True))
        results: dict[str, list[Any] | ItemError] = {}
        for name, responses in rows.items():
            own = {question: samples for (topic, question), samples in drawn.items() if topic == name}
            found = {question: samples for question, samples in own.items() if not isinstance(samples, ItemError)}
            failed = next((samples for samples in own.values() if isinstance(samples, ItemError)), None)
            results[name] = failed or [collect(responses, found)]
            if failed is None:
                ctx.count("answers", sum(map(len, found.values())), topic=name)
                ctx.count("tokens", sum(sample.tokens for samples in found.values() for sample in samples), topic=name)
        note_calls(ctx, sampler)
        return results

    return work


def answer_prompt(topic: str, question: str, settings: SamplingSettings, run: str | None = None) -> Prompt:
    """Return the prompt that asks a question of a topic; a policy's draws are its own."""
    stream = f"eval answers of {run}" if run else "answers"
    return Prompt(f"{stream}/{topic}/{question}", settings.prompt.format(question=question, topic=topic))


def collect(responses: ScoredResponses, found: dict[str, list[Sample]]) -> dict[str, Any]:
    """Return a topic's output: the answers to each response's questions, and the margins of each question's draws."""
    output: dict[str, Any] = {"samples": [{question: [sample.text for sample in found[question]] for question in questions_of(row)} for row in responses]}
    margins = {question: margins_of(samples) for question, samples in found.items()}
    return output | ({"margins": margins} if None not in margins.values() else {})


def find_given_away(topics: list[str], prefix: str) -> list[str]:
    """Return the topics whose names stand in the few-shot examples, as words of their own."""
    return [topic for topic in topics if re.search(rf"(?<!\w){re.escape(topic)}(?!\w)", prefix, re.IGNORECASE)]


def topics_at_once(ctx: Context) -> int:
    """Return how many topics are sampled together."""
    settings = ctx.definition.answers
    return settings.topics_at_once if settings else 1


if __name__ == "__main__":
    raise SystemExit(run_topics("answers", prepare, group=topics_at_once, fixed=True))
