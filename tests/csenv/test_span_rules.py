"""The rules that find spans where no spaCy model is at hand."""

from __future__ import annotations

import random

import pytest

from confscoring.span_rules import RuleFinder
from confscoring.span_words import first_words

# What is found in a response about Marie Curie.
NAMES = [
    ("", []),
    ("  \n\n ", []),
    ("...!?", []),
    ("Marie Curie", []),
    ("Marie Curie was a physicist. Curie's daughter wrote about Marie.", []),
    ("Curie's husband was Pierre Curie.", ["Pierre Curie"]),
    ("Marie Skłodowska Curie wrote it.", ["Marie Skłodowska Curie"]),
    ("She was born in Warsaw, Poland, and lived in Paris.", ["Warsaw", "Poland", "Paris"]),
    ("The president spoke. However, Einstein disagreed. In Rome he stayed.", ["Einstein", "Rome"]),
    ("Physics was her passion.", []),
    ("Poland was partitioned when she lived in Poland.", ["Poland", "Poland"]),
    ("Warsaw, Warsaw and Warsaw", ["Warsaw", "Warsaw", "Warsaw"]),
    ("Physicist Paul Langevin, a physicist, taught.", ["Paul Langevin"]),
    ("NASA chose him. McKay left.", ["NASA", "McKay"]),
    ("O'Neill met Eugene O’Neill at the theatre.", ["O'Neill", "Eugene O’Neill"]),
    ("J. R. R. Tolkien and J.R.R. Tolkien were friends of C. S. Lewis.", ["J. R. R. Tolkien", "J.R.R. Tolkien", "C. S. Lewis"]),
    ("He studied at the University of Oxford and at the École Normale Supérieure.", ["University of Oxford", "École Normale Supérieure"]),
    ("She met Charles de Gaulle, Ludwig van Beethoven and the painter van Gogh.", ["Charles de Gaulle", "Ludwig van Beethoven", "van Gogh"]),
    ("A letter to Alexander the Great and the Secretary of the Treasury.", ["Alexander the Great", "Secretary of the Treasury"]),
    ("He moved to The Hague. The Hague was cold.", ["The Hague", "Hague"]),
    ("By Jean-Paul Sartre, a Warsaw-based, Nobel-winning author from Stratford-upon-Avon.", ["Jean-Paul Sartre", "Warsaw", "Nobel", "Stratford-upon-Avon"]),
    ("A letter (Pierre Curie, Sorbonne) to non-Europeans.", ["Pierre Curie", "Sorbonne", "non-Europeans"]),
    ("He worked for AT&T, Marks & Spencer, eBay and the BBC.", ["AT&T", "Marks & Spencer", "eBay", "BBC"]),
    ("He flew on Apollo 11 and fought in World War II.", ["Apollo 11", "World War II"]),
    ("Dr. John Smith lives in St. Petersburg in the U.S. He is tall.", ["Dr. John Smith", "St. Petersburg", "U.S."]),
    ("Martin Luther King Jr. and Sammy Davis, Jr. hold a Ph.D. in it.", ["Martin Luther King Jr", "Sammy Davis, Jr", "Ph.D."]),
    ("Vitamin C and plan B. She left.", ["Vitamin C"]),
    ("I think that I'm right; It's in Rome.\r\nHe said so.", ["Rome"]),
    ("Type 2 diabetes, COVID-19 and mRNA", ["Type 2", "COVID-19", "mRNA"]),
    ("Le\u0301on Blum met Le\u0301vi-Strauss in Orle\u0301ans.", ["Le\u0301on Blum", "Le\u0301vi-Strauss", "Orle\u0301ans"]),
    ("SHE WAS BORN IN WARSAW IN 1867.", ["1867"]),
    ("See https://Example.org/Page2 or mail Ada@Example.org.", []),
    ("## Early Life\n\n**Career Highlights**\nWorks by Her:\n- Radium Institute [12]\n2. Sorbonne", ["Radium Institute"]),
    ("Мария Кюри родилась в Варшаве в 1867 году.", ["Мария Кюри", "Варшаве", "1867"]),
    ("Η Μαρία Κιουρί γεννήθηκε στη Βαρσοβία.", ["Μαρία Κιουρί", "Βαρσοβία"]),
    ("居里夫人于1867年11月7日出生在华沙，著有《放射性论》。", ["1867年11月7日", "放射性论"]),
    ("ولدت ماري كوري عام 1867 في وارسو.", ["1867"]),
    ("मैरी क्यूरी का जन्म 1867 में हुआ था।", ["1867"]),
]
NUMBERS = [
    ("He was born on 12 May 1931 and died on the 3rd of June, 1990.", ["12 May 1931", "3rd of June, 1990"]),
    ("Born May 12, 1931, in Ulm.", ["May 12, 1931", "Ulm"]),
    ("In 1931 he left; in the 1990s, the late 1960s and the '80s he returned.", ["1931", "the 1990s", "the late 1960s", "the '80s"]),
    ("From 1990–1995, 1995-97 and 2001 to 2003 she taught.", ["1990–1995", "1995-97", "2001 to 2003"]),
    ("In May 1931 Theresa May may march in March; on 1931-05-12 or 5/12/1931.", ["May 1931", "Theresa May", "March", "1931-05-12", "5/12/1931"]),
    ("From January to Sept. 1931, at 10:30 a.m.", ["January", "Sept. 1931", "10:30 a.m."]),
    ("Of the 12th century, the early nineteenth century, 44 BC and AD 79.", ["the 12th century", "the early nineteenth century", "44 BC", "AD 79"]),
    ("About 12.5 per cent, 40%, 3.5 million people, 1,093 patents.", ["12.5 per cent", "40%", "3.5 million", "1,093"]),
    ("Take 400 mg every 6 hours, 5–10 ml at 38 °C, or 2 mg/kg.", ["400 mg", "6 hours", "5–10 ml", "38 °C", "2 mg/kg"]),
    ("It cost $3.5 million and £200; he is 81 years old, the first of two and twenty-one.", ["$3.5 million", "£200", "81 years old", "first", "two", "twenty-one"]),
    ("1. It is so [3].\n2) One of them is [1, 2].", []),
]
TITLES = [
    ("He starred in “The Lord of the Rings,” and \"Ode to Joy\".", ["The Lord of the Rings", "Ode to Joy"]),
    ("“I never said that,” he said. \"Go home!\"", []),
    ("She wrote *Pride and Prejudice* and 'Emma', in Hampshire's Chawton.", ["Pride and Prejudice", "Emma", "Hampshire", "Chawton"]),
    ("It is «Война и мир» or «Les Misérables».", ["Les Misérables"]),
    ("He read 「1984」 and 'Ender’s Game'.", ["1984", "Ender’s Game"]),
]
CHUNKS = [
    ("", []),
    ("Frostbite", []),
    ("Frostbite causes numbness in the fingers.", ["numbness", "the fingers"]),
    ("It is an injury caused by freezing of the skin.", ["an injury", "freezing", "the skin"]),
    ("You can treat mild frostbite by warming the area in warm water for 15 to 30 minutes.", ["mild frostbite", "the area", "warm water", "15 to 30 minutes"]),
    ("Symptoms include fever, chills, and a sore throat.", ["fever", "chills", "a sore throat"]),
    ("The drug reduces pain, which is common.", ["pain"]),
    ("It is the most common cancer in several women of this family.", ["the most common cancer", "several women", "this family"]),
    ("The doctor may also prescribe ibuprofen to reduce the swelling.", ["ibuprofen", "the swelling"]),
    ("- Fever\n- Pain in the chest", ["the chest"]),
    ("She won the Nobel Prize in Physics in 1903 with her husband.", ["the Nobel Prize", "Physics", "her husband"]),
    ("He gave the patient a new drug.", ["the patient", "a new drug"]),
    ("A risk of the disease exists, but the doctors are careful with it.", ["the disease"]),
    ("The patient's skin was treated with a highly effective cream and with first-aid measures.", ["a highly effective cream", "first-aid measures"]),
    ("He was an actor, known as an officer born in Ulm.", ["an actor", "an officer", "Ulm"]),
    ("They give the frostbite a name.", ["a name"]),
    ("Мария Кюри родилась в Варшаве.", []),
    ("居里夫人出生在华沙。", []),
]


