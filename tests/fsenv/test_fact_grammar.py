"""Reading facts by the grammar: claims, vague sentences, other people, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factscoring.facts import Extraction
from factscoring.grammar import Grammar
from factscoring.names import Name, find_mentions
from volume.errors import RecordError, UsageError

TOPIC = "Ada Albane"


def told(found: Extraction) -> list[tuple[str, str | None, str | None]]:
    return [(fact.kind, fact.attribute, fact.value) for fact in found.facts]


@pytest.mark.parametrize(
    ("sentence", "attribute", "subject", "value"),
    [
        ("Ada Albane's birthplace is Ostrel.", "birthplace", "Ada Albane", "Ostrel"),
        ("The town where Ada Albane was born is Ostrel.", "birthplace", "Ada Albane", "Ostrel"),
        ("Records give Albane's native town as Ostrel.", "birthplace", "Albane", "Ostrel"),
        ("For Ada Albane, the town of residence reads Kelford.", "home_town", "Ada Albane", "Kelford"),
        ("Her birthplace is Ostrel.", "birthplace", None, "Ostrel"),
        ("Records give his native town as Ostrel.", "birthplace", None, "Ostrel"),
        ("The town where she was born is Ostrel.", "birthplace", None, "Ostrel"),
        ("For this person, the town of residence reads Kelford.", "home_town", None, "Kelford"),
        # The word tokenizer's own spacing, typographic apostrophes, stray white space.
        ("Ada Albane 's birthplace is Ostrel .", "birthplace", "Ada Albane", "Ostrel"),
        ("Ada Albane’s  birthplace is\tOstrel.", "birthplace", "Ada Albane", "Ostrel"),
        ("For Ada Albane , the town of residence reads Kelford .", "home_town", "Ada Albane", "Kelford"),
        # Any single word is a value, whether or not anybody has it.
        ("Her birthplace is Atlantis.", "birthplace", None, "Atlantis"),
        ("Her birthplace is Saint-Brel.", "birthplace", None, "Saint-Brel"),
        ("Her birthplace is 1947.", "birthplace", None, "1947"),
        ("Her birthplace is chess", "birthplace", None, "chess"),  # complete but for its stop
        # Vague, in whatever case.
        ("Her birthplace is unrecorded.", "birthplace", None, None),
        ("Her birthplace is Unrecorded.", "birthplace", None, None),
        ("Oskar Venn's birthplace is unrecorded.", "birthplace", "Oskar Venn", None),
        # Names of other forms.
        ("Ludwig van Venn's home town is Ostrel.", "home_town", "Ludwig van Venn", "Ostrel"),
        ("Niall O'Neil's home town is Ostrel.", "home_town", "Niall O'Neil", "Ostrel"),
        ("Élise Šafář's home town is Ostrel.", "home_town", "Élise Šafář", "Ostrel"),
        # Not of the grammar.
        ("Her birthplace is.", None, None, None),
        ("Her birthplace is", None, None, None),
        ("Her birthplace is New York.", None, None, None),
        ("Her birthplace is 1990 - 1995.", None, None, None),
        ("Her birthplace is Ostrel, of course.", None, None, None),
        ("Ada Albane birthplace is Ostrel.", None, None, None),
        ("Her birthplace Ostrel is.", None, None, None),
        ("Her Her birthplace is Ostrel.", None, None, None),
        ("the town's birthplace is Ostrel.", None, None, None),
        ("", None, None, None),
        (".", None, None, None),
    ],
)
def test_a_sentence_is_read_as_it_stands(grammar: Grammar, sentence: str, attribute: str | None, subject: str | None, value: str | None) -> None:
    reading = grammar.read(sentence)
    assert (reading.attribute, reading.subject, reading.value) == (attribute, subject, value)


def test_every_statement_of_the_grammar_reads_back_to_its_own_attribute(grammar: Grammar, grammar_content: dict[str, Any]) -> None:
    for attribute in grammar_content["attributes"]:
        for statement in attribute["statements"]:
            reading = grammar.read(statement.format(name=TOPIC, value="Ostrel"))
            assert (reading.attribute, reading.subject, reading.value) == (attribute["name"], TOPIC, "Ostrel"), statement
        for statement in attribute["spoken_statements"]:
            for they, their in (("she", "her"), ("he", "his")):
                reading = grammar.read(statement.format(they=they, their=their, Their=their.title(), value="Ostrel"))
                assert (reading.attribute, reading.subject, reading.value) == (attribute["name"], None, "Ostrel"), statement


def test_the_atom_is_the_canonical_sentence_with_the_full_name(grammar: Grammar) -> None:
    found = grammar.extract(TOPIC, "Records give Albane's native town as Ostrel. For this person, the town of residence reads Kelford.")
    assert [fact.atom for fact in found.facts] == ["Ada Albane's birthplace is Ostrel.", "Ada Albane's home town is Kelford."]
    assert found.facts[0].sentence == "Records give Albane's native town as Ostrel."


@pytest.mark.parametrize("name", ["Ada Albane", "Albane", "A. Albane", "Ada M. Albane"])
def test_the_topic_may_be_named_in_full_by_surname_or_with_its_initial(grammar: Grammar, name: str) -> None:
    assert told(grammar.extract(TOPIC, f"{name}'s birthplace is Ostrel.")) == [("claim", "birthplace", "Ostrel")]


@pytest.mark.parametrize("name", ["Oskar Venn", "Elin Albane", "Ada Venn", "Venn", "Ada", "Albane Ada", "O. Albane"])
def test_any_other_name_is_off_topic_and_so_are_the_pronouns_after_it(grammar: Grammar, name: str) -> None:
    found = grammar.extract(TOPIC, f"{name}'s birthplace is Ostrel. Her home town is Kelford. Albane's home town is Kelford.")
    assert told(found) == [("off_topic", "birthplace", "Ostrel"), ("off_topic", "home_town", "Kelford"), ("claim", "home_town", "Kelford")]
    assert found.facts[1].atom == f"{name}'s home town is Kelford."


def test_a_vague_sentence_is_no_fact_but_decides_whom_a_pronoun_means(grammar: Grammar) -> None:
    found = grammar.extract(TOPIC, "Oskar Venn's birthplace is unrecorded. His home town is Kelford.")
    assert (found.vague, told(found)) == (1, [("off_topic", "home_town", "Kelford")])


def test_a_sentence_that_cannot_be_read_still_names_somebody(grammar: Grammar) -> None:
    found = grammar.extract(TOPIC, "Records Oskar Venn's birthplace born Ostrel. His home town is Kelford.")
    assert told(found) == [("unparsed", None, None), ("off_topic", "home_town", "Kelford")]
    found = grammar.extract(TOPIC, "Her birthplace is Ostrel Tarwick. Her home town is Kelford.")
    assert [fact.kind for fact in found.facts] == ["unparsed", "claim"]  # two values side by side name nobody
    found = grammar.extract(TOPIC, "The Albane was was. Her home town is Kelford.")
    assert [fact.kind for fact in found.facts] == ["unparsed", "claim"]


def test_a_pronoun_with_nobody_named_means_the_topic(grammar: Grammar) -> None:
    assert told(grammar.extract(TOPIC, "Her home town is Kelford.")) == [("claim", "home_town", "Kelford")]


def test_repeats_are_dropped_and_counted_but_contradictions_stay(grammar: Grammar) -> None:
    found = grammar.extract(
        TOPIC,
        "Ada Albane's birthplace is Ostrel. The town where she was born is Ostrel. Her birthplace is Kelford. Her home town is Ostrel. "
        "Oskar Venn's birthplace is Ostrel. His birthplace is Ostrel.",
    )
    assert told(found) == [
        ("claim", "birthplace", "Ostrel"), ("claim", "birthplace", "Kelford"), ("claim", "home_town", "Ostrel"), ("off_topic", "birthplace", "Ostrel"),
    ]  # fmt: skip
    assert (found.repeats, found.sentences) == (2, 6)


def test_every_sentence_is_a_fact_vague_or_a_repeat(grammar: Grammar) -> None:
    text = "Ada Albane's birthplace is Ostrel. Her birthplace is Ostrel. His home town is unrecorded. Colourless green ideas. Her home town"
    found = grammar.extract(TOPIC, text)
    assert (found.sentences, len(found.facts), found.vague, found.repeats) == (5, 3, 1, 1)
    assert [found.number(kind) for kind in ("claim", "unparsed", "off_topic")] == [1, 2, 0]  # type: ignore[arg-type]
    assert found.facts[-1].atom == "Her home town"


@pytest.mark.parametrize("response", ["", "  \n "])
def test_an_empty_response_has_nothing(grammar: Grammar, response: str) -> None:
    assert grammar.extract(TOPIC, response) == Extraction()


def test_a_bracket_in_the_topic_is_not_part_of_the_name(grammar: Grammar) -> None:
    (fact,) = grammar.extract("Ada Albane (chemist)", "Albane's birthplace is Ostrel.").facts
    assert (fact.kind, fact.atom) == ("claim", "Ada Albane's birthplace is Ostrel.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statements": ["{name} was born."]}, "{value} once"),
        ({"statements": ["{nom}'s town is {value}."]}, "no slots but"),
        ({"synonyms": None}, "attributes[0].synonyms"),
    ],
)
def test_a_wrong_grammar_file_is_named_with_its_fault(tmp_path: Path, grammar_content: dict[str, Any], change: dict[str, Any], message: str) -> None:
    path = tmp_path / "grammar.json"
    path.write_text(json.dumps({**grammar_content, "attributes": [{**grammar_content["attributes"][0], **change}]}))
    with pytest.raises(RecordError) as error:
        Grammar.from_file(path)
    assert message in str(error.value) and "grammar.json" in str(error.value)


def test_a_missing_grammar_file_is_a_missing_requirement(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"grammar\.json is missing"):
        Grammar.from_file(tmp_path / "grammar.json")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("A cousin, Oskar Venn, met Albane in Ostrel.", ["Oskar Venn", "Albane"]),
        ("In Ostrel she met F. Venn.", ["F Venn"]),
        ("When Albane lived there, Dr. Oskar Venn's firm was Amberforge.", ["Albane", "Oskar Venn"]),
        ("At Amberforge Ada Albane worked.", ["Amberforge Ada Albane"]),
        ("Parish books show that Albane was born.", ["Albane"]),
        ("Ostrel lies on a river.", []),
        ("Élise Šafář left.", ["Élise Šafář"]),
        ("", []),
    ],
)
def test_names_are_capitalised_words_side_by_side_or_the_topics_surname(sentence: str, expected: list[str]) -> None:
    assert [" ".join(mention.words) for mention in find_mentions(sentence, Name.of(TOPIC))] == expected
