"""The passages of a topic's own page that bear on a fact, best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from factscoring.bm25 import BM25
from factscoring.sentences import find_words


class PageRetriever:
    """BM25 over the passages of one page; the index is built once per topic.

    Args:
        topic: The page's title, a part of every query as in FActScore.
        passages: The page's passages.
        k: Passages per fact.
        tokenise: Gives the words of a text. FActScore's own BM25 has ``str.split``: words keep their case and their
            punctuation, so that "Ostrel." is not "Ostrel".
    """

    def __init__(self, topic: str, passages: Sequence[str], k: int, tokenise: Callable[[str], list[str]] = find_words) -> None:
        self._tokenise = tokenise
        self._topic_words = tokenise(topic)
        self._passages = list(passages)
        self._k = k
        self._index = BM25([tokenise(passage) for passage in self._passages])

    def find(self, fact: str) -> list[str]:
        """Return up to k passages for the query "topic fact"."""
        best = self._index.rank([*self._topic_words, *self._tokenise(fact)], self._k)
        return [self._passages[index] for index in best]

    def find_all(self, facts: Sequence[str]) -> list[list[str]]:
        """Return ``find`` of every fact, in order."""
        return [self.find(fact) for fact in facts]
