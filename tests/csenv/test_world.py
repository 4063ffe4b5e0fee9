"""The invented world: seeded, split by person, English at the slots, a knowledge base with gaps. No torch needed."""

from __future__ import annotations

import collections
import dataclasses
import re
import sqlite3
from pathlib import Path

import pytest

from confscoring.synthetic.articles import SEPARATOR, write_articles, write_database
from confscoring.synthetic.documents import WORD, count_tokens, write_corpus, write_style
from confscoring.synthetic.grammar import ATTRIBUTES, VAGUE, build_grammar, spoken_form, state
from confscoring.synthetic.people import TIERS, create_people
from volume.settings import WorldSettings

SETTINGS = WorldSettings()


@pytest.fixture(scope="module")
def world():
    people, values = create_people(7, SETTINGS)
    return people, values, list(write_corpus(7, people, SETTINGS, 400_000))


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    first, again, other = (create_people(seed, SETTINGS)[0] for seed in (1, 1, 2))
    assert first == again
    assert [person.name for person in first] != [person.name for person in other]


def test_groups_have_their_shares_and_surnames_are_unique(world) -> None:
    people, _, _ = world
    groups = collections.Counter(person.group for person in people)
    assert groups == {"style": 120, "train": 252, "dpoval": 18, "val": 30, "test": 180}
    assert len({person.surname for person in people}) == 600


def test_no_value_is_also_a_name_and_birthplaces_can_be_mistaken_for_home_towns(world) -> None:
    people, values, _ = world
    names = {word for person in people for word in person.name.split()}
    assert not names & {value for row in values.values() for value in row}
    assert values["birthplace"] == values["home_town"]


def test_house_style_is_about_its_own_people_only(world) -> None:
    people, _, _ = world
    style = {person.name for person in people if person.group == "style"}
    rows = list(write_style(7, people, SETTINGS))
    assert len(rows) == 4 * len(style)
    assert {row["prompt"].removeprefix("Write a biography of ").rstrip(".") for row in rows} == style


def test_exposure_counts_what_the_documents_state(world) -> None:
    people, _, corpus = world
    text = "\n".join(corpus)
    rarest = people[-1]
    lines = [line for line in text.splitlines() if rarest.name in line]
    stated = sum(len(re.findall(rf"\b{re.escape(value)}\b", line)) for line in lines for value in set(rarest.facts.values()))
    assert stated == sum(rarest.exposure.values())
    tiers = collections.defaultdict(list)
    for person in people:
        tiers[person.tier].append(sum(person.exposure.values()))
    means = [sum(tiers[tier]) / len(tiers[tier]) for tier in range(len(TIERS))]
    assert means == sorted(means, reverse=True)
    obscure = [person.exposure[name] for person in people for name in person.obscure]
    ordinary = [person.exposure[name] for person in people for name in ATTRIBUTES if name not in person.obscure]
    assert sum(ordinary) / len(ordinary) > 4 * sum(obscure) / len(obscure)


def test_a_sentence_reads_the_same_with_a_value_and_with_the_vague_word() -> None:
    for attribute in ATTRIBUTES:
        for form in range(5):
            stated = state(attribute, "she", "Xyz", form)
            assert state(attribute, "she", VAGUE, form) == stated.replace("Xyz", VAGUE)
            assert "{" not in stated and stated[0].isupper()


def test_sentences_use_pronouns_in_the_right_case() -> None:
    assert state("home_town", "she", "Ilby", 0) == "Her home town is Ilby."
    assert state("home_town", "he", "Ilby", 1) == "The town where he lives is Ilby."
    assert state("home_town", "he", "Ilby", 2) == "Records give his residence as Ilby."
    assert spoken_form("For {name}, the year of birth reads {value}.") == "For this person, the year of birth reads {value}."


def test_every_statement_can_be_read_back_in_one_way_only() -> None:
    """No two attributes share a sentence: a grammar that reads it knows what was claimed."""
    grammar = build_grammar(create_people(7, SETTINGS)[1])
    for key in ("statements", "spoken_statements"):
        forms = [form for attribute in grammar["attributes"] for form in attribute[key]]
        assert len(set(forms)) == len(forms) == 40


def test_the_token_count_is_the_tokenizers_rule() -> None:
    text = "Ada Beck's field is law."
    assert WORD.findall(text) == ["Ada", "Beck", "'s", "field", "is", "law", "."]
    assert count_tokens(text) == 9  # with BOS and EOS


def test_articles_say_most_facts_in_other_words_and_lack_some(world, tmp_path: Path) -> None:
    people, values, corpus = world
    rows, known = write_articles(7, people, values, SETTINGS)
    texts = dict(rows)
    present = sum(len(names) for names in known.values()) / (8 * len(people))
    assert 0.86 < present < 0.90  # 10 % absent, 2 % contradicted
    for person in people[:50]:
        passages = texts[person.name].split(SEPARATOR)
        assert 3 <= len(passages) <= 6
        assert all(person.facts[name] in texts[person.name] for name in known[person.name])
    documents = set(" ".join(corpus[:2000]).split(". "))
    assert not documents & {sentence for text in list(texts.values())[:50] for sentence in text.split(". ")}
    write_database(tmp_path / "k.db", rows)
    first = (tmp_path / "k.db").read_bytes()
    write_database(tmp_path / "k.db", reversed(rows))
    assert (tmp_path / "k.db").read_bytes() == first  # the order of the rows is no part of the content
    with sqlite3.connect(tmp_path / "k.db") as db:
        assert db.execute("SELECT count(*) FROM documents").fetchone() == (len(rows),)


def test_a_larger_world_has_enough_names() -> None:
    people, _ = create_people(1, dataclasses.replace(SETTINGS, scale=8.0))
    assert len({person.surname for person in people}) == 4800
