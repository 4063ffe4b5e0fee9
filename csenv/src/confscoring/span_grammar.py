"""Finds the values that sentences of the synthetic world state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict

from confscoring.spans import Span
from volume.records import load


class Statements(TypedDict):
    """The part of an attribute in grammar.json that says where its value stands."""

    spoken_statements: list[str]


class GrammarFile(TypedDict):
    """The part of grammar.json that is needed here."""

    vague: str
    attributes: list[Statements]


class GrammarFinder:
    """Finds the stated values by the grammar of the world.

    Args:
        path: world/grammar.json.
    """

    def __init__(self, path: Path) -> None:
        content: GrammarFile = load(path, GrammarFile)
        forms = {form for attribute in content["attributes"] for form in attribute["spoken_statements"]}
        slots = {"they": "(?:he|she)", "their": "(?:his|her)", "Their": "(?:His|Her)"}
        patterns = []
        for form in sorted(forms):
            before, after = (re.escape(part) for part in form.split("{value}"))
            for slot, words in slots.items():
                before, after = before.replace(rf"\{{{slot}\}}", words), after.replace(rf"\{{{slot}\}}", words)
            patterns.append(f"{before}(\\w+){after}")
        self._pattern = re.compile("|".join(patterns))
        self._vague = content["vague"]

    @property
    def identity(self) -> dict[str, str]:
        """The grammar is among the step's inputs, so its name is enough."""
        return {"finder": "grammar"}

    def find(self, text: str, _topic: str) -> list[Span]:
        """Return where values are stated, in order; "unrecorded" is none."""
        spans = []
        for match in self._pattern.finditer(text):
            group = next(index for index in range(1, self._pattern.groups + 1) if match.group(index) is not None)
            if match.group(group) != self._vague:
                spans.append(match.span(group))
        return spans
