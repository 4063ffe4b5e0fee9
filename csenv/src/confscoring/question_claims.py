"""What is asked about, what a question is, and when one is of use, whatever the backend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from volume.errors import ItemError
from volume.records import ScoredResponse, Topic

MOST_WORDS = 12  # of an answer: more are no answer that a sample could repeat

_WORD = re.compile(r"[^\W_]+(?:[.,][0-9]+)*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")  # Thai to Khmer, kana, Chinese characters
_PRONOUNS = frozenset("he she it they him her them his its their hers theirs himself herself itself themselves".split())
_SMALL = frozenset("a an the and or of in on at to for by with as is was were are".split())


@dataclass(frozen=True)
class Subject:
    """Whom or what a topic is about.

    Attributes:
        topic: The topic's title.
        name: How it is written in the middle of a sentence, without a Wikipedia bracket: "Ada Venn", "dorsal fever".
        pronoun: "him", "her", "it", "them".
    """

    topic: str
    name: str
    pronoun: str

    @classmethod
    def of(cls, topic: Topic) -> Subject:
        """Return the subject of an entry of the questions file.

        ``lower_case`` and ``pronoun`` are taken where they are given. A title in the way of Wikipedia says by itself whether it is a
        name: "Marit Oslund" has a second capital, "Dorsal fever" has none, so that its first letter is only that of a beginning. A
        title of one word does not say it and stays as it is; nor do "Lyme disease" and the like, which need ``lower_case``.
        """
        title = topic["topic"].strip()
        name = re.sub(r"\s*\([^()]*\)$", "", title) or title
        first, _, rest = name.partition(" ")
        named, given = topic.get("pronoun", "").strip(), topic.get("lower_case", "").strip()
        if rest and not named and first[1:].islower() and rest == rest.lower() and not first.endswith(("'s", "’s")):
            name = f"{first[:1].lower()}{first[1:]} {rest}"
        return cls(title, given or name, named or ("it" if given else "them"))


@dataclass(frozen=True)
class Claim:
    """One atomic fact that a question is wanted for.

    Attributes:
        shown: Facts of the same response before it, which are shown with it.
        attribute, value: What is claimed, where the facts come from a grammar.
    """

    subject: Subject
    atom: str
    shown: tuple[str, ...] = ()
    attribute: str | None = None
    value: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two claims the same: the texts, whatever their white space, case and full stop."""
        return (self.subject.topic, *map(_fold, (*self.shown, self.atom)), self.attribute, self.value)


@dataclass(frozen=True)
class Asked:
    """What became of a claim.

    Attributes:
        question, answer: The question, and the answer that the claim itself gives; None where there is no question.
        prompt: What a service was asked for it.
        repaired: The service was asked twice, and its second reply was of use.
    """

    question: str | None = None
    answer: str | None = None
    prompt: str | None = None
    repaired: bool = False


class Questioner(Protocol):
    """Asks about many claims at once, so that a service can be asked side by side."""

    def ask(self, claims: Sequence[Claim]) -> Sequence[Asked | ItemError]:
        """Return what became of every claim, in order; an ItemError where a service failed on it."""

    def identity(self) -> dict[str, Any]:
        """Return what the questions depend on beside the facts, as JSON values."""


def claims_of(row: ScoredResponse, subject: Subject, context: int = 0) -> list[Claim | None]:
    """Return the claims of a response, None for a decision that is none (unparsed, off topic, without a word).

    Args:
        context: How many claims before each are shown with it; the first ones have fewer.
    """
    found: list[Claim | None] = []
    before: list[str] = []
    for decision in (decision for group in row["decisions"] for decision in group or []):
        if decision.get("kind", "claim") != "claim" or not words_of(decision["atom"]):
            found.append(None)
            continue
        atom = " ".join(decision["atom"].split())
        found.append(Claim(subject, atom, tuple(before[max(0, len(before) - context) :]), decision.get("attribute"), decision.get("value")))
        before.append(atom)
    return found


def fault_of(question: str, answer: str, claim: Claim) -> str | None:
    """Return what keeps a question from being of use, in words that a model can act on; None if nothing does."""
    if not words_of(question) or not question.endswith(("?", "？", "؟")):
        return "There is no question that ends with a question mark."
    if not words_of(answer):
        return "There is no answer."
    if len(words_of(answer)) > MOST_WORDS:
        return f"The answer has more than {MOST_WORDS} words."
    if _holds(question, answer):
        return "The question contains its answer."
    if words_of(answer) in (["yes"], ["no"]):
        return "The question asks for yes or no."
    if not _is_taken_from(answer, (claim.atom, *claim.shown)):
        return "The answer is not taken from the statement."
    if _PRONOUNS & set(words_of(question)) and not _names(question, claim.subject):
        return "The question has a pronoun in place of a name."
    return None


def words_of(text: str) -> list[str]:
    """Return the words of a text, case folded; "3.5" and "1,000" are one each."""
    return [word.casefold() for word in _WORD.findall(text)]


def _fold(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _holds(question: str, answer: str) -> bool:
    """Return whether the answer's words stand in the question, side by side; without its article and its like at both ends."""
    if _UNSPACED.search(answer):
        return answer.casefold() in question.casefold()
    own = words_of(answer)
    core = own
    while len(core) > 1 and core[0] in ("a", "an", "the"):
        core = core[1:]
    return f" {' '.join(core)} " in f" {' '.join(words_of(question))} "


def _is_taken_from(answer: str, texts: Sequence[str]) -> bool:
    """Return whether a word of the answer, small ones aside, stands in the texts: "yes" does not, nor does what was made up."""
    if _UNSPACED.search(answer):
        return any(answer.casefold() in text.casefold() for text in texts)
    own = set(words_of(answer))
    return any((own - _SMALL or own) & set(words_of(text)) for text in texts)


def _names(question: str, subject: Subject) -> bool:
    if _UNSPACED.search(subject.name):
        return subject.name in question
    return bool((set(words_of(subject.name)) - _SMALL) & set(words_of(question)))
