"""Atomic facts by inverting the sentence patterns of the synthetic world (``world/grammar.json``).

A sentence becomes (subject, attribute, value), vague, or unparsed; nothing is guessed. The subject is checked: sampled
text does drift to other people, and their facts must not earn the topic a reward.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from factscoring.facts import Extraction, Fact
from factscoring.names import Name, find_mentions
from factscoring.sentences import split_sentences
from volume.errors import RecordError
from volume.records import load


class AttributePatterns(TypedDict):
    """One attribute of grammar.json.

    ``statements`` name the person, the first of them is the canonical form of a fact; ``spoken_statements`` say the same
    with a pronoun.
    """

    name: str
    statements: list[str]
    spoken_statements: NotRequired[list[str]]
    values: list[str]
    synonyms: list[str]


class GrammarFile(TypedDict):
    """The part of grammar.json that scoring reads."""

    vague: str
    attributes: list[AttributePatterns]


@dataclass(frozen=True)
class Reading:
    """What a sentence says.

    Attributes:
        attribute: None where the sentence could not be read.
        subject: The name as it stands in the sentence; None for a pronoun.
        value: The word in the value's slot, None where it was the vague word.
    """

    attribute: str | None = None
    subject: str | None = None
    value: str | None = None


UNPARSED = Reading()

# One to five words, each with a capital but for short particles ("van"). Case is checked by what is no lower-case letter.
_NAME_WORD = r"[^\W\d_a-z](?:[^\W_]|[-.'](?=[^\W_]))*\.?"
_SLOTS = {
    "name": rf"({_NAME_WORD}(?: (?:[a-z]{{1,3}} )?{_NAME_WORD}){{0,4}})",
    "value": r"([^\W_]+(?:-[^\W_]+)*)",
    "they": "(?:[Hh]e|[Ss]he|[Tt]hey)",
    "their": "(?:[Hh]is|[Hh]er|[Tt]heir)",
    "Their": "(?:[Hh]is|[Hh]er|[Tt]heir)",
}


class Grammar:
    """The compiled patterns of a world.

    Args:
        content: The content of grammar.json.

    Raises:
        ValueError: A statement lacks a slot, or has one that does not exist.
    """

    def __init__(self, content: GrammarFile) -> None:
        self.cues = {attribute["name"]: tuple(attribute["synonyms"]) for attribute in content["attributes"]}
        self._vague = content["vague"].casefold()
        self._canonical = {attribute["name"]: attribute["statements"][0] for attribute in content["attributes"]}
        self._values = {value for attribute in content["attributes"] for value in attribute["values"]}
        self._starts: set[str] = set()
        alternatives: list[str] = []
        # Alternative's group -> (attribute, where its name and its value are among its inner groups; 0: it has no name).
        self._groups: dict[str, tuple[str, int, int]] = {}
        for attribute in content["attributes"]:
            for statement in (*attribute["statements"], *attribute.get("spoken_statements", ())):
                group = f"s{len(alternatives)}"
                pattern, captured = _compile(statement)
                self._groups[group] = (attribute["name"], captured.index("name") + 1 if "name" in captured else 0, captured.index("value") + 1)
                self._starts.add(statement.split()[0])
                alternatives.append(f"(?P<{group}>{pattern})")
        # The outer group of the alternative that matched closes last, so Match.lastgroup names it.
        self._pattern = re.compile("|".join(alternatives))
        self.read = lru_cache(maxsize=65536)(self._read)  # sentences repeat between the responses of a topic

    @classmethod
    def from_file(cls, path: Path) -> Grammar:
        """Read grammar.json.

        Raises:
            UsageError: There is no such file.
            RecordError: It is no grammar; the message names the file and the place.
        """
        content: Any = load(path, GrammarFile)
        try:
            return cls(content)
        except ValueError as error:
            raise RecordError(f"{path}: {error}. Delete the file to have it made anew (`make data`), or mend it.") from error

    def _read(self, sentence: str) -> Reading:
        match = self._pattern.fullmatch(_plain(sentence))
        if match is None or match.lastgroup is None:
            return UNPARSED
        attribute, name_at, value_at = self._groups[match.lastgroup]
        outer = match.re.groupindex[match.lastgroup]
        value = match.group(outer + value_at)
        subject = match.group(outer + name_at) if name_at else None
        return Reading(attribute, subject, None if value.casefold() == self._vague else value)

    def state(self, attribute: str, name: str, value: str) -> str:
        """Return the canonical sentence of a fact, the name in full."""
        return self._canonical[attribute].format(name=name, value=value)

    def extract(self, topic: str, response: str) -> Extraction:
        """Return the atomic facts of a response about ``topic``.

        A pronoun means whoever was named last, at first the topic: the prompt asked for it. A claim about the topic, or
        about another person, that repeats an earlier one is dropped and counted.
        """
        name = Name.of(topic)
        about, other = True, ""
        found = Extraction()
        seen: set[tuple[str, str, str]] = set()
        for sentence in split_sentences(response):
            found.sentences += 1
            reading = self.read(sentence)
            subject = reading.subject if reading.attribute else self._who(sentence, name)
            if subject is not None:
                about = name.is_meant_by(subject.split())
                other = subject
            if reading.attribute is None:
                found.facts.append(Fact(sentence, "unparsed", sentence))
                continue
            if reading.value is None:
                found.vague += 1
                continue
            person = name.full if about else other
            key = (person.casefold(), reading.attribute, reading.value.casefold())
            if key in seen:
                found.repeats += 1
                continue
            seen.add(key)
            atom = self.state(reading.attribute, person, reading.value)
            found.facts.append(Fact(atom, "claim" if about else "off_topic", sentence, reading.attribute, reading.value))
        return found

    def _who(self, sentence: str, topic: Name) -> str | None:
        """Return the first name in a sentence that could not be read: the next pronoun means that person.

        Values side by side ("Her prize is Rubyquill Ostrel.") are no name, or one slip would cost the facts after it.
        """
        for mention in find_mentions(sentence, topic, self._starts):
            if self._values.isdisjoint(mention.words):
                return " ".join(mention.words)
        return None


def _compile(statement: str) -> tuple[str, list[str]]:
    """Return a statement's pattern and the names of its capturing slots, in order."""
    parts = re.split(r"\{(\w*)\}", statement)
    slots = parts[1::2]
    if any(slot not in _SLOTS for slot in slots) or slots.count("value") != 1 or slots.count("name") > 1:
        raise ValueError(f"statement {statement!r}: expected {{value}} once, {{name}} at most once, and no slots but {', '.join(_SLOTS)}")
    # The stop is optional: a text cut at its token limit may still have stated its last fact in full.
    parts[-1] = parts[-1].rstrip(".!? ")
    pattern = "".join(_SLOTS[part] if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return pattern + "[.!?]*", [slot for slot in slots if slot in ("name", "value")]


def _plain(sentence: str) -> str:
    """Return a sentence with single spaces, straight apostrophes and no space before "'s", "." and ","."""
    return re.sub(r" (?='s\b|[.,!?])", "", " ".join(sentence.replace("’", "'").split()))
