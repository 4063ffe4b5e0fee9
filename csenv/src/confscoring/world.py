"""Makes the invented world of the dataset `synth`.

    python -m confscoring.world --dataset synth --data-dir data

Reads: nothing but the definition (section [world], the seed).
Writes: world/ (truth, grammar, documents, house style, tokenizer, model configuration), knowledge.db and the questions
of every split. Names of the test split stand in no house-style text and in no training split.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from confscoring.synthetic.articles import write_articles, write_database
from confscoring.synthetic.documents import WORD, write_corpus, write_style
from confscoring.synthetic.grammar import ATTRIBUTES, PROMPT, VAGUE, build_grammar
from confscoring.synthetic.people import TIERS, Person, create_people
from confscoring.synthetic.tokenizer import model_config, write_tokenizer
from volume.context import Context
from volume.errors import UsageError
from volume.files import write_json, write_text
from volume.records import Topics, save
from volume.stage import run_whole


def produce(ctx: Context) -> list[Path]:
    """Write the world; return its files."""
    world, pretrain = ctx.definition.world, ctx.definition.pretrain
    if world is None or pretrain is None:
        raise UsageError(f"dataset '{ctx.definition.name}' has no generated world (sections [world] and [pretrain]).")
    seed, folder = ctx.definition.seed, ctx.paths.world
    people, values = create_people(seed, world)
    corpus = list(write_corpus(seed, people, world, round(pretrain.steps * pretrain.tokens_per_step * world.scale)))
    style = list(write_style(seed, people, world))
    grammar = build_grammar(values)
    articles, known = write_articles(seed, people, values, world)

    words = {word for text in corpus for word in WORD.findall(text)}
    words |= {word for row in style for word in WORD.findall(row["prompt"] + " " + row["response"])}
    words |= {word for person in people for word in person.name.split()} | {value for row in values.values() for value in row}
    written = write_tokenizer(folder / "tokenizer", words)
    _lines(folder / "corpus.jsonl", [{"text": text} for text in corpus], written)
    _lines(folder / "style.jsonl", style, written)
    for name, value in (
        ("world.json", describe(seed, people, known)),
        ("grammar.json", grammar),
        ("model_config.json", model_config(len(words) + 4, world.scale)),
    ):
        write_json(folder / name, value)
        written.append(folder / name)
    database = ctx.paths.root / "knowledge.db"
    write_database(database, articles)
    written.append(database)
    for split in ctx.definition.splits:
        path = ctx.paths.questions(split)
        save(path, questions_of(people, split), Topics)
        written.append(path)
    ctx.count("people", len(people))
    ctx.count("documents", len(corpus))
    ctx.count("words", len(words))
    ctx.count("articles", len(articles))
    return written


def questions_of(people: list[Person], split: str) -> list[dict[str, Any]]:
    """Return the questions file of a split."""
    return [
        {"topic": person.name, "topic_id": index, "questions": [PROMPT.format(name=person.name)], "pronoun": person.pronoun}
        for index, person in enumerate(people)
        if person.group == split
    ]


def describe(seed: int, people: list[Person], known: dict[str, list[str]]) -> dict[str, Any]:
    """Return the content of ``world.json``: the truth that only evaluation may look at."""
    return {
        "format": 1,
        "seed": seed,
        "vague": VAGUE,
        "attributes": list(ATTRIBUTES),
        "tiers": [name for _, name in TIERS],
        "people": [
            {
                "name": person.name, "surname": person.surname, "pronoun": person.pronoun, "group": person.group, "tier": person.tier,
                "facts": person.facts, "exposure": person.exposure, "obscure": person.obscure, "in_knowledge": known[person.name],
            }
            for person in people
        ],
    }  # fmt: skip


def _lines(path: Path, rows: list[dict[str, str]], written: list[Path]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    written.append(path)


if __name__ == "__main__":
    raise SystemExit(run_whole("world", produce))
