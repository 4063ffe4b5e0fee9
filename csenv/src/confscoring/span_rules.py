"""Finds spans without a model: what `entities.backend = "spacy"` does where no spaCy model is at hand.

Named entities are names by their capitals, dates, numbers with their units, and quoted titles; noun chunks are runs of words
between function words and verbs. Both are written for English; the modules say what they miss.
"""

from __future__ import annotations

from confscoring.span_chunks import find_chunks
from confscoring.span_names import find_names
from confscoring.span_numbers import find_dates, find_numbers, find_titles
from confscoring.span_words import by_offset
from confscoring.spans import Span, select

_VERSION = "1"  # goes up with every change that moves a span


class RuleFinder:
    """Finds spans by rules.

    Args:
        wanted: entities, noun_chunks or both; where both overlap, the entity is taken.
    """

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted

    @property
    def identity(self) -> dict[str, str]:
        """The rules' version, and what is taken."""
        return {"finder": "rules", "version": _VERSION, "spans": self._wanted}

    def find(self, text: str, topic: str) -> list[Span]:
        """Return the spans of a response in order, without the topic's own name."""
        ranked: list[list[Span]] = []
        if self._wanted != "noun_chunks":
            titles, dates = find_titles(text), find_dates(text)
            ranked += [titles, dates, find_names(text, by_offset(titles + dates)), find_numbers(text)]
        if self._wanted != "entities":
            ranked.append(find_chunks(text))
        return select(text, topic, *ranked)
