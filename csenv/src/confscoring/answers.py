"""Samples answers to the atomic questions.

    python -m confscoring.answers --dataset synth --data-dir data --split train

Reads: atomic_qs/{topic}_aqs.json and the model of [answers]. Writes: atomic_qs_samples/{sampler}/{topic}_samples.json, one
dict of questions per response. A question that several responses of a topic raise is asked once.
"""

from __future__ import annotations

from typing import Any

from confscoring.sampler import Prompt, Sampler
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.evidence import model_folder
from volume.records import ScoredResponse, ScoredResponses, Topic, load
from volume.stage import run_topics


def questions_of(row: ScoredResponse) -> list[str]:
    """Return the distinct questions of a response, in order."""
    found = [decision.get("atomic_question") for group in row["decisions"] for decision in group or []]
    return list(dict.fromkeys(question for question in found if question))


def prepare(ctx: Context) -> Any:
    """Load the model; return the work on a group of topics."""
    settings = ctx.definition.answers
    if settings is None or settings.backend != "transformers":
        raise UsageError(f"answers.backend = '{settings.backend if settings else None}' is not available yet; available: transformers.")
    model = ctx.definition.models[settings.model]
    sampler = Sampler(model_folder(ctx.definition, ctx.paths, ctx.data_dir, settings.model), model.dtype, ctx.definition.seed, ctx.definition.name)

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        rows: dict[str, ScoredResponses] = {topic["topic"]: load(ctx.paths.atomic_qs(topic["topic"]), ScoredResponses) for topic in topics}
        asked = list(dict.fromkeys((name, question) for name, responses in rows.items() for row in responses for question in questions_of(row)))
        prompts = [Prompt(f"answers/{name}/{question}", settings.prompt.format(question=question, topic=name)) for name, question in asked]
        drawn = dict(zip(asked, sampler.sample(prompts, settings), strict=True))
        results: dict[str, list[Any] | ItemError] = {}
        for name, responses in rows.items():
            samples = [{question: [sample.text for sample in drawn[name, question]] for question in questions_of(row)} for row in responses]
            own = [sample for (topic, _), group in drawn.items() if topic == name for sample in group]
            ctx.count("answers", len(own), topic=name)
            ctx.count("tokens", sum(sample.tokens for sample in own), topic=name)
            results[name] = [{"samples": samples}]
        return results

    return work


if __name__ == "__main__":
    raise SystemExit(run_topics("answers", prepare, group=32))
