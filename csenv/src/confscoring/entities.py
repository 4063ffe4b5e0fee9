"""Resamples the entities of a response from the text before them: the variant that needs no atomic questions.

    python -m confscoring.entities --dataset mine.toml --data-dir data --split train

Reads: responses/{topic}_generations.json. Writes: ne_samples/{sampler}/{topic}_ne_samples.json. An entity that occurs twice in
a response, and a response that occurs twice, keep entries of their own: the later ones are marked "#2", "#3", …
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

from confscoring.sampler import Prompt, Sampler
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.evidence import model_folder
from volume.records import Generations, Topic, load
from volume.stage import run_topics


class Statements(TypedDict):
    """The part of an attribute in grammar.json that says where its value stands."""

    spoken_statements: list[str]


class GrammarFile(TypedDict):
    """The part of grammar.json that is needed here."""

    vague: str
    attributes: list[Statements]


class EntityFinder:
    """Finds the values that sentences of the synthetic world state."""

    def __init__(self, path: Path) -> None:
        content: GrammarFile = load(path, GrammarFile)
        forms = {form for attribute in content["attributes"] for form in attribute["spoken_statements"]}
        slots = {"they": "(?:he|she)", "their": "(?:his|her)", "Their": "(?:His|Her)"}
        patterns = []
        for form in sorted(forms):
            before, after = (re.escape(part) for part in form.split("{value}"))
            for slot, words in slots.items():
                before, after = before.replace(rf"\{{{slot}\}}", words), after.replace(rf"\{{{slot}\}}", words)
            patterns.append(f"{before}(\\w+){after}")
        self._pattern = re.compile("|".join(patterns))
        self._vague = content["vague"]

    def find(self, text: str) -> list[tuple[int, int]]:
        """Return the (start, end) of every stated value, in order."""
        spans = []
        for match in self._pattern.finditer(text):
            group = next(index for index in range(1, self._pattern.groups + 1) if match.group(index) is not None)
            if match.group(group) != self._vague:
                spans.append(match.span(group))
        return spans


def numbered(keys: Iterable[str]) -> list[str]:
    """Return the keys with repeats marked "#2", "#3", …, so that a dict keeps them all."""
    seen: dict[str, int] = {}
    result = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        result.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
    return result


def prepare(ctx: Context) -> Any:
    """Load the model; return the work on a group of topics."""
    settings, answers = ctx.definition.entities, ctx.definition.answers
    if settings.backend != "grammar" or answers is None:
        raise UsageError(f"entities.backend = '{settings.backend}' is not available yet; available: grammar.")
    finder = EntityFinder(ctx.paths.world / "grammar.json")
    folder = model_folder(ctx.definition, ctx.paths, ctx.data_dir, answers.model)
    sampler = Sampler(folder, ctx.definition.models[answers.model].dtype, ctx.definition.seed, ctx.definition.name)
    base = dataclasses.replace(answers, n=settings.n, temperature=settings.temperature, top_p=settings.top_p, top_k=0, stop=(), prefix="")

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        found: dict[str, dict[str, dict[str, dict[str, list[str]]]]] = {}
        waiting: dict[int, list[tuple[dict[str, list[str]], str, Prompt]]] = {}  # by the number of tokens to sample
        for topic in topics:
            generations: Generations = load(ctx.paths.responses(topic["topic"]), Generations)
            by_question = found.setdefault(topic["topic"], {})
            for question, generation in generations.items():
                keys = numbered(generation["responses"])
                for index, (key, response) in enumerate(zip(keys, generation["responses"], strict=True)):
                    target = by_question.setdefault(question, {}).setdefault(key, {})
                    spans = finder.find(response)
                    for name, (start, end) in zip(numbered(response[start:end] for start, end in spans), spans, strict=True):
                        target[name] = []  # the order of the entities is that of the text
                        prompt = Prompt(f"entities/{topic['topic']}/{question}/{index}/{start}", f"{question} {response[:start].rstrip()}")
                        waiting.setdefault(sampler.count_tokens(response[start:end]), []).append((target, name, prompt))
        for size, jobs in sorted(waiting.items()):
            drawn = sampler.sample([prompt for _, _, prompt in jobs], dataclasses.replace(base, max_new_tokens=size))
            for (target, name, _), samples in zip(jobs, drawn, strict=True):
                target[name] = [sample.text for sample in samples]
        for topic in topics:
            ctx.count("entities", sum(len(names) for rows in found[topic["topic"]].values() for names in rows.values()), topic=topic["topic"])
        return {topic["topic"]: [found[topic["topic"]]] for topic in topics}

    return work


if __name__ == "__main__":
    raise SystemExit(run_topics("entities", prepare, group=16))
