"""Atomic questions by the grammar of the synthetic world: one question per attribute, and the claim's own answer."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from volume.records import load


class AttributeQuestions(TypedDict):
    """The part of an attribute in grammar.json that asks for it; the first question is the canonical one."""

    name: str
    questions: list[str]


class GrammarFile(TypedDict):
    """The part of grammar.json that questions need."""

    attributes: list[AttributeQuestions]


class QuestionGrammar:
    """Asks for attributes by name."""

    def __init__(self, path: Path) -> None:
        content: GrammarFile = load(path, GrammarFile)
        self._forms = {attribute["name"]: attribute["questions"][0] for attribute in content["attributes"]}

    @property
    def attributes(self) -> list[str]:
        """The attributes that can be asked for."""
        return list(self._forms)

    def ask(self, attribute: str | None, topic: str) -> str | None:
        """Return the canonical question, or None for an attribute that the grammar does not know."""
        form = self._forms.get(attribute or "")
        return form.format(name=topic) if form else None
