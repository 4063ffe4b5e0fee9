"""Lists of facts as language models write them."""

from __future__ import annotations

import random

import pytest

from factscoring.fact_list import FactList, parse_facts

BORN, MOVED, RULED = "Ada Venn was born in Kelford.", "Ada Venn moved to Ostrel.", "Ada Venn ruled 1990 - 1995."
FENCE = "```"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("", []),
        (" \n\t\n", []),
        (f"- {BORN}\n- {MOVED}", [BORN, MOVED]),
        (f"* {BORN}\n* {MOVED}", [BORN, MOVED]),
        (f"• {BORN}\n•{MOVED}", [BORN, MOVED]),
        (f"– {BORN}\n— {MOVED}", [BORN, MOVED]),
        (f"-{BORN}\n-{MOVED}", [BORN, MOVED]),
        (f"1. {BORN}\n2. {MOVED}", [BORN, MOVED]),
        (f"1) {BORN}\n2) {MOVED}", [BORN, MOVED]),
        (f"(1) {BORN}\n(2) {MOVED}", [BORN, MOVED]),
        (f"1.{BORN}\n2.{MOVED}", [BORN, MOVED]),
        (f"**1.** {BORN}\n**2.** {MOVED}", [BORN, MOVED]),
        (f"**1. {BORN}**\n**2. {MOVED}**", [BORN, MOVED]),
        (f"- **{BORN}**\n- **Ada Venn** moved to Ostrel.", [BORN, MOVED]),
        (f"- [ ] {BORN}\n- [x] {MOVED}", [BORN, MOVED]),
        (f"Fact 1: {BORN}\nFact 2: {MOVED}", [BORN, MOVED]),
        (f"- Atomic fact #1: {BORN}\n**Fact 2:** {MOVED}", [BORN, MOVED]),
        (f"{FENCE}\n- {BORN}\n- {MOVED}\n{FENCE}", [BORN, MOVED]),
        (f"{FENCE}markdown\n{BORN}\n{MOVED}\n{FENCE}", [BORN, MOVED]),
        (f"- {BORN}\r\n- {MOVED}\r\n", [BORN, MOVED]),
        (f"Here are the facts:\n\n- {BORN}\n- {MOVED}\n\nI hope this helps!", [BORN, MOVED]),
        (f"Sure! Here are the facts:\n1. {BORN}\nLet me know if you need more.", [BORN]),
        (f"- Life:\n  - {BORN}\n    - {MOVED}", [BORN, MOVED]),
        ("- Ada Venn was born in\n  the town of Kelford.\n- Ada Venn moved\n\tto Ostrel.", ["Ada Venn was born in the town of Kelford.", MOVED]),
        ("-\n  Ada Venn moved to Ostrel.", [MOVED]),
        (f"- {BORN}\n\n  Done.", [BORN]),
        # Dashes, years and numbers inside an item.
        (f"- {RULED}", [RULED]),
        (RULED, [RULED]),
        ("- 1990 - 1995 were the years of her rule.", ["1990 - 1995 were the years of her rule."]),
        ("1990 - 1995 were the years of her rule.", ["1990 - 1995 were the years of her rule."]),
        ("1. 1990 – 1995 were good. They were.", ["1990 – 1995 were good. They were."]),
        ("- She wrote (1) a book; and 2. a play - both in 1990.", ["She wrote (1) a book; and 2. a play - both in 1990."]),
        ("- It cost 1.5 million.\n- 2.5 million came.", ["It cost 1.5 million.", "2.5 million came."]),
        ("1.5 million came.\n-5 degrees was the record.", ["1.5 million came.", "-5 degrees was the record."]),
        ("- 2 ** 3 ** 2 is 512.", ["2 ** 3 ** 2 is 512."]),
        # What is dropped.
        (f"- \n-\n- {BORN}\n* \n3.\n---\n- ...", [BORN]),
        ("None", []),
        ("- None.", []),
        ("- No facts", []),
        ("- N/A\n- NA", []),
        ("There are no facts in this sentence.", []),
        ("- No verifiable claims can be extracted from the sentence.", []),
        ("- (none)", []),
        ("- No Facts Society was founded in 1990.", ["No Facts Society was founded in 1990."]),
        (f"- {BORN}\n- ada venn  was born in KELFORD.\n- {MOVED}\n- {BORN}", [BORN, MOVED]),
        # Lines without any mark.
        (f"{BORN}\n{MOVED}", [BORN, MOVED]),
        (f"Here are the facts:\n{BORN}\n\n{MOVED}\nI hope this helps!", [BORN, MOVED]),
        (f"Facts:\n{BORN}\nDo you need more?", [BORN]),
        (f"## Facts\n{BORN}", [BORN]),
        ("Sure Thing is an album by Ada Venn.", ["Sure Thing is an album by Ada Venn."]),
        # JSON.
        (f'["{BORN}", "{MOVED}"]', [BORN, MOVED]),
        (f'Here you go:\n{FENCE}json\n[\n  "{BORN}",\n  "{MOVED}"\n]\n{FENCE}\nDone!', [BORN, MOVED]),
        ("[]", []),
        ("- [1] was her first paper.\n- [2] was not.", ["[1] was her first paper.", "[2] was not."]),
        ("[1] was her first paper.", ["[1] was her first paper."]),
        # Other scripts.
        ("- ولدت آدا في كيلفورد.\n- Ada won a 🏆.", ["ولدت آدا في كيلفورد.", "Ada won a 🏆."]),
    ],
)
def test_facts_are_read_from_any_kind_of_list(reply: str, expected: list[str]) -> None:
    assert parse_facts(reply) == FactList(tuple(expected), refused=False)


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I cannot break this sentence down.",
        "I’m sorry, but I can’t help with that. Please give me another sentence.",
        "I apologize, but the sentence holds no facts.",
        "As an AI language model, I cannot judge this.\nPlease give me a sentence.",
        "- I'm sorry, but I cannot list any facts.",
        "1. As an AI, I do not have opinions.",
        "I cannot do this. You could:\n- give me more context\n- check the spelling",
        '["I am sorry, I cannot help."]',
        "- None\nI'm sorry, I could not find any facts.",
    ],
)
def test_a_refusal_is_no_fact(reply: str) -> None:
    assert parse_facts(reply) == FactList((), refused=True)


