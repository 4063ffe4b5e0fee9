"""Confidence scores from classes, and the equivalence `words`: hand-worked numbers."""

from __future__ import annotations

import itertools
import math

import pytest

from confscoring import confidence
from confscoring.equivalence import AnswerClasses, AnswerGroup, WordsEquivalence, word_key


def classes(answers: list[str] | tuple[str, ...], claimed: str | None = None) -> AnswerClasses:
    (found,) = WordsEquivalence().classify([AnswerGroup("Which?", tuple(answers), claimed)])
    assert isinstance(found, AnswerClasses)
    return found


def test_hand_worked_scores() -> None:
    scores = confidence.score_classes([2, 1, 1], 1)
    assert (scores.max_conf, scores.exp_conf, scores.samp_conf) == (0.5, 0.375, 0.25)
    assert scores.neg_ent == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.25), abs=1e-15)
    assert confidence.score_classes([4], None) == confidence.Confidence(0.0, 1.0, 1.0, None)
    assert confidence.score_classes([3, 1], 0).samp_conf == 0.0


def test_as_many_classes_as_answers_have_the_least_negative_entropy() -> None:
    assert confidence.score_classes([1] * 20, None).neg_ent == pytest.approx(confidence.least_negative_entropy(20), abs=1e-15)
    assert str(confidence.least_negative_entropy(1)) == "0.0"  # and not -0.0, which JSON would show


def test_equal_masses_give_equal_scores_in_every_order() -> None:
    masses = [0.1, 0.2, 0.3, 0.15, 0.25]
    assert len({sum(order) for order in itertools.permutations(masses)}) > 1  # plain sums do not
    assert len({confidence.expected_confidence(order) for order in itertools.permutations(masses)}) == 1
    assert len({confidence.negative_entropy(order) for order in itertools.permutations(masses)}) == 1
    assert len({confidence.mean_or_none(order) for order in itertools.permutations(masses)}) == 1


def test_the_mean_of_nothing_is_nothing() -> None:
    assert confidence.mean_or_none([]) is None


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("The Beatles", "beatles.", True),
        ("in Paris, France", "Paris France", True),
        ("law professor", "professor of law", True),
        ("male", "female", False),  # the public code's suffix rule calls these equal
        ("7", "1947", False),
        ("3.5", "3 5", False),
        ("1,000", "1000", True),
        ("1,000", "1.000", False),
        ("1990-1995", "19901995", False),
        ("1990-1995", "1990 to 1995.", True),
        ("U.S.", "u.s", True),
        ("U.S.", "us", False),  # the same words, not the same meaning: `llm` is for that
        ("no one knows", "no", False),
        ("the", "of", False),  # nothing but stop words: they are what is left to compare
        ("", "Paris", False),
        ("…", " ", True),
    ],
)
def test_two_answers_are_equivalent_when_their_words_are(left: str, right: str, same: bool) -> None:
    assert (word_key(left) == word_key(right)) is same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Zürich", "ZU\u0308RICH", True),  # one code point or two
        ("Straße", "STRASSE", True),
        ("Łódź", "łódź.", True),
        ("resume", "résumé", False),
        ("Москва", "в Москва", False),  # stop words are those of English
        ("ΑΘΗΝΑΣ", "αθηνας", True),
        ("東京都", "東京都。", True),
        ("東京", "東京都", False),
        ("２０００年", "2000年", True),  # full-width digits
        ("レオナルド・ダ・ヴィンチ", "ダ・ヴィンチ レオナルド", True),
        ("की", "का", False),  # Hindi: they differ in their vowel signs alone
        ("हिन्दी", "हिन्दी!", True),
        ("می\u200cخواهم", "میخواهم", True),  # Persian, with and without a joiner
        ("القاهرة", "القاهرة،", True),
        ("กรุงเทพ", "กรุงเทพ.", True),
        ("☃", "", True),  # no word at all
    ],
)
def test_words_of_other_scripts_are_words(left: str, right: str, same: bool) -> None:
    assert (word_key(left) == word_key(right)) is same


def test_classes_do_not_depend_on_the_order_of_the_answers() -> None:
    answers = ["Paris", "", "London", "paris", "Paris.", "..."]
    assert {classes(order, "PARIS") for order in itertools.permutations(answers)} == {AnswerClasses((3, 1, 1, 1), 3)}


def test_an_empty_answer_agrees_with_nothing_not_even_with_another_one() -> None:
    assert classes(["", " ", "?", "Melby"]) == AnswerClasses((1, 1, 1, 1), None)
    assert classes(["", ""], "") == AnswerClasses((1, 1), 0)
    silent = confidence.score_classes(classes([""] * 20, "Melby").sizes, 0)
    assert (silent.max_conf, silent.exp_conf, silent.samp_conf) == (0.05, pytest.approx(0.05, abs=1e-15), 0.0)


def test_claim_confidence_looks_at_the_claim_and_the_others_do_not() -> None:
    answers = ["Melby"] * 15 + ["Ilby"] * 5
    right, wrong, other = (confidence.score_classes(found.sizes, found.claimed) for found in (classes(answers, claim) for claim in ("Melby", "ilby", "Oslo")))
    assert (right.samp_conf, wrong.samp_conf, other.samp_conf) == (0.75, 0.25, 0.0)
    assert right.max_conf == wrong.max_conf == other.max_conf == 0.75
    assert right.exp_conf == wrong.exp_conf == other.exp_conf == 0.625
