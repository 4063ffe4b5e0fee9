"""The backend `rules`: atomic facts without any model, one for each clause of a sentence.

A sentence is cut at ";", at "and" and "but" where a new predicate or a new subject with a predicate follows, and at
", who" and ", which" behind the topic. A clause that lost its subject gets it again, and a pronoun that opens a clause
gives way to the topic where the topic is what is spoken of. Where a rule is in doubt the sentence stays whole: a fact
that holds two things is judged more strictly, one that was torn apart is judged wrongly.

Not covered: lists inside a clause ("a chemist and physicist" is one fact), commas without "and", appositions, participles
("moving to Ostrel, she ..."), text in quotes or brackets, a pronoun that means somebody else, agreement ("They were" ->
"Ada Venn were"), and languages other than English, whose sentences come back whole. Questions come back as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from factscoring.clause_patterns import (
    ADJECTIVES,
    ADVERBS,
    CLOSED,
    COVER,
    DETERMINER_BEFORE,
    FUNCTION,
    JOINT,
    LEAD,
    LOOKS_ADJECTIVE,
    NO_REFERENT,
    NO_VERBS,
    NOMINATIVE,
    OPENING_POSSESSIVE,
    PASSIVE,
    PLACE_AHEAD,
    PREPOSITION,
    PRONOUN,
    RELATIVE,
    SUBJECT_AHEAD,
    SUBORDINATE,
    VERB,
)  # fmt: skip
from factscoring.names import Name, find_mentions


class _Verb(NamedTuple):
    """Where a verb stands, and its text where it is a form of "be"."""

    start: int
    end: int
    be: str | None


@dataclass
class _Spoken:
    """Who was spoken of so far in a sentence.

    Attributes:
        before: The clauses that were cut off already.
        topical: The last clause's subject was the topic; ``owner``: it was something of the topic's.
        pronoun: The pronoun that last stood for the topic.
    """

    name: Name
    before: str = ""
    topical: bool = False
    owner: bool = False
    pronoun: str = ""

    def resolve(self, clause: str) -> str:
        """Return the clause with the topic in place of a pronoun as its subject, and note its subject."""
        possessive = OPENING_POSSESSIVE.match(clause)
        if possessive and self._is_meant(NOMINATIVE[possessive.group().casefold()], "", self.topical or self.owner):
            self.topical, self.owner = False, True
            return f"{self.name.full}'s{clause[possessive.end() :]}"
        span = _find_subject(clause, self.name)
        if span is None:
            self.topical = self.owner = False
            return clause
        subject = clause[span[0] : span[1]]
        if PRONOUN.fullmatch(subject) and not NO_REFERENT.match(clause, span[0]) and self._is_meant(subject.casefold(), clause[: span[0]], self.topical):
            self.topical, self.owner = True, False
            return clause[: span[0]] + self.name.full + clause[span[1] :]
        self.topical = _means(self.name, subject)
        self.owner = subject.startswith((f"{self.name.full}'s ", f"{self.name.surname}'s "))
        return clause

    def _is_meant(self, pronoun: str, lead: str, topical: bool) -> bool:
        if self.before and (not topical or (self.pronoun != pronoun and (self.pronoun or pronoun == "it"))):
            return False  # "She has a dog, and it is old"
        if pronoun != self.pronoun:
            said = self.before + lead
            others = (mention for mention in find_mentions(said, self.name) if not self.name.is_meant_by(mention.words))
            if not all(PLACE_AHEAD.search(said, 0, other.start) for other in others):
                return False
        self.pronoun = pronoun
        return True


def extract_clauses(topic: str, sentence: str) -> list[str]:
    """Return the facts of a sentence about ``topic``, in order; each ends with a full stop."""
    text = " ".join(sentence.split())
    if not text or text.endswith(("?", "؟", "？")):
        return [text] if text else []
    spoken = _Spoken(Name.of(topic))
    if not spoken.name.full:
        return [_finish(text, spoken.name)]
    facts: list[str] = []
    waiting = [text]
    while waiting:
        clause = spoken.resolve(waiting.pop(0))
        parts = _cut_relative(clause, spoken.name)
        if parts:
            waiting[:0] = parts
            continue
        left, right = _cut_first(clause, spoken.name)
        facts.append(_finish(left, spoken.name))
        spoken.before += left + " "
        if right:
            waiting.insert(0, right)
    return [fact for fact in facts if fact]


def _cover(text: str) -> str:
    """Return the text with quotes and brackets blanked out, character for character."""
    previous = ""
    while previous != text:
        previous, text = text, CLOSED.sub(lambda match: COVER * len(match.group()), text)
    return text


def _find_verb(covered: str, name: Name) -> _Verb | None:
    """Return the first verb; behind the topic or a pronoun any word in -s is one: "It lasts"."""
    present = re.match(
        rf"(?:He|She|It|{re.escape(name.full)}) {ADVERBS}(?!always|perhaps|besides|sometimes|across|its|as|thus)([a-z]+s)\b(?<!was)(?<!is)(?<!has)(?![’'-])",
        covered,
        re.IGNORECASE,
    )
    if present and present[1].islower():
        return _Verb(present.start(1), present.end(1), None)
    for verb in VERB.finditer(covered):
        if verb["ed"] not in NO_VERBS and (verb["be"] or not DETERMINER_BEFORE.search(covered[max(0, verb.start() - 40) : verb.start()])):
            return _Verb(verb.start(), verb.end(), verb["be"])
    return None


def _find_subject(clause: str, name: Name) -> tuple[int, int] | None:
    """Return where the subject of a clause stands: before its first verb, behind an introduction that ends in a comma."""
    opening = re.match(r"(?:He|She|They|It)(?= )", clause, re.IGNORECASE)
    if opening:
        return opening.span()
    covered = _cover(clause)
    verb = _find_verb(covered, name)
    if verb is None:
        return None
    lead = covered[: verb.start].rstrip(" ," + COVER)
    lead = re.sub(r" (?:later|then|also|soon|once|never|often|still|first|eventually|[a-z]+ly)$", "", lead).rstrip(" ," + COVER)
    if re.search(r"\b(?:who|whom|whose|which|that)\b", lead):
        return None
    pronoun = re.search(r"(?:^|(?<=[ ,]))(?:he|she|they|it)$", lead, re.IGNORECASE)
    if pronoun:
        return pronoun.span()
    start = 0
    if PREPOSITION.match(lead):
        comma = lead.rfind(", ")
        if comma < 0:
            return None
        start = comma + 2
    subject = lead[start:]
    if not subject or SUBORDINATE.search(subject) or PREPOSITION.match(subject):
        return None
    return start, len(lead)


def _means(name: Name, subject: str) -> bool:
    bare = re.sub(r"\s*\([^()]*\)$", "", subject)
    return bare.casefold() == name.full.casefold() or (all(word[0].isupper() for word in bare.split()) and name.is_meant_by(bare.split()))


def _cut_relative(clause: str, name: Name) -> list[str] | None:
    """Return the relative clause behind the topic and the clause around it, each with its subject."""
    covered = _cover(clause)
    for joint in RELATIVE.finditer(covered):
        before = clause[: joint.start()]
        rest = covered[joint.end() :]
        if not _ends_with(name, before) or _begins_predicate(rest, "") is None:
            continue
        if _find_verb(covered[: joint.start()], name):
            return [before, f"{name.full} {clause[joint.end() :]}"]
        for comma in re.finditer(", ", rest):
            if _begins_predicate(rest[comma.end() :], "") is not None:
                end = joint.end() + comma.start()
                return [f"{name.full} {clause[joint.end() : end]}", f"{before} {clause[end + 2 :]}"]
        return None
    return None


def _ends_with(name: Name, text: str) -> bool:
    bare = re.sub(r"\s*\([^()]*\)$", "", text)
    if re.search(rf"(?<!\w){re.escape(name.full)}$", bare, re.IGNORECASE):
        return True
    mentions = find_mentions(bare, name)
    return bool(mentions) and mentions[-1].end == len(bare) and not mentions[-1].possessive and name.is_meant_by(mentions[-1].words)


def _begins_predicate(rest: str, left: str) -> int | None:
    """Return where the verb stands when ``rest`` begins with a predicate; ``left`` is what an "and" without comma follows."""
    lead = LEAD.match(rest)
    start = lead.end() if lead else 0
    verb = VERB.match(rest, start)
    if verb is None or verb["ed"] in NO_VERBS:
        return None
    if verb["ed"] and not FUNCTION.match(rest[verb.end() :].removeprefix(" ")):
        last = left.rsplit(" ", 1)[-1]
        if verb["ed"] in ADJECTIVES or (last and LOOKS_ADJECTIVE.search(last)):
            return None
    return start


def _cut_first(clause: str, name: Name) -> tuple[str, str]:
    """Return the first clause and the rest with its subject; the rest is empty where nothing is to be cut."""
    covered = _cover(clause)
    for joint in JOINT.finditer(covered):
        left, rest = covered[: joint.start()], covered[joint.end() :]
        verb = _find_verb(left, name)
        if verb is None or not rest.strip(" ." + COVER):
            continue
        right = clause[joint.end() :]
        pause = bool(joint["semicolon"] or joint["comma"] or joint["word"] == "but")
        if _begins_subject(rest, pause):
            if not (SUBORDINATE.search(left) if not pause else SUBORDINATE.match(left)):
                return clause[: joint.start()], right
            continue
        if joint["semicolon"] and _begins_predicate(rest, "") is None:
            if _find_subject(right, name) is not None:
                return clause[: joint.start()], right
            continue
        predicate = _begins_predicate(rest, "" if pause else left)
        span = _find_subject(clause[: joint.start()], name)
        if predicate is None or span is None or SUBORDINATE.search(left) or (not pause and _ends_in_verb(left, verb)):
            continue
        subject = clause[span[0] : span[1]]
        if _means(name, subject):
            subject = name.full
        if verb.be and PASSIVE.match(rest, predicate):
            subject += " " + verb.be
        return clause[: joint.start()], f"{subject} {right}"
    return clause, ""


def _begins_subject(rest: str, pause: bool) -> bool:
    """Return whether a subject of its own and its verb follow; without a pause only a pronoun is taken for one."""
    ahead = SUBJECT_AHEAD.match(rest)
    if ahead is None:
        return False
    verb = VERB.match(rest, ahead.end())
    if ahead["pronoun"]:
        return verb is not None
    # "Ada, Bo and Cy were" is one subject; "his brother named Bo" is none.
    return pause and verb is not None and verb.group() not in ("were", "are", "have") and not (verb["ed"] and rest[ahead.start("named")].islower())


def _ends_in_verb(left: str, first: _Verb) -> bool:
    """Return whether two verbs share what follows: "wrote and directed films", "was born and raised in"."""
    return first.end == len(left) or re.search(r"(?:ed|\bborn|\bwritten|\bknown|\bsung)$", left) is not None


def _finish(clause: str, name: Name) -> str:
    text = clause.strip(" ,;:")
    if not any(character.isalnum() for character in text):
        return ""
    first = text.split(" ", 1)[0]
    if first.islower() and len(text[0].upper()) == 1 and not text.startswith(name.full):
        text = text[0].upper() + text[1:]
    if re.search(r"[.!][\"”’»)\]]$|[。।۔]$", text):  # the stop stands inside a quote, or is another script's
        return text
    return text.rstrip(".!,;: ") + "."
