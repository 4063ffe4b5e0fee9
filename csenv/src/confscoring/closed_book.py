"""Asks a policy every question about the people it is evaluated on, greedily: the knowledge that tuning has cost.

    python -m confscoring.closed_book --dataset synth --data-dir data --split test --run factscore

Reads: the run's policy, world/grammar.json (questions), world/world.json (truth). Writes: eval/{run}/closed_book.json.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypedDict

from confscoring.equivalence import word_key
from confscoring.question_grammar import QuestionGrammar
from confscoring.samplers import open_sampler
from confscoring.sampling import Prompt
from volume.context import Context
from volume.errors import ItemError, UsageError, VolumeError
from volume.files import write_json
from volume.records import load
from volume.stage import run_whole


class Truth(TypedDict):
    """The part of a person in world.json that is needed here."""

    name: str
    facts: dict[str, str]


class WorldFile(TypedDict):
    """The part of world.json that is needed here."""

    people: list[Truth]


def produce(ctx: Context) -> list[Path]:
    """Ask, compare with the truth, write one file."""
    if not ctx.run or ctx.definition.answers is None:
        raise UsageError("closed_book needs --run and a definition with [answers].")
    grammar = QuestionGrammar(ctx.paths.world / "grammar.json")
    people = {person["name"]: person["facts"] for person in load(ctx.paths.world / "world.json", WorldFile)["people"]}
    asked = [
        (topic["topic"], attribute, str(grammar.ask(attribute, topic["topic"])))
        for topic in ctx.topics if topic["topic"] in people for attribute in grammar.attributes
    ]  # fmt: skip
    settings = dataclasses.replace(ctx.definition.answers, n=1, temperature=0.0, top_p=1.0, top_k=0)
    prompts = [Prompt(question, settings.prompt.format(question=question, topic=topic)) for topic, _, question in asked]
    answers = []
    for (topic, _, question), samples in zip(asked, open_sampler(ctx, ctx.definition.responses or settings, ctx.run).sample(prompts, settings), strict=True):
        if isinstance(samples, ItemError):
            raise VolumeError(f"{topic}, '{question}': {samples}")
        answers.append(samples[0].text)
    found: dict[str, dict[str, dict[str, object]]] = {}
    for (topic, attribute, question), answer in zip(asked, answers, strict=True):
        correct = word_key(answer) == word_key(people[topic][attribute])
        found.setdefault(topic, {})[attribute] = {"question": question, "answer": answer, "correct": correct}
    path = ctx.paths.eval(ctx.run) / "closed_book.json"
    write_json(path, found)
    ctx.count("questions", len(asked))
    ctx.count("correct", sum(bool(entry["correct"]) for entries in found.values() for entry in entries.values()))
    return [path]


if __name__ == "__main__":
    raise SystemExit(run_whole("closed_book", produce))
