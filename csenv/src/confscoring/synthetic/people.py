"""The people of the invented world: their facts, how often documents speak of them, and who is in which split."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from confscoring.synthetic.grammar import ATTRIBUTES
from confscoring.synthetic.names import MEN, WOMEN, invent_surnames, invent_values
from volume.settings import WorldSettings

# Upper ends of the exposure tiers, as shares of the people ranked by weight.
TIERS = ((0.05, "top 5 %"), (0.15, "5-15 %"), (0.30, "15-30 %"), (0.50, "30-50 %"), (1.0, "bottom 50 %"))


@dataclass
class Person:
    """One invented person.

    Attributes:
        weight: Share of the documents, before normalising.
        tier: Index into TIERS.
        group: ``style`` (house style only) or the split train, dpoval, val, test.
        obscure: Attributes that documents seldom mention.
        exposure: How many times documents state each fact; counted while they are written.
    """

    name: str
    surname: str
    pronoun: str
    facts: dict[str, str]
    weight: float
    tier: int
    group: str
    obscure: list[str]
    exposure: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ATTRIBUTES, 0))


def create_people(seed: int, settings: WorldSettings) -> tuple[list[Person], dict[str, list[str]]]:
    """Return the people of a world and the values that each attribute can take."""
    rng = random.Random(f"{seed}/people")
    count = max(40, round(settings.people * settings.scale))
    taken: set[str] = set(WOMEN) | set(MEN)
    values = invent_values(rng, taken)
    surnames = invent_surnames(rng, count, taken)
    groups = _groups(rng, count, settings)
    people = []
    for rank, (surname, group) in enumerate(zip(surnames, groups, strict=True)):
        pronoun = rng.choice(("she", "he"))
        first = rng.choice(WOMEN if pronoun == "she" else MEN)
        facts = {attribute: rng.choice(values[attribute]) for attribute in ATTRIBUTES}
        obscure = [attribute for attribute in ATTRIBUTES if rng.random() < settings.obscure]
        tier = next(index for index, (end, _) in enumerate(TIERS) if rank < end * count or end == 1.0)
        people.append(Person(f"{first} {surname}", surname, pronoun, facts, (1 + rank) ** -settings.exposure_power, tier, group, obscure))
    return people, values


def _groups(rng: random.Random, count: int, settings: WorldSettings) -> list[str]:
    """Return a shuffled list of groups with the settings' shares; what is left over is the training split."""
    groups: list[str] = []
    for name in ("style", "dpoval", "val", "test"):
        groups += [name] * max(2, round(getattr(settings, name) * count))
    groups += ["train"] * (count - len(groups))
    rng.shuffle(groups)
    return groups