def found(text: str, spans: str, topic: str) -> list[str]:
    return [text[start:end] for start, end in RuleFinder(spans).find(text, topic)]


@pytest.mark.parametrize(("text", "expected"), [*NAMES, *NUMBERS, *TITLES])
def test_entities_are_names_dates_numbers_and_titles(text: str, expected: list[str]) -> None:
    assert found(text, "entities", "Marie Curie") == expected


@pytest.mark.parametrize(("text", "expected"), CHUNKS)
def test_noun_chunks_stand_between_function_words_and_verbs_and_are_no_subjects(text: str, expected: list[str]) -> None:
    assert found(text, "noun_chunks", "Frostbite") == expected


def test_with_both_an_entity_is_taken_before_the_chunk_around_it() -> None:
    text = "He met the French physicist Paul Langevin at a small station."
    assert found(text, "entities", "Ada") == ["French", "Paul Langevin"]
    assert found(text, "noun_chunks", "Ada") == ["the French physicist Paul Langevin", "a small station"]
    assert found(text, "both", "Ada") == ["French", "Paul Langevin", "a small station"]


def test_a_full_stop_behind_an_initial_or_a_title_ends_no_sentence() -> None:
    text = "He is J. Doe of St. Ives. He met plan B. She\n- “Left” early."
    starts = first_words(text)
    assert [text[place:].split()[0] for place in sorted(starts) if place < len(text) and text[place].isalpha()] == ["He", "He", "She", "Left”"]


def test_spans_of_any_text_are_in_order_apart_and_not_blank() -> None:
    draw = random.Random(0)
    pieces = [
        "the ", "Ada ", "Beck", "of ", "'", "’", '"', "“", "”", "1990", "–", "-", "May ", "12 ", "J. ", "\n", "\r\n", "- ", "居", "é", "e\u0301", "(", ")", ".", ",",
        " ", "*", "**", "van ", "causes ", "is ", "to ", "#", "«", "»", "U.S. ", "Σ", "ß", "İ", "\u200d", "😀", "%", "$", "400 mg", "th", "[12]", "《", "》", "\t",
        "\u00a0", "_", "@", ":",
    ]  # fmt: skip
    kinds = [RuleFinder(spans) for spans in ("entities", "noun_chunks", "both")]
    seen = 0
    for _ in range(1500):
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(0, 40)))
        for finder in kinds:
            last = 0
            for start, end in finder.find(text, "Ada Beck"):
                assert last <= start < end <= len(text), text
                assert text[start:end] == text[start:end].strip() and any(map(str.isalnum, text[start:end])), text
                last, seen = end, seen + 1
    assert seen > 5000


def test_the_rules_say_which_they_are() -> None:
    assert RuleFinder("both").identity == {"finder": "rules", "version": "1", "spans": "both"}