@pytest.mark.parametrize(
    "reply",
    [
        f"- {BORN}\n- I'm sorry, but I cannot list more.",
        f"- {BORN} I'm sorry, I cannot say more.",
        f"- {BORN}\n\nI'm sorry, but I cannot list more.",
        f"{BORN}\nI'm sorry, but I cannot list more.\nPlease ask again.",
        f"I apologize for the confusion. Here are the facts:\n- {BORN}",
    ],
)
def test_facts_beside_a_refusal_are_kept(reply: str) -> None:
    assert parse_facts(reply) == FactList((BORN,), refused=False)


MARKS = {
    "dash": "- {fact}",
    "star": "* {fact}",
    "bullet": "• {fact}",
    "long dash": "– {fact}",
    "number": "{number}. {fact}",
    "bracket": "{number}) {fact}",
    "brackets": "({number}) {fact}",
    "bold number": "**{number}.** {fact}",
    "bold": "- **{fact}**",
    "label": "Fact {number}: {fact}",
    "indent": "   - {fact}",
    "none": "{fact}",
}


@pytest.mark.parametrize("mark", MARKS)
def test_facts_come_back_whatever_mark_they_were_written_with(mark: str) -> None:
    draw = random.Random(mark)
    openings = ["Ada Venn", "1990 - 1995", "“Ada”", "3.5 per cent", "The A-B Co. (1990)", "آدا"]
    for _ in range(200):
        facts = [f"{draw.choice(openings)} said - {number}, 2. and {draw.randrange(9999)}; so." for number in range(draw.randint(1, 30))]
        lines = [MARKS[mark].format(number=number, fact=fact) for number, fact in enumerate(facts, 1)]
        before, after = draw.choice([("", ""), ("Here are the facts:\n", "\nI hope this helps!"), ("```\n", "\n```")])
        assert parse_facts(before + draw.choice(["\n", "\r\n", "\n\n"]).join(lines) + after).facts == tuple(facts)
