"""What a language model is asked for: the question behind a fact, with the fact's own answer; and how its reply is read.

The wording is this project's own. A change of it changes scores: raise the version, so that recorded calls of the old
wording stay apart, and say it in CHANGELOG.md.
"""

from __future__ import annotations

import json
import re
from typing import Any

from confscoring.question_claims import Claim, Subject

PROMPT_VERSION = "questions-1"

SYSTEM = (
    "You turn a statement into a quiz question that tests its key fact, and give the answer that the statement gives. Who reads the question "
    "has not seen the statement: name whom or what it is about instead of using a pronoun, and leave as little doubt as possible about what "
    "kind of answer is meant. Ask for a name, a place, a date, a number or a thing, not for yes or no. The question must not contain its "
    "answer. The answer is as short as possible and copied from the statement. Write two lines and nothing else:\nQuestion: ...\nAnswer: ..."
)
AGAIN = "{fault} Write the two lines once more: Question, and Answer."

_PERSON = Subject("Marit Oslund", "Marit Oslund", "her")
_CONDITION = Subject("Dorsal fever", "dorsal fever", "it")
# (claim, question, answer). An invented person and an invented condition, so that no example can be a topic of a dataset.
EXAMPLES = (
    (Claim(_PERSON, "Marit Oslund was born in Vardø."), "In which town was Marit Oslund born?", "Vardø"),
    (Claim(_PERSON, "Marit Oslund drew the first map of the harbour in 1958."), "In which year did Marit Oslund draw the first map of the harbour?", "1958"),
    (Claim(_PERSON, "Her brother Anders worked as a ship's carpenter."), "What was the profession of Marit Oslund's brother Anders?", "ship's carpenter"),
    (Claim(_CONDITION, "Dorsal fever usually lasts five to seven days."), "How long does dorsal fever usually last?", "five to seven days"),
    (Claim(_CONDITION, "Dorsal fever is most common in young sheep farmers."), "Among which group of people is dorsal fever most common?", "young sheep farmers"),
    (Claim(_CONDITION, "The rash is treated with a zinc ointment."), "With what is the rash of dorsal fever treated?", "a zinc ointment"),
)
# Shown where facts are shown with others.
CONTEXT_EXAMPLE = (
    Claim(_PERSON, "The book was printed in Tromsø.", ("Marit Oslund wrote a book about tides.", "The book has 90 pages.")),
    "In which town was Marit Oslund's book about tides printed?",
    "Tromsø",
)

Messages = tuple[tuple[str, str], ...]

_NUMBER = r"\s*(?:#?\d{1,2})?\s*[:：]\s*"
_QUESTION = re.compile(rf"(?:\bquestion|(?<=\n)q){_NUMBER}", re.IGNORECASE)
_ANSWER = re.compile(rf"(?:\b(?:(?:short|claim's) )?answer|(?:(?<=\n)|(?<=[?？؟] ))a){_NUMBER}", re.IGNORECASE)
_NEXT = re.compile(rf"\s*(?:[(\[–—|-]\s*)?\b(?:question|statement|explanation|note|reason|subject){_NUMBER}", re.IGNORECASE)
_ASKS = re.compile(r"[^\n]*?[?？؟]")
_CHATTER = re.compile(r"\s*(?:sure|certainly|of course|okay|ok|here)\b[^:?\n]*: ", re.IGNORECASE)
_MARKS = re.compile(r"\*+|(?<!\w)_+|_+(?!\w)|`+|^[ \t]*(?:[-•>#]+|\d{1,2}[.)])[ \t]+", re.MULTILINE)
_QUOTES = "\"“”„«»'‘’"
_ABBREVIATION = re.compile(r"(?:\b[^\W\d_]|\b(?:Jr|Sr|St|Dr|Inc|Ltd|Co|No|approx|ca))\.$")


def question_messages(claim: Claim, context: int = 0) -> Messages:
    """Return the chat that asks about a claim; all but its last message is the same for every claim.

    Args:
        context: Facts that are shown with a fact at most: with any, the examples show it.
    """
    messages = [("system", SYSTEM)]
    for example, question, answer in (*EXAMPLES, *((CONTEXT_EXAMPLE,) if context else ())):
        messages += [("user", _say(example)), ("assistant", f"Question: {question}\nAnswer: {answer}")]
    return (*messages, ("user", _say(claim)))


def _say(claim: Claim) -> str:
    before = f"Said before: {' '.join(claim.shown)}\n" if claim.shown else ""
    return f"Subject: {claim.subject.name}, or something or somebody connected with {claim.subject.pronoun}\n{before}Statement: {claim.atom}"


def parse_question(reply: str, cut: bool = False) -> tuple[str, str]:
    """Return the first question in a reply and its answer; "" for what it does not give.

    Labels in any case, bold, numbered, on a line of their own or both in one line; a JSON object or a list of them; a question
    without a label, its answer behind it or on the next line.

    Args:
        cut: The reply was cut at its greatest length, so its last line is not whole.
    """
    found = _read_json(reply)
    if found is None:
        text = _MARKS.sub("", "\n" + reply.replace("\r", "\n"))
        found = _read_lines(text.rpartition("\n")[0] if cut else text)
    question, answer = (" ".join(part.split()) for part in found)
    return question.strip(_QUOTES + " "), _bare(answer)


def _read_json(reply: str) -> tuple[str, str] | None:
    for start in re.finditer(r"\{", reply):
        try:
            value, _ = json.JSONDecoder().raw_decode(reply[start.start() :])
        except (json.JSONDecodeError, RecursionError):
            continue
        fields: dict[str, Any] = {str(key).casefold(): part for key, part in value.items()}
        if "question" in fields:
            question, answer = fields["question"], fields.get("answer")
            plain = isinstance(answer, (str, int, float)) and not isinstance(answer, bool)
            return question if isinstance(question, str) else "", str(answer) if plain else ""
    return None


def _read_lines(text: str) -> tuple[str, str]:
    label = _QUESTION.search(text)
    chatter = _CHATTER.match(text)
    start = label.end() if label else chatter.end() if chatter else 0
    answer_label = _ANSWER.search(text, start)
    asked = text[start : answer_label.start() if answer_label else len(text)]
    question = _ASKS.search(asked)
    if question is None:
        return (asked.strip().partition("\n")[0] if label else ""), ""
    if answer_label is None:
        given = asked[question.end() :]
    else:
        given = text[answer_label.end() :]
    line = given.strip(" \n" + _QUOTES + "-–—:").partition("\n")[0]
    following = _NEXT.search(line)
    return question.group().strip(), line[: following.start()] if following else line


def _bare(answer: str) -> str:
    """Return an answer without quotes and without the full stop of a sentence that it is not."""
    text = answer.strip(_QUOTES + " ,;")
    text = text if "(" in text else text.rstrip(")")
    if text.endswith(".") and not _ABBREVIATION.search(text):
        text = text.rstrip(". ").rstrip(_QUOTES)
    return text
