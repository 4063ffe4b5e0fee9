"""When two answers count as the same: sorting sampled answers into equivalence classes.

The interface of the three equivalences, and ``words``, which follows the paper's text (arXiv 2311.08401, section 3.2): two
answers are equivalent when their words, stop words left out, are the same. It is a true equivalence, so the classes do not
depend on the order of the answers. A script that puts no spaces between words has one word between two punctuation marks.

An answer without a word is no answer. Under ``words`` and ``llm`` it is a class of its own and agrees with nothing, not even
with another such answer: silence twenty times has the confidence of twenty different answers, the least there is.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from volume.errors import ItemError

STOP_WORDS = frozenset("a an and are as at be been by for from had has have in is it its of on or that the this to was were which with".split())

_MARK = "\ue000"  # stands for a combining mark, which `re` takes for no part of a word; a private code point, itself no word
_WORD = re.compile(rf"(?:[^\W_]{_MARK}*)+(?:[.,]\d+)*")  # "3.5" and "1,000" are one word each
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width letters and digits, as in East Asian text


@dataclass(frozen=True)
class AnswerGroup:
    """Answers to one question.

    Attributes:
        answers: At least one, in the order in which they were sampled.
        claimed: The answer that the claim itself gives, where it is known.
    """

    question: str
    answers: tuple[str, ...]
    claimed: str | None = None


@dataclass(frozen=True)
class AnswerClasses:
    """What became of a group.

    Attributes:
        sizes: Answers in each class; they sum to the number of answers.
        claimed: Answers that agree with the claimed one; None where none was claimed.
        undecided: Comparisons that gave no verdict, asked twice, and count as different.
    """

    sizes: tuple[int, ...]
    claimed: int | None = None
    undecided: int = 0


class Equivalence(Protocol):
    """Classifies many groups at once, so that a service can be asked side by side."""

    def classify(self, groups: Sequence[AnswerGroup]) -> list[AnswerClasses | ItemError]:
        """Return the classes of every group, in order; an ItemError where they could not be had."""

    def identity(self) -> dict[str, Any]:
        """Return what the classes depend on beside the answers, as JSON values."""


class WordsEquivalence:
    """Two answers are the same when their words are."""

    def classify(self, groups: Sequence[AnswerGroup]) -> list[AnswerClasses | ItemError]:
        """Return the classes of every group, the largest first."""
        return [_classify(group) for group in groups]

    def identity(self) -> dict[str, Any]:
        """Return what the classes depend on."""
        return {"backend": "words"}


def word_key(answer: str) -> tuple[str, ...]:
    """Return the class of an answer: its distinct words in order, stop words left out unless nothing else is there."""
    words = {word.casefold().replace(",", "") for word in split_words(answer)}
    return tuple(sorted(words - STOP_WORDS or words))


def split_words(text: str) -> list[str]:
    """Return the words of a text in any script; a letter keeps its combining marks, and both ways to write "é" are one."""
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text.translate(_WIDE)).casefold())
    kinds = [(char, unicodedata.category(char)) for char in text]
    kept = [(char, kind) for char, kind in kinds if kind != "Cf"]  # joiners and soft hyphens are no part of the spelling
    masked = "".join(_MARK if kind[0] == "M" else char for char, kind in kept)
    return ["".join(char for char, _ in kept[match.start() : match.end()]) for match in _WORD.finditer(masked)]


def _classify(group: AnswerGroup) -> AnswerClasses:
    counts: Counter[tuple[str, ...]] = Counter()
    for answer, number in Counter(group.answers).items():
        counts[word_key(answer)] += number
    empty = counts.pop((), 0)
    sizes = sorted([*counts.values(), *[1] * empty], reverse=True)
    return AnswerClasses(tuple(sizes), None if group.claimed is None else counts[word_key(group.claimed)])
