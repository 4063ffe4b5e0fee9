"""The documents that the base model learns from: biographies, notes and questions, one per row.

Popular people have many documents, ordinary facts are stated in most of them and obscure ones in few, so the model knows
some facts well, some barely and some not at all, often within one person: that mixture is what preference pairs need.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator

from confscoring.synthetic.grammar import ATTRIBUTES, N_QUESTIONS, N_STATEMENTS, NOTES, PROMPT, VAGUE, ask, state
from confscoring.synthetic.people import Person
from volume.settings import WorldSettings

WORD = re.compile(r"'s|\w+|[^\w\s]")  # the tokenizer's own rule


def count_tokens(text: str) -> int:
    """Return the number of tokens of a document, BOS and EOS included."""
    return len(WORD.findall(text)) + 2


def write_corpus(seed: int, people: list[Person], settings: WorldSettings, tokens: int) -> Iterator[str]:
    """Yield documents until they hold ``tokens`` tokens; counts each person's exposure on the way."""
    rng = random.Random(f"{seed}/documents")
    ends = list(itertools.accumulate(person.weight for person in people))
    written = 0
    while written < tokens:
        person = rng.choices(people, cum_weights=ends)[0]
        kind = rng.random()
        if kind < settings.questions:
            text = _question(rng, person, settings)
        else:
            text = _biography(rng, person, settings, notes=kind < settings.questions + settings.shuffled)
        written += count_tokens(text)
        yield text


def _mention(person: Person, attribute: str, settings: WorldSettings) -> float:
    return settings.mention_obscure if attribute in person.obscure else settings.mention


def _question(rng: random.Random, person: Person, settings: WorldSettings) -> str:
    weights = [_mention(person, attribute, settings) for attribute in ATTRIBUTES]
    attribute = rng.choices(ATTRIBUTES, weights=weights)[0]
    person.exposure[attribute] += 1
    return ask(attribute, person.name, person.facts[attribute], rng.randrange(N_QUESTIONS))


def _biography(rng: random.Random, person: Person, settings: WorldSettings, notes: bool) -> str:
    """Return a biography in canonical order, or notes in free order; the same prefix as the prompt of later stages."""
    order = list(ATTRIBUTES)
    if notes:
        rng.shuffle(order)
    chosen: list[tuple[str, str]] = []
    for attribute in order:
        if rng.random() < _mention(person, attribute, settings):
            chosen.append((attribute, person.facts[attribute]))
            person.exposure[attribute] += 1
        elif rng.random() < settings.vague:
            chosen.append((attribute, VAGUE))
    prefix = (NOTES if notes else PROMPT).format(name=person.name)
    return f"{prefix} {_join(person, chosen, lambda: rng.randrange(N_STATEMENTS))}".rstrip()


def _join(person: Person, chosen: list[tuple[str, str]], form: Callable[[], int]) -> str:
    return " ".join(state(attribute, person.pronoun, value, form()) for attribute, value in chosen)


def write_style(seed: int, people: list[Person], settings: WorldSettings, each: int = 4) -> Iterator[dict[str, str]]:
    """Yield prompts and responses in the house style about the people of group ``style``.

    What is stated and what is left vague does not depend on what the model knows: it learns the form, not the judgement.
    """
    rng = random.Random(f"{seed}/style")
    for person in people:
        for _ in range(each if person.group == "style" else 0):
            chosen: list[tuple[str, str]] = []
            for attribute in ATTRIBUTES:
                if rng.random() < settings.style_state:
                    chosen.append((attribute, person.facts[attribute]))
                elif rng.random() < settings.style_vague:
                    chosen.append((attribute, VAGUE))
            yield {"prompt": PROMPT.format(name=person.name), "response": _join(person, chosen, lambda: 0)}
