"""The judge that real benchmarks lack: the world's own truth, for claims and for the verifier that scored them.

Only evaluation looks at it. A claim is correct when the world holds that value for that person and attribute; a sentence
that could not be read, or that is about somebody else, is incorrect (else leaving the grammar would be rewarded).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from volume.records import Decision, ScoredResponse, load


class PersonRecord(TypedDict):
    """A person of world.json."""

    name: str
    tier: int
    facts: dict[str, str]
    exposure: dict[str, int]
    in_knowledge: list[str]


class WorldRecord(TypedDict):
    """The part of world.json that evaluation reads."""

    attributes: list[str]
    tiers: list[str]
    people: list[PersonRecord]
    vague: NotRequired[str]


class AttributeRecord(TypedDict):
    """One attribute of grammar.json."""

    name: str
    statements: list[str]
    spoken_statements: NotRequired[list[str]]


class GrammarRecord(TypedDict):
    """The part of grammar.json that evaluation reads."""

    vague: str
    attributes: list[AttributeRecord]


@dataclass(frozen=True)
class World:
    """The truth about every person.

    Attributes:
        attributes: Names of the attributes, in the world's order.
        tiers: Names of the exposure tiers, most exposed first.
        people: {name: person}.
    """

    attributes: list[str]
    tiers: list[str]
    people: dict[str, PersonRecord]

    @classmethod
    def from_file(cls, path: Path) -> World:
        """Read world.json.

        Raises:
            UsageError: There is no such file.
            RecordError: It does not hold a world.
        """
        record: WorldRecord = load(path, WorldRecord)
        return cls(record["attributes"], record["tiers"], {person["name"]: person for person in record["people"]})

    def supports(self, topic: str, decision: Decision) -> bool:
        """Return whether a decision's claim about ``topic`` is true. Unparsed and off-topic text is not."""
        if kind_of(decision) != "claim":
            return False
        truth = self.people[topic]["facts"].get(decision.get("attribute") or "")
        value = decision.get("value")
        return truth is not None and value is not None and truth.casefold() == value.strip().casefold()


def kind_of(decision: Decision) -> str:
    """Return claim, unparsed or off_topic; the public code's decisions, which do not say, are claims."""
    return decision.get("kind", "claim")


def decisions_of(scored: ScoredResponse) -> list[Decision]:
    """Return a response's decisions, none where nothing could be extracted."""
    return [decision for group in scored["decisions"] for decision in group or []]


class Confusion(TypedDict):
    """The verifier against the truth, in claims; the last two say why a true claim was turned down."""

    supported_true: int
    supported_false: int
    unsupported_true: int
    unsupported_false: int
    unsupported_true_absent: int
    unsupported_true_present: int


def confuse(world: World, scored: Iterable[ScoredResponse]) -> Confusion:
    """Count verdicts against the truth over the claims of responses; unparsed and off-topic text is no claim.

    ``unsupported_true_absent`` counts true claims that the knowledge base does not hold (or contradicts): no verifier
    could have confirmed them. ``unsupported_true_present`` are the verifier's own misses.
    """
    counts: Confusion = {
        "supported_true": 0, "supported_false": 0, "unsupported_true": 0, "unsupported_false": 0,
        "unsupported_true_absent": 0, "unsupported_true_present": 0,
    }  # fmt: skip
    for response in scored:
        known = world.people[response["topic"]]["in_knowledge"]
        for decision in decisions_of(response):
            if kind_of(decision) != "claim":
                continue
            true = world.supports(response["topic"], decision)
            if decision["is_supported"]:
                counts["supported_true" if true else "supported_false"] += 1
            elif true:
                counts["unsupported_true"] += 1
                counts["unsupported_true_present" if decision.get("attribute") in known else "unsupported_true_absent"] += 1
            else:
                counts["unsupported_false"] += 1
    return counts


def rates(counts: Confusion) -> dict[str, float | None]:
    """Return agreement, precision and recall of the verifier's "supported", in per cent; None where undefined.

    Precision: of the claims that it supports, how many are true. Recall: of the true claims, how many it supports.
    """
    agree = counts["supported_true"] + counts["unsupported_false"]
    claims = agree + counts["supported_false"] + counts["unsupported_true"]
    return {
        "agreement": _per_cent(agree, claims),
        "precision": _per_cent(counts["supported_true"], counts["supported_true"] + counts["supported_false"]),
        "recall": _per_cent(counts["supported_true"], counts["supported_true"] + counts["unsupported_true"]),
    }


def _per_cent(part: int, whole: int) -> float | None:
    return round(100.0 * part / whole, 6) if whole else None


class VagueReader:
    """Finds the attributes that a text leaves open ("Her home town is unrecorded.").

    Args:
        grammar: The content of grammar.json.
    """

    def __init__(self, grammar: GrammarRecord) -> None:
        self.word = grammar["vague"]
        self._patterns = [
            (attribute["name"], re.compile("|".join(_pattern(statement, self.word) for statement in _statements(attribute)), re.IGNORECASE))
            for attribute in grammar["attributes"]
        ]

    @classmethod
    def from_file(cls, path: Path) -> VagueReader:
        """Read grammar.json.

        Raises:
            UsageError: There is no such file.
            RecordError: It does not hold a grammar.
        """
        return cls(load(path, GrammarRecord))

    def attributes(self, text: str) -> set[str]:
        """Return the attributes that some sentence of ``text`` leaves open."""
        if self.word.casefold() not in text.casefold():
            return set()
        plain = re.sub(r" (?='s\b|[.,!?])", "", " ".join(text.replace("’", "'").split()))
        return {name for name, pattern in self._patterns if pattern.search(plain)}


def _statements(attribute: AttributeRecord) -> list[str]:
    return [*attribute["statements"], *attribute.get("spoken_statements", [])]


def _pattern(statement: str, vague: str) -> str:
    """Return a statement as a pattern with the vague word in the value's slot and any one to four words in the others."""
    pieces = re.split(r"(\{\w+\})", statement.rstrip("."))
    slots = {"{value}": re.escape(vague)}
    body = "".join(slots.get(piece, r"[^\s.]+(?: [^\s.]+){0,3}?") if piece.startswith("{") else re.escape(piece) for piece in pieces)
    return rf"(?<!\w){body}(?!\w)"
