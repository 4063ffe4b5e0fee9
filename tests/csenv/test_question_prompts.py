"""The backend `llm`: what is asked, how replies are read, and which of them are of use."""

from __future__ import annotations

from typing import Any

import pytest

from confscoring.question_claims import Claim, Subject, claims_of, fault_of
from confscoring.question_prompts import CONTEXT_EXAMPLE, EXAMPLES, parse_question, question_messages
from volume.records import Topic

BORN = ("When was Marit Oslund born?", "1931")


def subject(topic: str, **fields: Any) -> Subject:
    return Subject.of(Topic(topic=topic, topic_id=0, questions=[], **fields))


def claim(atom: str, *shown: str, topic: str = "Marit Oslund") -> Claim:
    return Claim(subject(topic), atom, shown)


@pytest.mark.parametrize(
    ("fields", "name", "pronoun"),
    [
        ({"topic": "Marit Oslund", "pronoun": "her"}, "Marit Oslund", "her"),
        ({"topic": "Marit Oslund"}, "Marit Oslund", "them"),
        ({"topic": "Ada Venn (chemist)", "pronoun": "her"}, "Ada Venn", "her"),
        ({"topic": "Mother of pearl", "pronoun": "it"}, "Mother of pearl", "it"),
        ({"topic": "Varicose veins", "lower_case": "varicose veins"}, "varicose veins", "it"),
        ({"topic": "Lyme disease", "lower_case": "Lyme disease"}, "Lyme disease", "it"),
        ({"topic": "Breast cancer"}, "breast cancer", "them"),
        ({"topic": "Type 2 diabetes", "lower_case": " ", "pronoun": ""}, "type 2 diabetes", "them"),
        ({"topic": "Crohn's disease"}, "Crohn's disease", "them"),
        ({"topic": "Vitamin D deficiency"}, "Vitamin D deficiency", "them"),
        ({"topic": "HIV infection"}, "HIV infection", "them"),
        ({"topic": "Menopause"}, "Menopause", "them"),
        ({"topic": "Beyoncé"}, "Beyoncé", "them"),
        ({"topic": "東京 都"}, "東京 都", "them"),
        ({"topic": "(x)"}, "(x)", "them"),
    ],
)
def test_a_topic_says_by_itself_how_it_is_written_where_the_questions_file_does_not(fields: dict[str, str], name: str, pronoun: str) -> None:
    found = subject(**fields)
    assert (found.name, found.pronoun, found.topic) == (name, pronoun, fields["topic"])


def test_the_examples_are_of_use_themselves() -> None:
    for example, question, answer in (*EXAMPLES, CONTEXT_EXAMPLE):
        assert fault_of(question, answer, example) is None, question


def test_the_chat_differs_in_its_last_message_alone_and_shows_what_was_said_before() -> None:
    first, second = question_messages(claim("Marit Oslund was born in 1931.")), question_messages(claim("It is rare.", topic="Dorsal fever"))
    assert first[:-1] == second[:-1] and first[-1] != second[-1]
    assert [role for role, _ in first] == ["system", *["user", "assistant"] * len(EXAMPLES), "user"]
    assert "Marit Oslund was born in 1931." in first[-1][1] and "dorsal fever" in second[-1][1] and "Said before" not in str(first)
    shown = question_messages(claim("It has 90 pages.", "Marit Oslund wrote a book.", "It is long."), context=2)
    assert "Said before: Marit Oslund wrote a book. It is long.\nStatement: It has 90 pages." in shown[-1][1]
    assert len(shown) == len(first) + 2


@pytest.mark.parametrize(
    "reply",
    [
        "Question: When was Marit Oslund born?\nAnswer: 1931",
        "question: When was Marit Oslund born?\nanswer: 1931.",
        "**Question:** When was Marit Oslund born?\n**Answer:** 1931",
        "*Question*: When was Marit Oslund born?\n_Answer_: 1931",
        "QUESTION : When was Marit Oslund born?\r\nANSWER : 1931",
        "Question: When was Marit Oslund born? Answer: 1931",
        "Question: When was Marit Oslund born? (Answer: 1931)",
        "Question:\nWhen was Marit Oslund born?\n\nAnswer:\n1931",
        "Question: \"When was Marit Oslund born?\"\nAnswer: \"1931\"",
        "Question: “When was Marit Oslund born?”\nAnswer: “1931.”",
        "Sure! Here is the question and answer:\n\nQuestion: When was Marit Oslund born?\nAnswer: 1931\n\nLet me know if you need more.",
        "- Question: When was Marit Oslund born?\n- Answer: 1931",
        "1. Question: When was Marit Oslund born?\n   Answer: 1931\n2. Question: Where was she born?\n   Answer: Vardø",
        "Question 1: When was Marit Oslund born?\nAnswer 1: 1931\nQuestion 2: Where was she born?\nAnswer 2: Vardø",
        "Question: When was Marit Oslund born?\nAnswer: 1931 Question: Where was she born? Answer: Vardø",
        "Question: When was Marit Oslund born?\nAnswer: 1931\nStatement: Marit Oslund was born in Vardø.\nQuestion: Where was Marit Oslund born?",
        "Q: When was Marit Oslund born?\nA: 1931",
        "Q: When was Marit Oslund born? A: 1931",
        "When was Marit Oslund born? 1931",
        "When was Marit Oslund born?\n1931",
        "When was Marit Oslund born?\nAnswer: 1931 (explanation: the statement says so)",
        "Here you go: When was Marit Oslund born?\nShort answer: 1931",
        '{"question": "When was Marit Oslund born?", "answer": "1931"}',
        '```json\n{"Question": "When was Marit Oslund born?", "Answer": 1931}\n```',
        'Sure:\n[{"question": "When was Marit Oslund born?", "answer": "1931"}, {"question": "Where was she born?", "answer": "Vardø"}]',
        "Question：When was Marit Oslund born?\nAnswer：1931",
    ],
)
def test_a_question_and_its_answer_are_read_in_every_form(reply: str) -> None:
    assert parse_question(reply) == BORN


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("", ("", "")),
        ("  \n ", ("", "")),
        ("I'm sorry, but I cannot help with that.", ("", "")),
        ("Could you provide the statement?", ("Could you provide the statement?", "")),
        ("Question: When was Marit Oslund born?", ("When was Marit Oslund born?", "")),
        ("Question: Name her birthplace.\nAnswer: Vardø", ("Name her birthplace.", "")),
        ("Question:", ("", "")),
        ("Answer: 1931", ("", "")),
        ("{not json} Question: Who?\nAnswer: Bo", ("Who?", "Bo")),
        ('{"question": ["When?"], "answer": null}', ("", "")),
        ('{"question": "When?", "answer": true}', ("When?", "")),
        ("Question: Who taught her?\nAnswer: J. R. Hale Jr.", ("Who taught her?", "J. R. Hale Jr.")),
        ("Question: Who taught her?\nAnswer: the chemist (and poet) Bo.", ("Who taught her?", "the chemist (and poet) Bo")),
        ("Question: 彼女はどこで生まれましたか？\nAnswer: ヴァルデ", ("彼女はどこで生まれましたか？", "ヴァルデ")),
    ],
)
def test_what_a_reply_does_not_give_is_empty(reply: str, found: tuple[str, str]) -> None:
    assert parse_question(reply) == found


