"""The lexical verifier: whose fact a sentence states, and whether it states this one."""

from __future__ import annotations

import pytest

from factscoring.facts import Fact
from factscoring.judgements import Question
from factscoring.verdict import LexicalVerifier, nearest_sentence

TOPIC = "Ada Albane"
CUES = {"birthplace": ["born", "native"], "home_town": ["lives", "settled"], "study": ["place of study"]}
BORN = Fact("Ada Albane's birthplace is Ostrel.", "claim", "", "birthplace", "Ostrel")


def evidence(*passages: str, fact: Fact = BORN, topic: str = TOPIC) -> str | None:
    return LexicalVerifier(CUES).find_evidence(topic, fact, passages)


@pytest.mark.parametrize(
    "sentence",
    [
        "Ada Albane was born in Ostrel.",
        "Albane was born in Ostrel, the second of four children.",
        "A. Albane is a native of Ostrel.",
        "She was born in Ostrel.",
        "He was born in OSTREL.",
        "Parish books show that she was born in Ostrel.",
        "Parish books show that Albane was born in Ostrel.",
        "Records give her native town as Ostrel.",
        "Ostrel is where Albane was born.",
        "When Albane was born, Ostrel was a village.",
        "Albane was born in Ostrel, as was Oskar Venn.",
        "Dr. Albane was born in Ostrel.",
        "She, who taught Latin, was born in Ostrel.",
        "Albane’s birthplace — she was born there — is Ostrel.",
    ],
)
def test_a_sentence_about_the_topic_supports_its_fact(sentence: str) -> None:
    assert evidence(f"Friends recall a dry sense of humour. {sentence} The archive is open.") == sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "Oskar Venn was born in Ostrel.",
        "A teacher, Oskar Venn, was born in Ostrel.",
        "Oskar Venn, who taught her, was born in Ostrel.",
        "Oskar Venn, who taught Albane, was born in Ostrel.",
        "Albane was taught by Oskar Venn, who was born in Ostrel.",
        "Elin Albane was born in Ostrel.",
        "A rival, F. Venn, was born in Ostrel.",
        "Her teacher was born in Ostrel.",
        "Albane's cousin was born in Ostrel.",
        "Venn, whom she taught, was born in Ostrel.",
        "People are born in Ostrel.",
        "She was born in Kelford.",
        "She was born in Ostrelford.",
        "She was born in New-Ostrel.",
        "She lives in Ostrel.",
        "She was airborne over Ostrel.",
        "Ostrel.",
        "",
    ],
)
def test_a_sentence_about_somebody_or_something_else_does_not(sentence: str) -> None:
    assert evidence(sentence) is None


def test_the_parts_must_meet_in_one_sentence() -> None:
    assert evidence("Albane was born in spring. She likes Ostrel.") is None
    assert evidence("Albane was born in spring.", "She likes Ostrel.") is None


def test_the_cue_tells_birthplace_from_home_town() -> None:
    text = "She was born in Ostrel. She lives in Kelford."
    home = Fact("Ada Albane's home town is Ostrel.", "claim", "", "home_town", "Ostrel")
    assert evidence(text) == "She was born in Ostrel."
    assert evidence(text, fact=home) is None


def test_the_evidence_comes_from_the_best_passage_that_has_any() -> None:
    assert evidence("Nothing.", "Albane is a native of Ostrel.", "She was born in Ostrel.") == "Albane is a native of Ostrel."
    assert evidence() is None


@pytest.mark.parametrize("kind", ["unparsed", "off_topic"])
def test_what_is_no_claim_about_the_topic_is_not_looked_up(kind: str) -> None:
    fact = Fact(BORN.atom, kind, "", "birthplace", "Ostrel")  # type: ignore[arg-type]
    assert evidence("Ada Albane was born in Ostrel.", fact=fact) is None


def test_values_and_cues_of_several_words_must_stand_side_by_side() -> None:
    fact = Fact("Ada Albane's place of study is New Marvia.", "claim", "", "study", "New Marvia")
    assert evidence("Her place of study was New Marvia.", fact=fact)
    assert evidence("Her place of study was Marvia, the New.", fact=fact) is None
    assert evidence("Her study was a place in New Marvia.", fact=fact) is None


def test_without_cues_all_content_words_of_the_fact_are_needed() -> None:
    fact = Fact("Ada Albane won the silver medal.", "claim", "")
    assert evidence("In May she won a silver medal.", fact=fact)
    assert evidence("In May she won a medal.", fact=fact) is None
    assert evidence("Oskar Venn won a silver medal.", fact=fact) is None
    assert evidence("She is.", fact=Fact("Ada Albane is.", "claim", "")) is None  # stop words only: nothing to look for


def test_the_nearest_sentence_shares_most_words_with_the_fact_and_the_first_wins() -> None:
    passages = ("Oskar Venn was born in Tarwick. He taught in Ostrel.", "He taught chemistry in Ostrel for years. He taught chemistry in Ostrel again.")
    fact = Fact("Oskar Venn taught chemistry in Ostrel.", "claim", "")
    assert nearest_sentence(Question("Oskar Venn", fact, passages)) == "He taught chemistry in Ostrel for years."
    assert nearest_sentence(Question("Oskar Venn", Fact("Oskar Venn sailed.", "claim", ""), passages)) is None
    assert nearest_sentence(Question("Oskar Venn", fact, ())) is None
