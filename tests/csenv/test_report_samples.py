"""Samples side by side: where the facts of a response stand in it, what became of them, and what their verdicts rest on."""

from __future__ import annotations

from typing import Any

from confscoring.marking import find_spans, mark_response
from confscoring.report_samples import samples_section

FIRST = "Marie Curie was born in Warsaw in 1867, and studied physics in Paris."
TEXT = f"{FIRST}  She won two Nobel Prizes!\nShe liked <cats>."


def decision(atom: str, sentence: str, supported: bool = True, **more: Any) -> dict[str, Any]:
    return {"atom": atom, "sentence": sentence, "is_supported": supported, **more}


FACTS = [
    decision("Marie Curie was born in Warsaw.", FIRST, evidence="Maria Skłodowska was born in Warsaw."),
    decision("Marie Curie was born in 1867.", FIRST, False, p_true=0.31, nearest="She was born on 7 November."),
    decision("Marie Curie studied physics.", FIRST, False, undecided=True),
    decision("Marie Curie studied in Paris.", FIRST),
    decision("Marie Curie won two Nobel Prizes.", "She won two Nobel Prizes!"),
    decision("Marie Curie kept pets.", "Pets were kept by her."),
]
RELEVANT = [None, None, None, None, False, True]


def scored(facts: list[dict[str, Any]], text: str = TEXT) -> Any:
    return {"topic": "Marie Curie", "generation": text, "decisions": [facts]}


def marked() -> dict[str, Any]:
    return mark_response(None, None, "Marie Curie", scored(FACTS), RELEVANT)  # type: ignore[return-value]


def numbers(examples: dict[str, Any]) -> dict[str, Any]:
    runs = [{"name": name, "label": name.upper(), "present": True} for name in examples]
    return {"roles": {"reference": "sft", "main": "fs"}, "runs": runs, "examples": examples, "invented_world": False}


def test_several_facts_of_a_sentence_are_each_found_by_the_words_they_have_for_themselves() -> None:
    found = [(piece["text"], piece["status"], piece.get("fact")) for piece in marked()["pieces"]]
    assert found == [
        ("Marie Curie was born", "no_claim", None), ("in Warsaw", "correct", 0), ("in 1867", "incorrect", 1), (", and studied", "no_claim", None),
        ("physics", "incorrect", 2), ("in Paris", "correct", 3), (".", "no_claim", None), ("She won two Nobel Prizes!", "irrelevant", 4),
        ("She liked <cats>.", "no_claim", None),
    ]  # fmt: skip


def test_the_pieces_joined_are_the_text_but_for_its_white_space() -> None:
    joined = "".join(("" if piece.get("glued") else " ") + piece["text"] for piece in marked()["pieces"])
    assert joined.split() == TEXT.split()


def test_facts_that_share_all_their_words_are_not_told_apart() -> None:
    assert find_spans("She won.", 0, 8, ["Ada won.", "Ada has won."], "Ada") == []


def test_the_name_of_the_topic_is_no_word_of_a_fact_s_own() -> None:
    text = "Curie found polonium and radium."
    spans = find_spans(text, 0, len(text), ["Marie Curie found polonium.", "She found radium."], "Marie Curie")
    assert [(text[start:end], fact) for start, end, fact in spans] == [("polonium", 0), ("radium", 1)]


def test_a_sentence_with_other_white_space_is_found_and_an_earlier_one_is_not_taken_for_it() -> None:
    text = "He sings. He\n dances. He sings."
    found = mark_response(None, None, "Bo", scored([decision("Bo dances.", "He dances."), decision("Bo sings.", "He sings.")], text))
    assert [(piece["text"], piece.get("fact")) for piece in found["pieces"]] == [("He sings.", None), ("He\n dances.", 0), ("He sings.", 1)]


def test_a_fact_keeps_its_verdict_its_evidence_and_its_probability() -> None:
    facts = marked()["facts"]
    assert facts[0] == {"atom": FACTS[0]["atom"], "status": "correct", "verdict": "supported", "evidence": "Maria Skłodowska was born in Warsaw."}
    assert (facts[1]["verdict"], facts[1]["p_true"], facts[1]["nearest"]) == ("not supported", 0.31, "She was born on 7 November.")
    assert facts[2]["verdict"] == "undecided" and facts[4]["status"] == "irrelevant"


def test_the_page_shows_each_fact_with_sign_and_evidence_and_those_not_found_as_chips() -> None:
    found = samples_section(numbers({"sft": [marked()], "fs": [marked()]}))
    assert found is not None
    _, lead, content = found
    assert "by the verifier" in lead and content.count('<div class="bio">') == 2
    assert content.count('class="fact correct" tabindex="0"') == 2 * 3 and content.count('class="fact irrelevant" tabindex="0"') == 2
    assert "Evidence: “Maria Skłodowska was born in Warsaw.”" in content and "Nearest sentence in the passages: “She was born on 7 November.”" in content
    assert "Verifier: not supported (probability of true 0.31)" in content and "Verifier: undecided" in content
    chips = content[content.index('<p class="chips">') :]
    assert chips.index("Marie Curie kept pets.") < chips.index("</p>")
    assert "She liked &lt;cats&gt;." in content and "<cats>" not in content
    assert content.count('<details class="facts"><summary>Facts and evidence: 3&nbsp;✓ 2&nbsp;✗ 1&nbsp;↷</summary>') == 2


def test_an_empty_response_is_said_to_be_empty() -> None:
    empty = mark_response(None, None, "Bo", scored([], ""))
    found = samples_section(numbers({"sft": [empty], "fs": [empty]}))
    assert found is not None and found[2].count("(empty)") == 2 and "<details" not in found[2]


def test_no_examples_make_no_section() -> None:
    assert samples_section(numbers({"sft": [], "fs": []})) is None
