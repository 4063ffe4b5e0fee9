"""Facts by cutting sentences into clauses."""

from __future__ import annotations

import random

import pytest

from factscoring.clauses import extract_clauses


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        # Nothing to cut.
        ("Ada Venn was a chemist.", ["Ada Venn was a chemist."]),
        ("  Ada Venn  was a chemist", ["Ada Venn was a chemist."]),
        ("Ada Venn loved music and art.", ["Ada Venn loved music and art."]),
        ("She worked with Ada and Byron.", ["Ada Venn worked with Ada and Byron."]),
        ("Ada, Bo, and Cy Albane won the prize.", ["Ada, Bo, and Cy Albane won the prize."]),
        ("She sold 1,000 lamps between 1990 and 1995.", ["Ada Venn sold 1,000 lamps between 1990 and 1995."]),
        ("She wrote poems and plays.", ["Ada Venn wrote poems and plays."]),
        ("She studied pure and applied mathematics.", ["Ada Venn studied pure and applied mathematics."]),
        ("She was a learned and respected chemist.", ["Ada Venn was a learned and respected chemist."]),
        ("She taught a hundred boys and a hundred girls.", ["Ada Venn taught a hundred boys and a hundred girls."]),
        ("She was born and raised in Ostrel.", ["Ada Venn was born and raised in Ostrel."]),
        ("She wrote and directed films.", ["Ada Venn wrote and directed films."]),
        ("She won three prizes: gold; silver; bronze.", ["Ada Venn won three prizes: gold; silver; bronze."]),
        ("She was not only a chemist but also was a poet.", ["Ada Venn was not only a chemist but also was a poet."]),
        ("Was she a chemist and had she children?", ["Was she a chemist and had she children?"]),
        # The subject is carried over.
        ("Ada Venn was born in Kelford and moved to Ostrel in 1950.", ["Ada Venn was born in Kelford.", "Ada Venn moved to Ostrel in 1950."]),
        ("Venn won a prize, but was forgotten.", ["Venn won a prize.", "Ada Venn was forgotten."]),
        ("She moved to Ostrel, studied law, and became mayor.", ["Ada Venn moved to Ostrel, studied law.", "Ada Venn became mayor."]),
        ("She lives in Kelford and works as a smith.", ["Ada Venn lives in Kelford.", "Ada Venn works as a smith."]),
        ("Ada Venn resides in Kelford and has a son.", ["Ada Venn resides in Kelford.", "Ada Venn has a son."]),
        ("In 1950, she moved to Ostrel and later became mayor.", ["In 1950, Ada Venn moved to Ostrel.", "Ada Venn later became mayor."]),
        ("Her book sold well and was translated.", ["Ada Venn's book sold well.", "Ada Venn's book was translated."]),
        ("The firm was sold and moved to Ostrel.", ["The firm was sold.", "The firm moved to Ostrel."]),
        ("A book by Venn won a prize and was sold.", ["A book by Venn won a prize.", "A book by Venn was sold."]),
        ("She was born in Kelford and raised in Ostrel.", ["Ada Venn was born in Kelford.", "Ada Venn was raised in Ostrel."]),
        ("She moved and changed; she left!", ["Ada Venn moved and changed.", "Ada Venn left."]),
        # Whose predicate it is cannot be told.
        ("She wrote a book that was published in 1990 and became famous.", ["Ada Venn wrote a book that was published in 1990 and became famous."]),
        ("He said that Ada and Byron won prizes and Bo lost.", ["Ada Venn said that Ada and Byron won prizes and Bo lost."]),
        ("Bo Albane, who was a smith, married Ada Venn.", ["Bo Albane, who was a smith, married Ada Venn."]),
        ("Ada Venn, who she met, was a smith.", ["Ada Venn, who she met, was a smith."]),
        # Pronouns.
        ("They sang, and they danced.", ["Ada Venn sang.", "Ada Venn danced."]),
        ("She was born in 1950, and she won a prize.", ["Ada Venn was born in 1950.", "Ada Venn won a prize."]),
        ("Ada Venn was born in New York, and she moved.", ["Ada Venn was born in New York.", "Ada Venn moved."]),
        ("Ada Venn met Bo Albane, and he became mayor.", ["Ada Venn met Bo Albane.", "He became mayor."]),
        ("After meeting Bo Albane, he became mayor.", ["After meeting Bo Albane, he became mayor."]),
        ("Her father was a smith, and he moved to Ostrel.", ["Ada Venn's father was a smith.", "He moved to Ostrel."]),
        ("Her father was a smith, and her mother was a nurse.", ["Ada Venn's father was a smith.", "Ada Venn's mother was a nurse."]),
        ("She has a dog, and it is old.", ["Ada Venn has a dog.", "It is old."]),
        ("It is known that she was a smith.", ["It is known that she was a smith."]),
        ("She moved to Ostrel, and Bo Albane followed her.", ["Ada Venn moved to Ostrel.", "Bo Albane followed her."]),
        ("Bo Albane was a smith; she left him.", ["Bo Albane was a smith.", "She left him."]),
        # Relative clauses.
        ("Ada Venn, who was born in Kelford, was a chemist.", ["Ada Venn was born in Kelford.", "Ada Venn was a chemist."]),
        (
            "The prize went to Ada Venn, who was born in Kelford and moved to Ostrel.",
            ["The prize went to Ada Venn.", "Ada Venn was born in Kelford.", "Ada Venn moved to Ostrel."],
        ),
        ("Venn (born 1950), who was a smith, died in 1990.", ["Ada Venn was a smith.", "Venn (born 1950) died in 1990."]),
        # Quotes and brackets are closed.
        ('Venn said "it was good; he left and was ill" and left the room.', ['Venn said "it was good; he left and was ill".', "Ada Venn left the room."]),
        ("Ada Venn (died and was buried; 1990) was a chemist.", ["Ada Venn (died and was buried; 1990) was a chemist."]),
        ('She said, "I left and was ill."', ['Ada Venn said, "I left and was ill."']),
        # Other scripts and signs.
        ("ولدت آدا في كيلفورد؛ ثم انتقلت.", ["ولدت آدا في كيلفورد؛ ثم انتقلت."]),
        ("彼は生まれた。", ["彼は生まれた。"]),
        ("She won 🏆 and moved to Ostrel 🎉", ["Ada Venn won 🏆.", "Ada Venn moved to Ostrel 🎉."]),
        ("", []),
        (" ; ; ", []),
    ],
)
def test_a_sentence_becomes_one_fact_for_each_clause(sentence: str, expected: list[str]) -> None:
    assert extract_clauses("Ada Venn", sentence) == expected


