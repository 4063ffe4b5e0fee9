"""The equivalence `suffix` against the public code's own figures, every one of them.

UPSTREAM_GOLDEN names another file of figures. That code adds 1/n once per answer (20 times 0.05 is 1.0000000000000002 to it),
we divide a count: hence the tolerance of 1e-12.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from confscoring.confidence import score_classes
from confscoring.equivalence import AnswerClasses, AnswerGroup
from confscoring.equivalence_suffix import SuffixEquivalence, are_equivalent, normalise_answer, trim_answer

GOLDEN = Path(os.environ.get("UPSTREAM_GOLDEN") or Path(__file__).resolve().parents[1] / "fixtures" / "upstream.json")
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def golden() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(GOLDEN.read_text())
    return found


def classes(answers: list[str], claimed: str | None = None) -> AnswerClasses:
    (found,) = SuffixEquivalence().classify([AnswerGroup("Which?", tuple(answers), claimed)])
    assert isinstance(found, AnswerClasses)
    return found


def test_every_normalised_answer_is_that_of_the_public_code(golden: dict[str, list[dict[str, Any]]]) -> None:
    cases = golden["normalise"]
    assert len(cases) >= 200
    for case in cases:
        assert (normalise_answer(case["text"]), trim_answer(case["text"])) == (case["normalize_sample"], case["normalize_ans"]), case


def test_every_verdict_on_two_answers_is_that_of_the_public_code(golden: dict[str, list[dict[str, Any]]]) -> None:
    cases = golden["equivalence"]
    assert len(cases) >= 300 and len({case["equivalent"] for case in cases}) == 2
    for case in cases:
        assert are_equivalent(case["a"], case["b"]) is case["equivalent"], case


def test_every_class_and_score_is_that_of_the_public_code(golden: dict[str, list[dict[str, Any]]]) -> None:
    cases = golden["confidence"]
    assert len(cases) >= 120
    for case in cases:
        found = classes(case["samples"], case["original_answer"])
        masses = [size / len(case["samples"]) for size in found.sizes]
        assert masses == pytest.approx(list(case["classes"].values()), abs=TOLERANCE), case  # in the order in which they were founded
        scores = score_classes(found.sizes, found.claimed)
        for name in ("neg_ent", "max_conf", "exp_conf", "samp_conf"):
            assert getattr(scores, name) == pytest.approx(case[name], abs=TOLERANCE), (name, case)


@pytest.mark.parametrize(
    ("left", "right"),
    [("male", "female"), ("possible", "impossible"), ("likely", "unlikely"), ("7", "1947"), ("no", "casino"), ("", "Paris"), ("Paris", "not in Paris"),
     ("no one knows", "No, never"), ("teacher", "a teacher"), ("Teachers", "teacher"), ("painter, sculptor", "sculptor painter painter")],
)  # fmt: skip
def test_the_known_faults_of_the_rules_are_kept(left: str, right: str) -> None:
    assert are_equivalent(normalise_answer(left), normalise_answer(right)) and are_equivalent(normalise_answer(right), normalise_answer(left))


@pytest.mark.parametrize(("left", "right"), [("USA", "United States"), ("New York", "New York City"), ("York", "New Jersey"), ("1990", "1995"), ("yes", "no")])
def test_what_has_no_ending_in_common_differs(left: str, right: str) -> None:
    assert not are_equivalent(normalise_answer(left), normalise_answer(right))


def test_numbers_and_punctuation_lose_their_marks() -> None:
    said = {"3.5": "3 5", "1990-1995": "19901995", "1,000": "1000", "“x”": "“x”", "Ph.D.": "ph d", "The U.S.": "u s", "What?": "what"}
    assert {text: normalise_answer(text) for text in said} == said


def test_the_classes_depend_on_the_order_as_in_the_public_code() -> None:
    assert classes(["york", "new york", "duke of york"]).sizes == (3,)
    assert classes(["new york", "duke of york", "york"]).sizes == (2, 1)


def test_an_empty_answer_first_swallows_all_others_and_a_claim_agrees_with_every_empty_answer() -> None:
    assert classes(["", "Paris", "London"], "Rome") == AnswerClasses((3,), 1)
    assert classes([""] * 20).sizes == (20,)


def test_a_claim_is_compared_with_every_answer_not_with_the_classes() -> None:
    found = classes(["new york", "duke of york", "york"], "york")
    assert found == AnswerClasses((2, 1), 3)


def test_every_answer_is_counted() -> None:
    answers = ["Paris", "paris", "", "not in Paris", "London", "東京", "Paris, France"]
    assert sum(classes(answers).sizes) == len(answers)
    assert sum(classes(answers[::-1] * 3).sizes) == 3 * len(answers)


def test_another_file_of_figures_is_read_where_it_is_named(tmp_path: Path) -> None:
    content = json.loads(GOLDEN.read_text())
    content["confidence"][0]["exp_conf"] += 1e-9
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "of_the_public_code"]
    done = subprocess.run(command, env={**os.environ, "UPSTREAM_GOLDEN": str(other)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "1 failed, 2 passed" in done.stdout, done.stdout
