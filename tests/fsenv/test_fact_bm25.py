"""BM25 against numbers worked by hand, and retrieval within a page."""

from __future__ import annotations

import pytest

from factscoring.bm25 import BM25
from factscoring.retrieval import PageRetriever

PASSAGES = [["red", "cat"], ["red", "dog", "barks"], ["red", "cat", "cat", "sleeps"]]  # mean length 3


def test_the_floor_of_negative_idf_is_a_quarter_of_the_mean() -> None:
    # red in 3 of 3: ln 0.5 - ln 3.5 = -1.945910; cat in 2: ln 1.5 - ln 2.5 = -0.510826; the others in 1: +0.510826 each.
    # Mean (-1.945910 - 0.510826 + 3 * 0.510826) / 5 = -0.184852, a quarter of it -0.046213.
    idf = BM25(PASSAGES).idf
    assert idf == pytest.approx({"red": -0.046213, "cat": -0.046213, "dog": 0.510826, "barks": 0.510826, "sleeps": 0.510826}, abs=1e-6)


def test_scores_are_those_worked_by_hand() -> None:
    # Norms 1.5 * (0.25 + 0.75 * length / 3): 1.125, 1.5, 1.875.
    # red once: 2.5/2.125 = 1.176471, 2.5/2.5 = 1, 2.5/2.875 = 0.869565, each times -0.046213. dog in the second: + 0.510826.
    assert BM25(PASSAGES).scores(["red", "dog"]) == pytest.approx([-0.054368, 0.464613, -0.040185], abs=1e-6)
    # cat twice in the third: 2 * 2.5 / (2 + 1.875) = 1.290323.
    assert BM25(PASSAGES).scores(["cat"]) == pytest.approx([-0.054368, 0.0, -0.059629], abs=1e-6)


def test_a_word_that_the_query_repeats_counts_again_and_an_unknown_one_does_not_count() -> None:
    index = BM25(PASSAGES)
    assert index.scores(["dog", "dog", "zebra"]) == pytest.approx([0.0, 2 * 0.510826, 0.0], abs=1e-6)


def test_a_word_in_half_of_the_passages_is_worth_nothing() -> None:
    index = BM25([["a", "x"], ["a", "y"], ["b", "z"], ["c", "w"]])
    assert index.idf["a"] == 0.0 and index.scores(["a"]) == [0.0] * 4


def test_ranking_is_best_first_and_ties_keep_the_pages_order() -> None:
    index = BM25(PASSAGES)
    assert index.rank(["red", "dog"], 3) == [1, 2, 0]
    assert index.rank(["red", "dog"], 2) == [1, 2]
    assert index.rank(["zebra"], 3) == [0, 1, 2]
    assert index.rank([], 9) == [0, 1, 2]


@pytest.mark.parametrize(("passages", "expected"), [([], []), ([[]], [0.0]), ([["only"]], [0.25 * -1.098612])])
def test_a_page_of_almost_nothing_is_no_error(passages: list[list[str]], expected: list[float]) -> None:
    # One word in one passage: idf ln 0.5 - ln 1.5 = -1.098612, floored to a quarter of itself; 2.5 / 2.5 = 1.
    assert BM25(passages).scores(["only"]) == pytest.approx(expected, abs=1e-6)


def test_the_query_is_topic_and_fact_and_passages_come_best_first() -> None:
    passages = ["The river is long.", "Albane lives here.", "She won the Rubyquill in Ostrel.", "Nothing else."]
    retriever = PageRetriever("Ada Albane", passages, 2)
    # Both are found by one word each of "Ada Albane ... Rubyquill"; "ada" is nowhere. Shorter passages score higher.
    assert retriever.find("Ada Albane's prize: Rubyquill") == [passages[1], passages[2]]
    assert retriever.find("prize: Rubyquill in Ostrel")[0] == passages[2]
    assert PageRetriever("Ada Albane", [], 5).find("Anything.") == []
