"""Sentences and words."""

from __future__ import annotations

import pytest

from factscoring.sentences import find_words, split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("No stop at the end", ["No stop at the end"]),
        ("Her town is Ostrel. Her home is", ["Her town is Ostrel.", "Her home is"]),
        ("Dr. Venn met Mr. Albane. They left.", ["Dr. Venn met Mr. Albane.", "They left."]),
        ("J. K. Venn wrote it. It sold.", ["J. K. Venn wrote it.", "It sold."]),
        ("He chose plan B. She did not.", ["He chose plan B.", "She did not."]),
        ("It grew by 3.5 per cent. Good.", ["It grew by 3.5 per cent.", "Good."]),
        ("He lived in the U.S. He left.", ["He lived in the U.S.", "He left."]),
        ("She joined Acme Inc. in 1990. He left.", ["She joined Acme Inc. in 1990.", "He left."]),
        ("See No. 5 there. She said no. Then she left.", ["See No. 5 there.", "She said no.", "Then she left."]),
        ("He served 1990 - 1995. Then he left.", ["He served 1990 - 1995.", "Then he left."]),
        ("first line\nsecond line. third", ["first line", "second line. third"]),
        ("1. She was born.\n2. She died.\n- She wrote.\n• She sang.", ["She was born.", "She died.", "She wrote.", "She sang."]),
        ("1990 was cold. 1991 was not.", ["1990 was cold.", "1991 was not."]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("Wait... what? Yes!", ["Wait... what?", "Yes!"]),
        ("Her town is Ostrel . Her home is Kelford .", ["Her town is Ostrel .", "Her home is Kelford ."]),
        ("هل ولدت هنا؟ نعم.", ["هل ولدت هنا؟", "نعم."]),
        ("She won 🏆. He lost.", ["She won 🏆.", "He lost."]),
        ("...", ["..."]),
        (". . .", [".", ".", "."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


def test_nothing_but_space_and_list_marks_is_lost() -> None:
    text = "Dr. A. B. Venn, b. 1950, left in Oct. 1970. He said: (No!) It was 3.5 km. END"
    assert " ".join(split_sentences(text)) == text


def test_a_response_of_two_hundred_sentences_is_split_into_two_hundred() -> None:
    assert len(split_sentences(" ".join(f"Sentence {number} ends here." for number in range(200)))) == 200


def test_words_are_lower_case_keep_hyphens_and_lose_apostrophes() -> None:
    assert find_words("Ada O'Neil's Saint-Brel, 1990 - 1995!") == ["ada", "o", "neil", "s", "saint-brel", "1990", "1995"]
