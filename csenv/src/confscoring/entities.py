"""Resamples the entities of a response from the text before them: the variant that needs no atomic questions.

    python -m confscoring.entities --dataset mine.toml --data-dir data --split train

Reads: responses/{topic}_generations.json and the model of [answers]. Writes: ne_samples/{sampler}/{topic}_ne_samples.json,
{question: {response: {entity: [sample]}}}. An entity that occurs twice in a response, and a response that occurs twice, keep
entries of their own: the later ones are marked "#2", "#3", … The topic's own name is not resampled: the question gave it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from confscoring.repeats import numbered
from confscoring.sampling import Prompt, Sample, TextSampler
from confscoring.span_finders import open_finder
from confscoring.spans import Span, SpanFinder
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.records import EntitySamples, Generations, Topic, load
from volume.settings import EntitiesSettings, SamplingSettings
from volume.stage import run_topics


@dataclasses.dataclass(frozen=True)
class Entity:
    """An entity to resample.

    Attributes:
        question, response, name: The keys of its samples; the last two are marked where they repeat.
        text: The response.
    """

    question: str
    response: str
    name: str
    text: str
    prompt: Prompt


def prepare(ctx: Context) -> Any:
    """Open the finder and the sampler; return the work on topics.

    Raises:
        UsageError: The definition has no [answers], or the spaCy model or the sampled one cannot be used.
    """
    settings, answers = ctx.definition.entities, ctx.definition.answers
    if answers is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [answers], whose model samples the entities too; bio.toml shows the section.")
    finder = open_finder(settings, ctx.data_dir, ctx.paths.world / "grammar.json")
    ctx.note("spans", finder.identity)
    if finder.identity["finder"] == "rules":
        ctx.log(f"no spaCy model in {settings.model} and none installed by that name: rules find the spans. Scores of the two do not compare.")
    # Not at the top: they bring torch, which finding spans does without.
    from confscoring.samplers import note_calls, open_sampler

    sampler = open_sampler(ctx, answers)
    how = sampling_of(settings, answers)

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        results: dict[str, list[Any] | ItemError] = {}
        for name in (topic["topic"] for topic in topics):
            generations: Generations = load(ctx.paths.responses(name), Generations)
            entities = list_entities(name, generations, finder, sampler.count_tokens)
            try:
                drawn = resample(entities, sampler, how)
            except ItemError as error:
                results[name] = error
                continue
            found: EntitySamples = {question: {key: {} for key in numbered(row["responses"])} for question, row in generations.items()}
            for entity, samples in zip(entities, drawn, strict=True):
                found[entity.question][entity.response][entity.name] = [sample.text for sample in samples]
            results[name] = [found]
            ctx.count("entities", len(entities), topic=name)
            ctx.count("tokens", sum(sample.tokens for samples in drawn for sample in samples), topic=name)
            ctx.count("responses_without_entities", sum(not names for rows in found.values() for names in rows.values()), topic=name)
        note_calls(ctx, sampler)
        return results

    return work


def sampling_of(settings: EntitiesSettings, answers: SamplingSettings) -> SamplingSettings:
    """Return how entities are drawn: from the answers' model, without its few-shot examples and stop strings."""
    return dataclasses.replace(answers, n=settings.n, temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k, stop=(), prefix="")


def list_entities(topic: str, generations: Generations, finder: SpanFinder, count_tokens: Callable[[str], int]) -> list[Entity]:
    """Return the entities of a topic's responses, in the order of the text.

    A prompt asks for as many tokens as the entity has where it stands: a tokenizer may join it to what is before.
    """
    entities = []
    spans_of: dict[str, list[Span]] = {}
    for question, row in generations.items():
        for index, (key, response) in enumerate(zip(numbered(row["responses"]), row["responses"], strict=True)):
            if response not in spans_of:
                spans_of[response] = finder.find(response, topic)
            spans = spans_of[response]
            for name, (start, end) in zip(numbered(response[start:end] for start, end in spans), spans, strict=True):
                before = text_before(question, response, start)
                tokens = max(1, count_tokens(f"{question} {response[:end]}") - count_tokens(before))
                prompt = Prompt(f"entities/{topic}/{question}/{index}/{start}", before, tokens)
                entities.append(Entity(question, key, name, response, prompt))
    return entities


def text_before(question: str, response: str, start: int) -> str:
    """Return the question and the response up to an entity, without the one space before it: a word's first token has its space.

    Nothing else is dropped, neither a bracket, a quotation mark or a hyphen before the entity nor the beginning of a long text.
    """
    return f"{question} {response[:start]}".removesuffix(" ")


def resample(entities: Sequence[Entity], sampler: TextSampler, how: SamplingSettings) -> list[list[Sample]]:
    """Return the samples of every entity, in order.

    The entities of one response are sampled together: the longest of their prompts is run once, and each of the others sees its
    part of it. So what is batched together is the same whatever other topics there are. A server gets all at once.

    Raises:
        ItemError: One of them could not be sampled; the message names it.
    """
    batches: dict[tuple[str, str], list[Entity]] = {}
    for entity in entities:
        batches.setdefault((entity.question, entity.text) if how.backend == "transformers" else ("", ""), []).append(entity)
    drawn: dict[str, list[Sample]] = {}
    for batch in batches.values():
        prompts = [entity.prompt for entity in batch]
        most = max(prompt.max_new_tokens or 1 for prompt in prompts)
        results = sampler.sample(prompts, dataclasses.replace(how, max_new_tokens=most), shared=max((prompt.text for prompt in prompts), key=len))
        for entity, samples in zip(batch, results, strict=True):
            if isinstance(samples, ItemError):
                raise ItemError(f"the entity {entity.name!r} of a response to {entity.question!r}: {samples}")
            drawn[entity.prompt.item] = samples
    return [drawn[entity.prompt.item] for entity in entities]


if __name__ == "__main__":
    raise SystemExit(run_topics("entities", prepare))
