"""Okapi BM25 within one page, with the scores of ``rank_bm25.BM25Okapi``.

    score(d, q) = sum over the words t of q (a repeated word counts again) of
                  idf(t) * f(t, d) * (k1 + 1) / (f(t, d) + k1 * (1 - b + b * |d| / mean |d|))
    idf(t)      = ln(N - n(t) + 0.5) - ln(n(t) + 0.5); where that is negative, epsilon * the mean of all idf

The floor is rank_bm25's own: a word that stands in more than half of the passages would get a negative idf, and on a page
of a few passages that is most words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

K1, B, EPSILON = 1.5, 0.75, 0.25


class BM25:
    """An index over the passages of a page.

    Args:
        passages: The words of each passage.
    """

    def __init__(self, passages: Sequence[Sequence[str]], k1: float = K1, b: float = B, epsilon: float = EPSILON) -> None:
        self._size = len(passages)
        counts = [Counter(words) for words in passages]
        frequency: Counter[str] = Counter()
        for count in counts:
            frequency.update(count.keys())
        self.idf = floored_idf(frequency, self._size, epsilon)
        mean_length = sum(map(len, passages)) / self._size if self._size else 0.0
        # A word's part of the score does not depend on the query: kept per word as (passage, part).
        self._parts: dict[str, list[tuple[int, float]]] = {}
        for index, (words, count) in enumerate(zip(passages, counts, strict=True)):
            for word, number in count.items():
                norm = k1 * (1 - b + b * len(words) / mean_length)
                self._parts.setdefault(word, []).append((index, self.idf[word] * (number * (k1 + 1) / (number + norm))))

    def scores(self, query: Sequence[str]) -> list[float]:
        """Return the score of every passage for the words of a query; words that the page lacks add nothing."""
        scores = [0.0] * self._size
        for word in query:
            for index, part in self._parts.get(word, ()):
                scores[index] += part
        return scores

    def rank(self, query: Sequence[str], k: int) -> list[int]:
        """Return the indices of the best ``k`` passages, best first; equal scores keep the page's order."""
        scores = self.scores(query)
        return sorted(range(self._size), key=lambda index: -scores[index])[:k]


def floored_idf(frequency: Counter[str], size: int, epsilon: float) -> dict[str, float]:
    """Return the inverse document frequency of every word.

    Args:
        frequency: In how many of the ``size`` passages each word stands.
        epsilon: Negative values become this share of the mean over all words.
    """
    idf = {word: math.log(size - number + 0.5) - math.log(number + 0.5) for word, number in frequency.items()}
    if not idf:
        return idf
    floor = epsilon * (sum(idf.values()) / len(idf))  # itself negative where most words are in most passages, as in rank_bm25
    return {word: value if value >= 0 else floor for word, value in idf.items()}
