"""What a finder of spans is: the parts of a response that are sampled anew, and those that a question gives away."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol

Span = tuple[int, int]  # where it starts and ends in a text, in characters

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['’]s\b")
_BRACKET = re.compile(r"\s*\([^()]*\)$")
_ARTICLES = frozenset(("a", "an", "the"))


class SpanFinder(Protocol):
    """Finds what is resampled in a response."""

    @property
    def identity(self) -> dict[str, str]:
        """What finds the spans, with its version: entity scores of two finders do not compare."""

    def find(self, text: str, topic: str) -> list[Span]:
        """Return the spans of a response in order; no two overlap, none is empty."""


def names_topic(text: str, topic: str) -> bool:
    """Return whether a span says no more than the topic's name or a part of it ("Curie", "the Curies" not): the question gave it.

    A bracket that tells topics of one name apart, as in Wikipedia's titles, is no part of the name.
    """
    words = [word for word in _words(text) if word not in _ARTICLES]
    return bool(words) and set(words) <= set(_words(_BRACKET.sub("", topic) or topic))


def _words(text: str) -> list[str]:
    return _WORD.findall(_POSSESSIVE.sub("", unicodedata.normalize("NFKC", text)).casefold())


def trim(text: str, span: Span) -> Span | None:
    """Return a span without white space at its ends; None if it has no letter or digit."""
    piece = text[slice(*span)]
    if not any(character.isalnum() for character in piece):
        return None
    return span[0] + len(piece) - len(piece.lstrip()), span[1] - len(piece) + len(piece.rstrip())


def select(text: str, topic: str, *ranked: Iterable[Span]) -> list[Span]:
    """Return the spans to resample, in order: of two that overlap the one of the earlier list, then the longer, then the first.

    Spans that only name the topic are left out, after the choice: what they cover is no part of another span either.
    """
    taken: list[Span] = []
    for spans in ranked:
        kept = [whole for whole in (trim(text, span) for span in spans) if whole is not None]
        for span in sorted(kept, key=lambda span: (span[0] - span[1], span[0])):
            if is_free(span, taken):
                taken.append(span)
    return sorted(span for span in taken if not names_topic(text[slice(*span)], topic))


def is_free(span: Span, taken: Sequence[Span]) -> bool:
    """Return whether a span overlaps none of others."""
    return all(span[1] <= start or end <= span[0] for start, end in taken)
