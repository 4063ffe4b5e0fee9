"""The prompts, and what is read out of a verdict."""

from __future__ import annotations

import pytest

from factscoring.fact_list import parse_facts
from factscoring.prompts import FACTS_EXAMPLES, facts_messages, parse_verdict, verdict_messages


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("True", True),
        ("False.", False),
        (" true\n", True),
        ("**False**", False),
        ("True. The passages never call it false.", True),
        ("False: it is not true that she was born there.", False),
        ("The claim is true.", True),
        ("Answer: False", False),
        ("True or False? True", True),
        ("The claim is not true.", None),
        ("It isn't false.", None),
        ("It could be true, it could be false.", None),
        ("True or False?", None),
        ("", None),
        ("I cannot tell from the passages.", None),
        ("The passages give no information on this.", None),
        ("Untrue", None),
        ("Truer words were never spoken", None),
        ("Правда", None),
    ],
)
def test_a_verdict_is_read_only_where_it_is_given(reply: str, verdict: bool | None) -> None:
    assert parse_verdict(reply) is verdict


def test_all_but_the_last_message_is_the_same_for_every_sentence() -> None:
    one, other = facts_messages("Ada Albane", "She was born in Ostrel."), facts_messages("Oskar Venn", "He paints.")
    assert one[:-1] == other[:-1] and one[-1] == ("user", "Subject: Ada Albane\nSentence: She was born in Ostrel.")


def test_the_examples_in_the_prompt_are_read_as_they_are_meant() -> None:
    assert [len(parse_facts(facts).facts) for _, _, facts in FACTS_EXAMPLES] == [5, 3, 0]


def test_the_best_passage_stands_last_and_no_passage_is_said() -> None:
    text = verdict_messages("Ada Albane", "Ada Albane was born in Ostrel.", ["best", "second"])[-1][1]
    assert text.index("Text: second") < text.index("Text: best") < text.index("Claim about Ada Albane: Ada Albane was born in Ostrel.")
    assert "(there is no passage)" in verdict_messages("Ada Albane", "x", [])[-1][1]
