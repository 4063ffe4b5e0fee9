"""Reads the list of facts out of a language model's reply.

Models answer with bullets, numbers, bold numbers, bare lines or a JSON list, with words before and after. A line is never
split: a dash inside a fact belongs to it.

Not covered: facts as running prose (one line is one fact), and tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from factscoring.abstention import refuses

_FENCE = re.compile(r"\s*(?:```|~~~)[\w-]*\s*$")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
# After a dash or a number without a space only a letter makes it a mark: "-5 °C", "1.5 million".
_MARK = re.compile(
    r"\s*(?:[-*•–—‣▪◦·](?:\s+|$)|[•‣▪◦](?=\S)|[-–](?=[^\W\d_])|\(\d{1,3}\)(?:\s+|$)|\d{1,3}[.)](?:\s+|$|(?=[^\W\d_])))"
    r"(?:\[[ xX]?\]\s+)?"
)
_LABEL = re.compile(r"\s*(?:atomic\s+)?fact\s*(?:#?\s*\d{1,3}\s*(?:[:.)]|\s[-–])|:)\s*", re.IGNORECASE)
_NOTHING = re.compile(
    r"(?:none|n/?a|nil|nothing|not applicable|(?:there (?:are|is) )?no (?:(?:atomic|factual|verifiable|checkable|independent|further|other|specific) )*"
    r"(?:facts?|claims?|statements?)(?: (?:(?:were |are |can be |could be )?(?:found|given|available|stated|present|extracted|listed)|to (?:extract|list)|"
    r"(?:in|from) (?:the|this)(?: given)? (?:sentence|text|input)))*)"
)
_CHATTER = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok|great)\b(?:[!,.:]|$)|here (?:are|is) (?:the|a|your|some|all)\b|i hope\b|(?:please )?let me know\b|feel free\b|#{1,6} )",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_a-z])")


@dataclass(frozen=True)
class FactList:
    """What a reply holds.

    Attributes:
        facts: The facts in order, each once, without marks.
        refused: The model declined, and nothing that it listed is a fact.
    """

    facts: tuple[str, ...]
    refused: bool


def parse_facts(reply: str) -> FactList:
    """Return the facts that a reply lists.

    With a mark on any line, the marked lines are the facts and an indented line without one goes on the fact above it; the
    other lines are chatter. Without any mark every line is a fact, but for chatter. Items that say "none", end in a
    colon, or hold neither letter nor digit are dropped. A refusal before the list means that the list holds none.
    """
    lines = [_BOLD.sub(r"\1", line) for line in reply.splitlines() if not _FENCE.match(line)]
    listed = _read_json(lines)
    refused = False
    if listed is None:
        marked = any(_mark_end(line) for line in lines)
        listed, refused = _read_marked(lines) if marked else _read_plain(lines)
    facts: dict[str, str] = {}
    for item in listed:
        text, declined = _without_refusals(" ".join(item.split()))
        refused = refused or declined
        if _states_something(text):
            facts.setdefault(text.casefold(), text)
    return FactList(tuple(facts.values()), refused and not facts)


def _mark_end(line: str) -> int:
    """Return where the text after a line's mark or label begins, 0 where it has neither."""
    mark = _MARK.match(line)
    start = mark.end() if mark else 0
    label = _LABEL.match(line, start)
    return label.end() if label else start


def _read_marked(lines: list[str]) -> tuple[list[str], bool]:
    items: list[str] = []
    refused = open_item = False
    for line in lines:
        start = _mark_end(line)
        if start:
            items.append(line[start:])
            open_item = True
        elif open_item and line[:1].isspace() and line.strip():
            items[-1] += " " + line
        else:
            open_item = False
            # "I'm sorry for the delay, here they are:" introduces a list; "I cannot do this. You could:" lists advice.
            refused = refused or _declines(line)
            if refused and not items:
                return [], True
    return items, refused


def _read_plain(lines: list[str]) -> tuple[list[str], bool]:
    items: list[str] = []
    for line in map(str.strip, lines):
        if _declines(line):
            return items, True  # what follows explains the refusal
        if not _CHATTER.match(line) and not line.endswith("?"):
            items.append(line)
    return items, False


def _read_json(lines: list[str]) -> list[str] | None:
    """Return the strings of a JSON list that begins a line, None where there is none."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("["):
            continue
        try:
            value, _ = json.JSONDecoder().raw_decode("\n".join(lines[number:]).lstrip())
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return None


def _declines(line: str) -> bool:
    return any(refuses(sentence) for sentence in _sentences(line))


def _sentences(text: str) -> Iterator[str]:
    return (sentence.strip() for sentence in _SENTENCE_END.split(text))


def _without_refusals(item: str) -> tuple[str, bool]:
    """Return an item without the sentences that refuse, and whether there were any."""
    kept = [sentence for sentence in _sentences(item) if not refuses(sentence)]
    text = " ".join(kept)
    return text, len(text) < len(item)


def _states_something(text: str) -> bool:
    if text.endswith((":", "：")) or not any(character.isalnum() for character in text):
        return False
    return _NOTHING.fullmatch(text.casefold().strip(" .!()[]\"'*_")) is None
