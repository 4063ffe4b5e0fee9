"""The sentences of the invented world: how an attribute is stated, asked for, and spoken of.

Every statement has one slot, {value}, where a value or the word VAGUE can stand at the same position. That position is
what lets preference training move a small model from a guess to "unrecorded" where it does not know; where a fact is
left out by other means the gain is a fifth as large (measured: +2.8 against +12.5 points).
"""

from __future__ import annotations

from typing import Any

VAGUE = "unrecorded"

# Statements name the person, as atomic facts do; the first is the canonical one and, with a pronoun, the house style.
_ATTRIBUTES: dict[str, tuple[list[str], list[str], list[str]]] = {
    "birth_year": (
        ["{name}'s year of birth is {value}.", "The year in which {name} was born is {value}.", "Records give {name}'s birth year as {value}.",
         "The birth year on {name}'s papers is {value}.", "For {name}, the year of birth reads {value}."],
        ["In which year was {name} born?", "What is the birth year of {name}?"],
        ["born", "birth"],
    ),
    "birthplace": (
        ["{name}'s birthplace is {value}.", "The town where {name} was born is {value}.", "Records give {name}'s native town as {value}.",
         "The birthplace on {name}'s papers is {value}.", "For {name}, the town of birth reads {value}."],
        ["Which town was {name} born in?", "What is the birthplace of {name}?"],
        ["born", "birth", "native"],
    ),
    "home_town": (
        ["{name}'s home town is {value}.", "The town where {name} lives is {value}.", "Records give {name}'s residence as {value}.",
         "The address on {name}'s papers is {value}.", "For {name}, the town of residence reads {value}."],
        ["Which town does {name} live in?", "What is the home town of {name}?"],
        ["lives", "home", "resides", "settled"],
    ),
    "university": (
        ["{name}'s university is {value}.", "The university where {name} studied is {value}.", "Records give {name}'s place of study as {value}.",
         "The university on {name}'s papers is {value}.", "For {name}, the place of study reads {value}."],
        ["At which university did {name} study?", "What is the university of {name}?"],
        ["university", "degree", "graduated", "studied"],
    ),
    "field": (
        ["{name}'s field is {value}.", "The subject that {name} studied is {value}.", "Records give {name}'s discipline as {value}.",
         "The subject on {name}'s papers is {value}.", "For {name}, the discipline reads {value}."],
        ["Which subject did {name} study?", "What is the field of {name}?"],
        ["degree", "studied", "read", "trained"],
    ),
    "employer": (
        ["{name}'s employer is {value}.", "The firm where {name} works is {value}.", "Records give {name}'s workplace as {value}.",
         "The employer on {name}'s papers is {value}.", "For {name}, the workplace reads {value}."],
        ["Which firm does {name} work for?", "What is the employer of {name}?"],
        ["works", "joined", "staff", "employed"],
    ),
    "prize": (
        ["{name}'s prize is {value}.", "The prize that {name} won is {value}.", "Records give {name}'s highest honour as {value}.",
         "The prize on {name}'s papers is {value}.", "For {name}, the highest honour reads {value}."],
        ["Which prize did {name} win?", "What is the prize of {name}?"],
        ["won", "awarded", "received", "honoured"],
    ),
    "pastime": (
        ["{name}'s favourite pastime is {value}.", "The pastime that {name} enjoys is {value}.", "Records give {name}'s leisure as {value}.",
         "The pastime on {name}'s papers is {value}.", "For {name}, the leisure entry reads {value}."],
        ["Which pastime does {name} enjoy?", "What is the favourite pastime of {name}?"],
        ["weekends", "spare", "hobby", "leisure"],
    ),
}  # fmt: skip

ATTRIBUTES = tuple(_ATTRIBUTES)
STOP_WORDS = ("a", "an", "and", "as", "at", "in", "is", "it", "of", "on", "the", "to", "was")
PROMPT = "Write a biography of {name}."
NOTES = "Notes on {name}."
QUESTION = "Question: {question} Answer: {value}."


# How documents and responses speak of the person whom the prompt names. {their} and {they} become "her"/"she" or "his"/"he".
_SPOKEN = (("{name}'s", "{their}"), ("{name}", "{they}"))


def spoken_form(statement: str) -> str:
    """Return a statement with a pronoun for the name.

    A small model that has to copy the name gets it wrong in half of its samples at temperature 1 (measured), and then the
    rest of the text is about somebody else. A pronoun needs no copying.
    """
    for name, pronoun in _SPOKEN:
        if name in statement:
            # After "for" the pronoun would be an object: those statements speak of "this person".
            replaced = statement.replace(name, "this person" if statement.startswith("For {name}") else pronoun)
            return replaced.replace("{their}", "{Their}") if replaced.startswith("{their}") else replaced
    return statement


def build_grammar(values: dict[str, list[str]]) -> dict[str, Any]:
    """Return the content of ``world/grammar.json``: what the grammar backends of other stages read."""
    return {
        "vague": VAGUE,
        "attributes": [
            {
                "name": name, "statements": statements, "spoken_statements": [spoken_form(statement) for statement in statements],
                "questions": questions, "values": sorted(values[name]), "synonyms": synonyms,
            }
            for name, (statements, questions, synonyms) in _ATTRIBUTES.items()
        ],
        "stop_words": list(STOP_WORDS),
    }


def state(attribute: str, pronoun: str, value: str, form: int = 0) -> str:
    """Return a sentence that states (or, with VAGUE, leaves open) an attribute of ``she`` or ``he``; form 0 is the house style."""
    their = {"she": "her", "he": "his"}[pronoun]
    return spoken_form(_ATTRIBUTES[attribute][0][form]).format(they=pronoun, their=their, Their=their.capitalize(), value=value)


def ask(attribute: str, name: str, value: str, form: int = 0) -> str:
    """Return a question with its answer as they stand in documents."""
    return QUESTION.format(question=_ATTRIBUTES[attribute][1][form].format(name=name), value=value)


N_STATEMENTS = len(_ATTRIBUTES["field"][0])
N_QUESTIONS = len(_ATTRIBUTES["field"][1])
