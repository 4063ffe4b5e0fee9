"""What a span is, whatever finds it: which of two that overlap is taken, the topic's own name, the grammar of the synthetic world."""

from __future__ import annotations

from pathlib import Path

import pytest

from confscoring.span_finders import open_finder
from confscoring.span_grammar import GrammarFinder
from confscoring.spans import names_topic, select, trim
from confscoring.synthetic.grammar import build_grammar
from confscoring.synthetic.people import create_people
from volume.errors import UsageError
from volume.files import write_json
from volume.settings import EntitiesSettings, WorldSettings


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    path = tmp_path / "grammar.json"
    write_json(path, build_grammar(create_people(0, WorldSettings(people=60))[1]))
    return path


@pytest.mark.parametrize(("text", "topic", "expected"), [
    ("Marie Curie", "Marie Curie", True),
    ("Curie", "Marie Curie", True),
    ("Curie's", "Marie Curie", True),
    ("marie curie’s", "Marie Curie", True),
    ("the Curie", "Marie Curie", True),
    ("Curies", "Marie Curie", False),
    ("Pierre Curie", "Marie Curie", False),
    ("Marie Skłodowska Curie", "Marie Curie", False),
    ("J.K. Rowling", "J. K. Rowling", True),
    ("baseball", "John Smith (baseball)", False),
    ("Smith", "John Smith (baseball)", True),
    ("(sic)", "(sic)", True),
    ("the frostbite", "Frostbite", True),
    ("Oxford", "University of Oxford", True),
    ("the", "The The", False),
    ("O\u0308do\u0308n", "Ödön Ács", True),
    ("居里夫人", "居里夫人", True),
    ("1984", "", False),
])  # fmt: skip
def test_a_span_of_the_topics_words_alone_is_given_by_the_question(text: str, topic: str, expected: bool) -> None:
    assert names_topic(text, topic) is expected


def test_of_two_spans_that_overlap_the_earlier_list_then_the_longer_is_taken() -> None:
    text = "the old Ada Beck of Melby"
    assert select(text, "", [(8, 11)], [(0, 16), (17, 25)]) == [(8, 11), (17, 25)]
    assert select(text, "", [(8, 11), (4, 16), (0, 7)]) == [(4, 16)]
    assert select(text, "", [], []) == []
    # Where the topic's name was chosen, nothing else is taken in its place.
    assert select(text, "Ada Beck", [(8, 16)], [(0, 16), (20, 25)]) == [(20, 25)]


def test_white_space_around_a_span_is_no_part_of_it_and_punctuation_alone_is_none() -> None:
    assert trim("a \n Ada ,", (1, 8)) == (4, 7)
    assert trim("a , b", (1, 4)) is None and trim("a", (0, 0)) is None
    assert select("a \n Ada ,", "", [(1, 8), (7, 9)]) == [(4, 7)]


def test_the_grammar_finds_the_stated_values_in_order(grammar: Path) -> None:
    finder = GrammarFinder(grammar)
    text = "Her year of birth is 1950. Her birthplace is unrecorded. The town where she lives is Melby. Nonsense. For this person, the discipline reads law."
    assert [text[start:end] for start, end in finder.find(text, "Ada Beck")] == ["1950", "Melby", "law"]
    assert finder.find("", "Ada Beck") == [] and finder.identity == {"finder": "grammar"}


def test_the_backend_and_what_is_there_decide_who_finds(grammar: Path, tmp_path: Path) -> None:
    assert open_finder(EntitiesSettings(backend="grammar"), tmp_path, grammar).identity == {"finder": "grammar"}
    rules = open_finder(EntitiesSettings(backend="spacy", spans="both"), tmp_path, tmp_path / "none.json")
    assert rules.identity == {"finder": "rules", "version": "1", "spans": "both"}
    with pytest.raises(UsageError, match="none.json is missing"):
        open_finder(EntitiesSettings(backend="grammar"), tmp_path, tmp_path / "none.json")