@pytest.mark.parametrize(
    ("topic", "sentence", "expected"),
    [
        ("Ada Venn (chemist)", "She was born in Kelford, and she won.", ["Ada Venn was born in Kelford.", "Ada Venn won."]),
        (
            "bell hooks",
            "bell hooks, who was a writer, moved to Ostrel and died there!",
            ["bell hooks was a writer.", "bell hooks moved to Ostrel.", "bell hooks died there."],
        ),
        (
            "Kelford",
            "Kelford, which is a town, has 1,200 inhabitants and lies on the Aun.",
            ["Kelford is a town.", "Kelford has 1,200 inhabitants.", "Kelford lies on the Aun."],
        ),
        ("Dorsal fever", "It usually lasts five days and is treated with rest.", ["Dorsal fever usually lasts five days.", "Dorsal fever is treated with rest."]),
        ("Dorsal fever", "Its cause is unknown; it was first described in 1990.", ["Dorsal fever's cause is unknown.", "It was first described in 1990."]),
        ("O'Neil + Sons (firm)", "They made ropes and were sold.", ["O'Neil + Sons made ropes.", "O'Neil + Sons were sold."]),
        ("", "She was born and he died", ["She was born and he died."]),
    ],
)
def test_the_topic_is_named_without_its_bracket(topic: str, sentence: str, expected: list[str]) -> None:
    assert extract_clauses(topic, sentence) == expected


def test_any_text_gives_stripped_facts_with_a_stop_and_the_same_ones_again() -> None:
    draw = random.Random(4)
    words = [
        "She",
        "Ada",
        "Venn",
        "was",
        "and",
        "but",
        ";",
        ",",
        ", who",
        ", and",
        "(",
        ")",
        '"',
        "“",
        "”",
        "moved",
        "1,000",
        "Ahmed",
        "🏆",
        "\0",
        "آدا",
        "'s",
        "-",
        "it",
        "his",
        ".",
        "!",
        "that",
        "In",
        "\n",
    ]
    for _ in range(5000):
        sentence = " ".join(draw.choice(words) for _ in range(draw.randint(1, 25)))
        facts = extract_clauses("Ada Venn", sentence)
        assert facts == extract_clauses("Ada Venn", sentence)
        assert all(fact == fact.strip() and any(map(str.isalnum, fact)) and fact.rstrip('"”)').endswith((".", "!")) for fact in facts), (sentence, facts)


def test_a_sentence_of_a_thousand_clauses_is_cut_in_good_time() -> None:
    assert len(extract_clauses("Ada Venn", "She was born" + ", and she moved to Ostrel" * 999 + ".")) == 1000
