"""What fact extraction yields, whatever the backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["claim", "unparsed", "off_topic"]


@dataclass(frozen=True)
class Fact:
    """One atomic fact of a response.

    Attributes:
        atom: The fact as one sentence that stands alone; for ``unparsed`` the sentence itself.
        kind: ``claim`` is about the topic and is checked; ``unparsed`` could not be read and ``off_topic`` is about
            somebody else: both count as unsupported, or a policy could earn reward by leaving the grammar.
        sentence: The sentence of the response that it came from.
        attribute, value: What is claimed, where the backend knows it.
    """

    atom: str
    kind: Kind
    sentence: str
    attribute: str | None = None
    value: str | None = None


@dataclass
class Extraction:
    """The facts of one response, in order, and what was left out.

    Attributes:
        sentences: Sentences in the response.
        vague: Sentences that state nothing ("... is unrecorded").
        repeats: Claims dropped because the response had made them before.
        refused: Sentences whose facts the extracting model refused to list.
        abstained: The response as a whole declines to answer; nothing was extracted.
    """

    facts: list[Fact] = field(default_factory=list)
    sentences: int = 0
    vague: int = 0
    repeats: int = 0
    refused: int = 0
    abstained: bool = False

    def number(self, kind: Kind) -> int:
        """Return how many facts are of a kind."""
        return sum(fact.kind == kind for fact in self.facts)
