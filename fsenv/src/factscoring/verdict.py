"""The lexical verifier: a fact is supported if one sentence about the topic says it.

Three things must meet in one sentence of a retrieved passage: the topic as its person, the value as a whole word, and a
cue of the attribute ("born", "native", ...). The cue tells a birthplace from a home town, which share their values; the
person tells the topic's facts from those of a mentor or rival on the same page.

Not covered: what several sentences say only together, negation, and two facts of one kind in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from factscoring.facts import Fact
from factscoring.judgements import Judgement, Question
from factscoring.names import Mention, Name, find_mentions
from factscoring.sentences import find_words, split_sentences
from volume.errors import ItemError

_PRONOUN = re.compile(r"\b(?:[Ss]he|[Hh]e|[Hh]er|[Hh]is)\b")
_OPENING_PRONOUN = re.compile(r"(?:She|He)\b")
_RELATIVE = re.compile(r"\b(?:who|whom|whose)\b")
# "Her teacher was born in ..." and "Venn's cousin lives in ..." are about somebody else.
_RELATIONS = (
    "aunt brother colleague cousin daughter father friend grandfather grandmother guest husband mentor mother neighbour neighbor "
    "nephew niece parents partner pupil rival sister son student teacher twin uncle wife"
).split()
_RELATION = re.compile(rf"\b(?:{'|'.join(_RELATIONS)})s?\b")
_STOP_WORDS = frozenset(
    "a an and are as at be been by for from had has have he her his in is it its of on or she that the their they this to was were which who with s".split()
)


class LexicalVerifier:
    """Looks for a sentence that says a fact.

    Args:
        cues: Words that go with each attribute; a fact of an attribute that is not here needs all of its content words.
    """

    def __init__(self, cues: Mapping[str, Sequence[str]]) -> None:
        self._cues = {attribute: [find_words(cue) for cue in words] for attribute, words in cues.items()}
        self._sentences = lru_cache(maxsize=256)(_prepare)  # passages come back for every fact of a topic

    def judge(self, questions: Sequence[Question]) -> list[Judgement | ItemError]:
        """Return a judgement for every question, in order."""
        found = (self.find_evidence(question.topic, question.fact, question.passages) for question in questions)
        return [Judgement(evidence is not None, evidence) for evidence in found]

    def identity(self) -> dict[str, Any]:
        """Return what its verdicts depend on."""
        return {"verifier": "lexical"}

    def find_evidence(self, topic: str, fact: Fact, passages: Sequence[str]) -> str | None:
        """Return the first sentence, in the order of ``passages``, that supports the fact; None if there is none."""
        if fact.kind != "claim":
            return None
        name = Name.of(topic)
        value = find_words(fact.value or "")
        cues = self._cues.get(fact.attribute or "")
        needed: list[list[str]] = [value] if cues and value else _content_words(fact.atom, name)
        if not needed:
            return None
        for passage in passages:
            for sentence, words in self._sentences(passage):
                if not all(_holds(words, phrase) for phrase in needed):
                    continue
                if cues and value and not any(_holds(words, cue) for cue in cues):
                    continue
                if is_about(sentence, name, fact.value if cues else None):
                    return sentence
        return None


def nearest_sentence(question: Question) -> str | None:
    """Return the sentence of the passages that shares most content words with the fact; None where none shares any."""
    wanted = _content_words(question.fact.atom, Name.of(question.topic))
    found = [(sum(_holds(words, phrase) for phrase in wanted), sentence) for passage in question.passages for sentence, words in _prepare(passage)]
    number, sentence = max(found, key=lambda pair: pair[0], default=(0, ""))
    return sentence if number else None


def is_about(sentence: str, topic: Name, value: str | None) -> bool:
    """Return whether a sentence says something of the topic (about ``value``, where one is given).

    Where people are named, the first of them must be the topic, and so must the one named last before the value:
    "Oskar Venn, who taught Albane, was born in Ostrel" and "Albane taught Oskar Venn, who was born in Ostrel" both say
    nothing of Albane's birthplace. Where nobody is named, a pronoun means the topic, unless the sentence brings in another
    person without a name.
    """
    people = find_mentions(sentence, topic)
    if value is None:
        return _speaks_of(sentence, topic, people, len(sentence))
    for place in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", sentence, re.IGNORECASE):
        others = [person for person in people if person.end <= place.start() or person.start >= place.end()]  # "New Marvia" is no person
        if _speaks_of(sentence, topic, others, place.start()):
            return True
    return False


def _speaks_of(sentence: str, topic: Name, people: Sequence[Mention], place: int) -> bool:
    if not people:
        if _OPENING_PRONOUN.match(sentence):
            return True
        return bool(_PRONOUN.search(sentence)) and not _RELATIVE.search(sentence) and not _RELATION.search(sentence)
    if people[0].possessive and _RELATION.search(sentence, people[0].end):
        return False
    latest = [person for person in people if person.start < place][-1:] or people[:1]
    return topic.is_meant_by(people[0].words) and topic.is_meant_by(latest[0].words)


def _prepare(passage: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(sentence, tuple(find_words(sentence))) for sentence in split_sentences(passage)]


def _holds(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Return whether the words of ``phrase`` stand in ``words`` side by side."""
    if len(phrase) == 1:
        return phrase[0] in words
    return any(list(words[start : start + len(phrase)]) == list(phrase) for start in range(len(words) - len(phrase) + 1))


def _content_words(atom: str, topic: Name) -> list[list[str]]:
    own = {*find_words(topic.full), *_STOP_WORDS}
    return [[word] for word in dict.fromkeys(find_words(atom)) if word not in own]
