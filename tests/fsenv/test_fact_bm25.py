"""BM25 against numbers worked by hand and against rank_bm25, and retrieval within a page."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from rank_bm25 import BM25Okapi

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


@pytest.mark.parametrize("seed", range(200))
def test_scores_and_ranking_are_those_of_rank_bm25(seed: int) -> None:
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(rng.choice((1, 3, 12, 80)))]  # few words: most stand in most passages
    weights = [1 / (number + 1) for number in range(len(words))]
    passages = [rng.choices(words, weights, k=rng.randint(1, 60)) for _ in range(rng.choice((1, 1, 2, 3, 8, 40)))]
    if len(passages) > 1:
        passages[rng.randrange(len(passages))] = []  # a passage without words
    ours, theirs = BM25(passages), BM25Okapi(passages)
    assert ours.idf == pytest.approx(theirs.idf, rel=1e-9, abs=1e-12)
    queries = [[], words[:1] * 5, ["nowhere"], *([*rng.choices(words, k=rng.randint(1, 15)), "nowhere"] for _ in range(5))]
    for query in queries:
        expected = [float(score) for score in theirs.get_scores(query)]
        assert ours.scores(query) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        ranked = ours.rank(query, len(passages))
        assert sorted(ranked) == list(range(len(passages)))
        for better, worse in pairwise(ranked):
            equal = expected[better] == pytest.approx(expected[worse], rel=1e-9, abs=1e-12)
            assert equal or expected[better] > expected[worse]


def test_pages_of_negative_idf_are_among_those_compared_with_rank_bm25() -> None:
    passages = [["a", "b"], ["a", "b", "b"], ["a", "c"]]
    assert BM25(passages).idf["a"] < 0
    assert BM25(passages).idf == pytest.approx(BM25Okapi(passages).idf, rel=1e-9)


def test_the_words_of_the_public_code_keep_their_case_and_punctuation() -> None:
    passages = ["She lives in Ostrel.", "ostrel is a town", "In Ostrel she was born", "A fourth passage"]
    topic, fact = "Ada Albane", "She was born in Ostrel."
    theirs = BM25Okapi([passage.split() for passage in passages]).get_scores(f"{topic} {fact}".split())
    best = sorted(range(4), key=lambda index: -theirs[index])[:3]
    assert PageRetriever(topic, passages, 3, tokenise=str.split).find(fact) == [passages[index] for index in best]
    assert PageRetriever(topic, passages, 1, tokenise=str.split).find("ostrel") == [passages[1]]
    assert PageRetriever(topic, passages, 1).find("lives in OSTREL!") == [passages[0]]


def test_many_facts_are_looked_up_at_once_as_one_by_one() -> None:
    retriever = PageRetriever("Ada", ["Ada sings.", "Ada runs a mill.", "Nothing."], 2)
    facts = ["She runs.", "", "She sings."]
    assert retriever.find_all(facts) == [retriever.find(fact) for fact in facts]
    assert retriever.find_all([]) == []
