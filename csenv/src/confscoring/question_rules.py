"""The backend `rules`: questions by patterns of English clauses; no model and no service.

One part of the fact is cut out and asked for, with all the rest left in the question: the more a question says, the less doubt
about what it means. Asked for, the first that there is: a reason, a date, an age, a length of time, a number, what does something
to the topic, a profession or a kind, a place or what else follows a preposition, an object. "Marit Oslund won the Ostrel Prize in
1990." is asked as "When did Marit Oslund win the Ostrel Prize?". An answer loses its "a" or "an".

Where the base form of a verb is not known the verb stays as it is: "What was it that Marit Oslund honed?". A question that does
not name the topic is given it: "With regard to dorsal fever, what do common symptoms include?".

A fact gets no question where no pattern fits, or where only "Is it so?" could be asked, to which a model says yes: denials, "is
contagious", "retired"; nor do facts without a verb, questions, facts of more than 60 words, and languages other than English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from confscoring import question_patterns as patterns
from confscoring.question_claims import Asked, Claim, fault_of, words_of
from confscoring.question_clause import finish, read_clause
from confscoring.question_complements import Pair
from confscoring.question_targets import find_targets

VERSION = "rules-1"
MOST_WORDS = 40  # of a question

_THERE = re.compile(rf"There (?P<be>is|are|was|were) (?P<number>{patterns.NUMBER}) (?P<what>[a-z].+)")
_RELATIVE = re.compile(r"(?:an?|the|one of the) .*?,? (?:that|which|who) (?P<said>.+)")
_EMPTY = frozenset("he she it they him her them this that these those himself herself itself one some many several most a an the".split())


class RuleQuestions:
    """Asks by patterns."""

    def ask(self, claims: Sequence[Claim]) -> list[Asked]:
        """Return what became of every claim, in order."""
        return [Asked(*(ask_by_rules(claim) or (None, None))) for claim in claims]

    def identity(self) -> dict[str, Any]:
        """Return what the questions depend on."""
        return {"backend": "rules", "version": VERSION}


def ask_by_rules(claim: Claim) -> Pair | None:
    """Return the best question about a claim and its answer; None where there is none."""
    name = claim.subject.name
    for question, answer in _find_pairs(claim.atom, name):
        answer = re.sub(r"^an? (?=\w)", "", answer.strip(" ,."))
        if not _names(question, name):
            question = f"With regard to {name}, {question[0].lower()}{question[1:]}"
        if set(words_of(answer)) <= _EMPTY or len(question.split()) > MOST_WORDS or fault_of(question, answer, claim):
            continue
        return question, answer
    return None


def _names(question: str, name: str) -> bool:
    """Return whether a question says what it is about: the whole name, or a person's surname."""
    last = name.split()[-1]
    return name.casefold() in question.casefold() or (last[0].isupper() and re.search(rf"(?<!\w){re.escape(last)}(?!\w)", question) is not None)


def _find_pairs(atom: str, name: str) -> Iterator[Pair]:
    there = _THERE.fullmatch(atom.strip(" ."))
    if there:
        yield finish("how many", there["what"], there["be"], "there"), there["number"]
        return
    clause = read_clause(atom, name)
    if clause is None:
        return
    relative = _RELATIVE.fullmatch(clause.rest) if clause.base == "be" else None
    if relative:  # "is a disease that affects the liver": what it does says more than what it is
        subject = clause.subject[:1].upper() + clause.subject[1:]
        yield from _find_pairs(f"{subject} {relative['said']}", name)
    yield from find_targets(clause, name)
