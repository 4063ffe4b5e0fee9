"""When two answers count as the same: binning sampled answers into equivalence classes.

``words`` follows the paper's text (arXiv 2311.08401, section 3.2): two answers are equivalent when their words, stop words
left out, are the same. It is a true equivalence, so the classes do not depend on the order of the answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from volume.errors import UsageError

STOP_WORDS = frozenset("a an and are as at be been by for from had has have in is it its of on or that the this to was were which with".split())

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")  # "3.5" and "1,000" are one word each

Key = Callable[[str], tuple[str, ...]]


def word_key(answer: str) -> tuple[str, ...]:
    """Return the class of an answer: its distinct words in order, stop words left out unless nothing else is there."""
    words = {word.casefold().replace(",", "") for word in _WORD.findall(answer)}
    return tuple(sorted(words - STOP_WORDS or words))


def class_key(backend: str) -> Key:
    """Return the function that names an answer's class.

    Raises:
        UsageError: The backend is not available yet.
    """
    if backend != "words":
        raise UsageError(f"equivalence.backend = '{backend}' is not available yet; available: words.")
    return word_key


def class_counts(answers: Sequence[str], key: Key) -> Counter[tuple[str, ...]]:
    """Return {class: number of answers in it}. An empty answer is a class of its own, equivalent to nothing else."""
    return Counter(key(answer) for answer in answers)
