"""Reads the clause of a fact: whom it is about, its verb, what follows; so that the backend `rules` can turn it into a question.

"In 1950 she founded a school." is the subject "Marit Oslund", the verb "founded", which is asked about as "did ... found", and
the rest "a school in 1950". What stands first goes to the end, brackets and additions behind a comma are left out.

Not covered: facts without a verb that the tables or the spelling know, denials, questions, other languages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from confscoring.question_patterns import CASES_LEAD, DATED_LEAD, LEAD, LEADS, TRAILER, VAGUE, WHEN
from confscoring.question_predicate import Predicate, find_predicate, is_adverb
from confscoring.question_verbs import BASES, UNCHANGED, read_verb
from confscoring.question_words import ADVERBS, BEFORE_VERB, BESIDE, COMMON, DETERMINERS, IDLE, NEGATIONS, PARTICLES, TAKING

MOST_WORDS = 60  # of a fact

_SINGULAR = {"were": "was", "are": "is", "have": "has", "do": "does"}
_SUBORDINATE = ("whom", "whose", "when", "because", "if")
_OWNER = re.compile(r"(?:['’]s|(?<=s)['’])?,?$")


@dataclass(frozen=True)
class Clause:
    """A clause, taken apart for a question.

    Attributes:
        subject: As it stands within a question.
        front, verb, spoken, base, past: Its verb, as in Predicate.
        rest: What follows, as far as it can be asked for.
        tail: What ends the question: what stood before the subject and is no date, and vague ends ("for many years").
        whole: The subject is the topic itself, not something of it.
    """

    subject: str
    front: str
    verb: str
    spoken: str
    base: str
    past: bool
    rest: str
    tail: str = ""
    whole: bool = True

    def ask(self, asking: str, rest: str = "") -> str:
        """Return the question that begins with ``asking`` about the clause, with another rest."""
        if self.front:
            return finish(asking, self.front, self.subject, self.verb, rest, self.tail)
        return finish(asking, "was it that" if self.past else "is it that", self.subject, self.spoken, rest, self.tail)


def finish(*parts: str) -> str:
    """Return a question made of parts, tidied up, with its mark."""
    tidy = " ".join(" ".join(parts).replace(" ,", " ").split()).strip(" ,")
    return f"{tidy[:1].upper()}{tidy[1:]}?"


def read_clause(atom: str, name: str) -> Clause | None:
    """Return the clause of a fact about ``name``; None where it cannot be read.

    Args:
        name: The topic as it is written in the middle of a sentence.
    """
    text = re.sub(r"\s*\([^()]*\)", "", " ".join(atom.split())).rstrip(" .!;,")
    if not text or text.endswith(("?", "？", "؟")) or len(text.split()) > MOST_WORDS:
        return None
    lead, text = _split_lead(text, name)
    words = _name_subject(text, name).split()
    known = _mention(words, name)
    if known and words[known - 1].endswith(","):  # an apposition: "Ada Venn, a chemist, was ..."
        close = next((index for index in range(known, len(words)) if words[index].endswith(",")), None)
        if close is None:
            return None
        words = [*words[: known - 1], words[known - 1].rstrip(","), *words[close + 1 :]]
    relative = False
    for index in range(known or 1, len(words)):
        before = words[index - 1]
        behind_topic = index == known and not before.endswith(("'s", "’s", "s'", "s’"))
        found = find_predicate(words, index, behind_topic or (index > 1 and (before in BEFORE_VERB or is_adverb(before))))
        if found is not None and not relative:
            return _build(words, index, found, known, name, lead)
        # The first verb behind "that" is not the main one: "The bacterium that causes it lives in water."
        relative = (relative and found is None) or words[index] in ("that", "which", "who")
        if not known and (words[index].endswith((",", ";")) or words[index] in _SUBORDINATE):
            return None
    return None


def _split_lead(text: str, name: str) -> tuple[str, str]:
    """Return what stands before the subject, without its comma, and the clause itself."""
    named = re.compile(rf"(?P<lead>{LEADS}\b[^,]*?),? (?P<main>(?:{re.escape(name)}|she|he|they|it)\b(?!['’]).+)$")
    matches = (pattern.match(text) for pattern in (named, LEAD, DATED_LEAD, CASES_LEAD))
    found = next((match for match in matches if match and len(match["lead"].split()) <= 8), None)
    if found is None:
        return "", text
    main = found["main"]
    return found["lead"][0].lower() + found["lead"][1:], main[0].upper() + main[1:]


def _name_subject(text: str, name: str) -> str:
    """Return the clause with the topic in place of a pronoun that begins it."""
    pronoun = re.match(r"(?:(?P<subject>He|She|They|It)|(?P<owner>His|Her|Their|Its))(?= )", text)
    if pronoun is None:
        return text
    rest = text[pronoun.end() :]
    if pronoun["owner"]:
        return f"{name}'s{rest}"
    if pronoun["subject"] == "It" and re.match(r" (?:[a-z]+ ){0,2}(?:takes?|took) .+ to [a-z]", rest):
        return text  # "It takes two weeks to recover": nobody is meant
    if pronoun["subject"] == "They" and not name.endswith("s"):
        rest = re.sub(r"^ (were|are|have|do)(?= )", lambda match: f" {_SINGULAR[match[1]]}", rest)
    return name + rest


def _mention(words: Sequence[str], name: str) -> int:
    """Return how many of the first words are the topic, with or without "'s": its name, or a person's surname alone."""
    own = name.casefold().split()
    bare = [_OWNER.sub("", word).casefold() for word in words[: len(own)]]
    if bare == own or [word.casefold() for word in words[: len(own)]] == own:
        return len(own)
    return 1 if len(own) > 1 and name.split()[-1][0].isupper() and bare[:1] == own[-1:] else 0