def test_of_a_reply_that_was_cut_the_last_line_is_not_believed() -> None:
    assert parse_question("Question: When was Marit Oslund born?\nAnswer: 19", cut=True) == (BORN[0], "")
    assert parse_question("Question: When was Marit Oslund born?\nAnswer: 1931\nThis is beca", cut=True) == BORN
    assert parse_question("Question: When was Marit", cut=True) == ("", "")


@pytest.mark.parametrize(
    ("question", "answer", "fault"),
    [
        ("When was Marit Oslund born?", "1931", None),
        ("When was Oslund born?", "in 1931", None),
        ("In which year was the map of her region drawn by Marit Oslund?", "1931", None),
        ("", "1931", "no question"),
        ("When was Marit Oslund born", "1931", "no question"),
        ("?", "1931", "no question"),
        ("When was Marit Oslund born?", "", "no answer"),
        ("When was Marit Oslund born?", "...", "no answer"),
        ("When was Marit Oslund born?", "She was born in 1931 in Vardø as the third child of a surveyor", "more than 12"),
        ("Was Marit Oslund born in 1931?", "1931", "contains its answer"),
        ("Was Marit Oslund born in 1931 in Vardø?", "The Vardø", "contains its answer"),
        ("Was Marit Oslund born in 1931?", "Yes", "yes or no"),
        ("Was Marit Oslund born in 1931?", "no.", "yes or no"),
        ("When was Marit Oslund born?", "unknown", "not taken"),
        ("When was Marit Oslund born?", "the", "not taken"),
        ("When was she born?", "1931", "pronoun"),
        ("In which year did her birth take place?", "1931", "pronoun"),
    ],
)
def test_a_question_is_of_use_or_it_is_said_why_not(question: str, answer: str, fault: str | None) -> None:
    found = fault_of(question, answer, claim("Marit Oslund was born in 1931 in Vardø."))
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_scripts_without_spaces_are_compared_by_their_characters() -> None:
    born = Claim(subject("張三"), "張三は1931年にヴァルデで生まれた。")
    assert fault_of("張三はどこで生まれましたか？", "ヴァルデ", born) is None
    assert "contains" in str(fault_of("張三は1931年に生まれましたか？", "1931年", born))
    assert "not taken" in str(fault_of("張三はどこで生まれましたか？", "東京", born))


def test_the_answer_may_stand_in_a_fact_that_was_shown() -> None:
    assert fault_of("Which book of Marit Oslund has 90 pages?", "Tides", claim("It has 90 pages.", "Marit Oslund wrote Tides.")) is None


def test_the_first_facts_of_a_response_are_shown_with_fewer_and_what_is_no_claim_is_not_shown() -> None:
    kinds = {"c?": "off_topic", "d?": "unparsed"}
    decisions: Any = [{"atom": atom, "is_supported": True, "kind": kinds.get(atom, "claim")} for atom in ("a b", "b", "c?", "d?", "e", "...", "f")]
    row: Any = {"topic": "X", "decisions": [decisions[:3], None, decisions[3:]]}
    found = claims_of(row, subject("X"), 2)
    assert [one.shown if one else None for one in found] == [(), ("a b",), None, None, ("a b", "b"), None, ("b", "e")]
    assert [one.shown for one in claims_of(row, subject("X")) if one] == [()] * 4


def test_claims_are_the_same_whatever_their_white_space_case_and_full_stop_but_not_behind_other_facts() -> None:
    assert claim("Marit  Oslund was a surveyor.").key == claim("marit Oslund was a Surveyor").key
    assert len({claim("She ran.").key, claim("She ran.", "a").key, claim("She ran.", topic="Ada Venn").key}) == 3
