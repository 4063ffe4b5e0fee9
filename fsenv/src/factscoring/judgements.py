"""What a verifier is asked and what it answers, whatever the backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factscoring.facts import Fact
from volume.errors import ItemError


@dataclass(frozen=True)
class Question:
    """Is this fact about the topic supported by these passages of its page?

    Attributes:
        passages: Best first, as retrieved; may be empty.
    """

    topic: str
    fact: Fact
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """A verdict.

    Attributes:
        supported: Never True where the verifier could not decide.
        evidence: The sentence that supports the fact, where the verifier names one.
        undecided: The verifier gave no verdict, asked twice.
        p_true: Probability of True against False, where the verifier has one.
        nearest: Of a verifier that names no evidence: the sentence of its passages that shares most words with the fact. For readers.
        npm: Mean nonparametric probability of the fact's words; None where it was not asked for or has no word to look up.
    """

    supported: bool
    evidence: str | None = None
    undecided: bool = False
    p_true: float | None = None
    npm: float | None = None
    nearest: str | None = None


class Verifier(Protocol):
    """Judges many facts at once, so that a model can batch them and a service be asked side by side."""

    def judge(self, questions: Sequence[Question]) -> list[Judgement | ItemError]:
        """Return a judgement for every question, in order; an ItemError where one could not be had."""

    def identity(self) -> dict[str, Any]:
        """Return what its verdicts depend on, as JSON values."""