def _build(words: Sequence[str], index: int, found: Predicate, known: int, name: str, lead: str) -> Clause | None:
    """Return the clause whose verb begins at a word, None where it denies something."""
    verb, spoken = found.verb, found.spoken
    while index > 1 and (words[index - 1].casefold() in ADVERBS | IDLE | NEGATIONS or is_adverb(words[index - 1])):
        index -= 1
        if words[index] not in IDLE:
            verb, spoken = f"{words[index]} {verb}".strip(), f"{words[index]} {spoken}"
    if {word.casefold().strip(",") for word in words[index : found.end + 1]} & NEGATIONS:
        return None
    rest = _drop_second_verb(TRAILER.sub("", " ".join(words[found.end :])).strip(" ,"), found.past)
    particle = rest.partition(" ")[0]
    if (particle in PARTICLES and not rest.startswith("up to ")) or f"{found.base} {particle}" in BESIDE:
        verb, spoken, rest = f"{verb} {particle}", f"{spoken} {particle}", rest[len(particle) :].strip()
    rest = re.sub(r"(?:^| )(?:too|as well)$", "", rest)
    vague = VAGUE.search(rest)
    kept = vague is None or (found.base in TAKING and vague.start() == 0)
    tail = "" if vague is None or kept else vague.group()
    rest = rest if vague is None or kept else rest[: vague.start()].strip(" ,")
    dated = WHEN.fullmatch(lead) is not None  # a date can be asked for, wherever it stands
    rest, tail = (f"{rest} {lead}".strip(), tail) if dated else (rest, f"{tail} {lead}".strip())
    subject = _within(words[:index], name, min(known, index))
    return Clause(subject, found.front, verb, spoken, found.base, found.past, rest, tail, known == index)


def _drop_second_verb(rest: str, past: bool) -> str:
    """Return the rest without a second predicate: "to the kidneys and cause organ failure"."""
    for joint in re.finditer(r"(?<=\w),? and (?:(?:[a-z]+ly|always|often|later|also|then|soon|still) )?(?P<word>[a-z]+) (?P<next>\S+)", rest):
        verb = read_verb(joint["word"])
        if joint["word"] in UNCHANGED:
            second = True
        elif verb is not None and verb.past:
            second = past and (joint["next"] in DETERMINERS | {"in", "at", "to", "as", "by", "on"} or joint["next"][0].isupper())
        else:
            second = not past and (verb is not None or joint["word"] in BASES)
        if second:
            return rest[: joint.start()]
    return rest


def _within(words: Sequence[str], name: str, known: int) -> str:
    """Return a subject as it is written within a question: the topic by its name, a common word without its capital."""
    if known:
        ending = re.search(r"['’]s?$", words[known - 1])
        own = name if ending is None or name.endswith(ending.group()) else name + ending.group()
        return " ".join([own, *words[known:]])
    first = words[0]
    gerund = len(first) > 5 and first.endswith("ing") and words[1:2] and words[1].islower()
    if (gerund or first.casefold().rstrip(",") in DETERMINERS | COMMON) and first[1:] == first[1:].lower():
        first = first.lower()
    return " ".join([first, *words[1:]])
