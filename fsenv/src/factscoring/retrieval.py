"""The passages of a topic's own page that bear on a fact, best first."""

from __future__ import annotations

from collections.abc import Sequence

from factscoring.bm25 import BM25
from factscoring.sentences import find_words


class PageRetriever:
    """BM25 over the passages of one page; the index is built once per topic.

    Args:
        topic: The page's title, a part of every query as in FActScore.
        passages: The page's passages.
        k: Passages per fact.
    """

    def __init__(self, topic: str, passages: Sequence[str], k: int) -> None:
        self._topic_words = find_words(topic)
        self._passages = list(passages)
        self._k = k
        self._index = BM25([find_words(passage) for passage in self._passages])

    def find(self, fact: str) -> list[str]:
        """Return up to k passages for the query "topic fact"."""
        best = self._index.rank([*self._topic_words, *find_words(fact)], self._k)
        return [self._passages[index] for index in best]
