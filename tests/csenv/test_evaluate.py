"""Evaluation: the judge and the counts worked by hand; the stage by its command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_volume import make_volume

from confscoring.judge import VagueReader, World, confuse, rates
from confscoring.marking import mark_response
from confscoring.measures import count_attributes, count_topic
from confscoring.summary import Opinions, summarise
from confscoring.synthetic.grammar import ATTRIBUTES, build_grammar, state
from volume.settings import EvalSettings

FACTS = {"field": "botany", "prize": "Ironleaf", "home_town": "Ilby"}
WORLD = World(
    ["field", "prize", "home_town"], ["top", "bottom"],
    {"Ada Rook": {"name": "Ada Rook", "tier": 1, "facts": FACTS, "exposure": {}, "in_knowledge": ["field", "home_town"]}},
)  # fmt: skip
GRAMMAR = {
    "vague": "unrecorded",
    "attributes": [
        {
            "name": name,
            "statements": [f"{{name}}'s {name.replace('_', ' ')} is {{value}}."],
            "spoken_statements": [f"{{Their}} {name.replace('_', ' ')} is {{value}}."],
        }
        for name in FACTS
    ],
}


def claim(attribute: str, value: str, supported: bool) -> dict[str, Any]:
    sentence = f"Her {attribute.replace('_', ' ')} is {value}."
    return {"atom": sentence, "is_supported": supported, "kind": "claim", "sentence": sentence, "attribute": attribute, "value": value, "evidence": None}


def other(kind: str, sentence: str) -> dict[str, Any]:
    return {"atom": sentence, "is_supported": False, "kind": kind, "sentence": sentence, "attribute": None, "value": None, "evidence": None}


def response(decisions: list[dict[str, Any]] | None, text: str, **counts: int) -> dict[str, Any]:
    return {"topic": "Ada Rook", "generation": text, "score": None, "respond_ratio": float(bool(decisions)), "decisions": [decisions],
            "num_facts_per_response": float(len(decisions or [])), "init_score": None, **counts}  # fmt: skip


FIRST = response(
    [
        claim("field", "Botany", True), claim("prize", "Ironleaf", False), claim("home_town", "Brenport", False),
        other("unparsed", "She town of."), other("off_topic", "His field is law."),
    ],
    "Her field is Botany. Her prize is Ironleaf. Her home town is Brenport. She town of. His field is law.",
    sentences=5, vague=0, unparsed=1, off_topic=1, repeats=0,
)  # fmt: skip
SECOND = response(
    [claim("field", "law", True)],
    "Her field is law. Her prize is unrecorded. Her prize is unrecorded.",
    sentences=3,
    vague=2,
    unparsed=0,
    off_topic=0,
    repeats=0,
)
EMPTY = response(None, "", sentences=0, vague=0, unparsed=0, off_topic=0, repeats=0)


def test_a_claim_is_true_when_the_world_holds_that_value_whatever_its_case() -> None:
    assert [WORLD.supports("Ada Rook", decision) for decision in FIRST["decisions"][0]] == [True, True, False, False, False]


def test_counts_of_three_responses_by_truth_and_by_verifier() -> None:
    counts = count_topic(WORLD, "Ada Rook", [FIRST, SECOND, EMPTY], [25, 15, 0])
    assert counts == {
        "people": 1, "responses": 3, "facts": 6, "claims": 4, "sentences": 8, "vague": 2, "unparsed": 1, "off_topic": 1, "repeats": 0,
        "words": 32, "tokens": 40, "empty": 1, "rated": 2,
        # by truth: botany and Ironleaf of 5, nothing of 1; unparsed and off-topic text counts as incorrect
        "truth_correct": 2, "truth_incorrect": 4, "truth_ratios": 400_000_000, "truth_distinct": 2,
        # by the verifier: botany of 5, law of 1
        "verifier_correct": 2, "verifier_incorrect": 4, "verifier_ratios": 1_200_000_000, "verifier_distinct": 2,
    }  # fmt: skip


def test_without_a_world_the_verifier_alone_judges_and_unknown_lengths_are_not_invented() -> None:
    counts = count_topic(None, "Ada Rook", [FIRST], None)
    assert counts["verifier_correct"] == 1
    assert "truth_correct" not in counts and "tokens" not in counts


def test_the_confusion_says_why_true_claims_were_turned_down() -> None:
    # Ironleaf is true and unsupported, and the knowledge base has no prize: no verifier could have confirmed it.
    counts = confuse(WORLD, [FIRST, SECOND, EMPTY])
    assert counts == {
        "supported_true": 1,
        "supported_false": 1,
        "unsupported_true": 1,
        "unsupported_false": 1,
        "unsupported_true_absent": 1,
        "unsupported_true_present": 0,
    }
    assert rates(counts) == {"agreement": 50.0, "precision": 50.0, "recall": 50.0}
    assert rates(confuse(WORLD, [EMPTY])) == {"agreement": None, "precision": None, "recall": None}


def test_facts_left_open_are_counted_by_attribute_once_per_response() -> None:
    cells = count_attributes(WORLD, VagueReader(GRAMMAR), "Ada Rook", [FIRST, SECOND])
    assert cells == {
        "field": {"correct": 1, "incorrect": 1, "vague": 0},
        "prize": {"correct": 1, "incorrect": 0, "vague": 1},
        "home_town": {"correct": 0, "incorrect": 1, "vague": 0},
    }


@pytest.mark.parametrize("form", range(5))
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_vague_sentence_of_the_world_s_grammar_is_recognised(attribute: str, form: int) -> None:
    reader = VagueReader(build_grammar({name: [] for name in ATTRIBUTES}))
    text = f"{state('field' if attribute != 'field' else 'prize', 'she', 'botany')} {state(attribute, 'she', 'unrecorded', form)}"
    assert reader.attributes(text) == {attribute}


def test_a_marked_response_says_what_each_sentence_is_and_what_would_have_been_true() -> None:
    marked = mark_response(WORLD, VagueReader(GRAMMAR), "Ada Rook", SECOND)
    assert marked == {
        "topic": "Ada Rook", "tier": "bottom",
        "pieces": [
            {"text": "Her field is law.", "status": "incorrect", "fact": 0},
            {"text": "Her prize is unrecorded.", "status": "vague"},
            {"text": "Her prize is unrecorded.", "status": "vague"},
        ],
        "facts": [{"atom": "Her field is law.", "status": "incorrect", "verdict": "supported", "truth": "botany"}],
    }  # fmt: skip


def test_a_fact_beside_the_question_is_neither_correct_nor_incorrect_and_stays_among_all_facts() -> None:
    counts = count_topic(None, "Ada Rook", [FIRST, SECOND], None, [[False, None, True, None, None], [None]])
    assert (counts["facts"], counts["verifier_correct"], counts["verifier_incorrect"], counts["irrelevant"]) == (6, 1, 4, 1)
    assert counts["verifier_ratios"] == 1_000_000_000 and counts["verifier_distinct"] == 1  # 0 of 5, and 1 of 1: undecided is relevant
    assert "irrelevant" not in count_topic(None, "Ada Rook", [FIRST], None)


def test_a_correct_fact_that_responses_repeat_is_one_different_fact() -> None:
    again = response([{**claim("field", "Botany", True), "atom": "her  FIELD is botany"}, claim("prize", "Ironleaf", True)], "x")
    assert count_topic(None, "Ada Rook", [FIRST, again], None)["verifier_distinct"] == 2


def test_responses_that_decline_are_counted_where_the_scores_say_so_and_the_respond_ratio_is_the_share_that_states_a_fact() -> None:
    rows: Any = [{**FIRST, "abstained": False}, {**EMPTY, "abstained": True}, {**EMPTY, "abstained": False}, {**SECOND, "abstained": False}]
    summary = summarise({"Ada Rook": {"sample": (rows, None)}}, None, None, None, EvalSettings(bootstrap=5), 0)
    plain = summary["decodings"]["sample"]["figures"]["plain"]
    assert (plain["respond"]["value"], plain["empty"]["value"], plain["abstained"]["value"]) == (50.0, 50.0, 25.0)
    assert "irrelevant" not in plain and "second_judges" not in summary


def test_a_second_judge_has_figures_of_its_own_over_those_whom_it_judged() -> None:
    strict = response([claim("field", "Botany", False), *FIRST["decisions"][0][1:]], FIRST["generation"])
    scored: Any = {"Ada": {"sample": ([FIRST], None)}, "Bo": {"sample": ([SECOND], None)}}
    opinions = Opinions(None, {"strict": {"Ada": {"sample": ([strict], None)}, "Bo": None}})
    summary = summarise(scored, None, None, None, EvalSettings(bootstrap=50), 0, opinions)
    figures = summary["decodings"]["sample"]["figures"]
    assert summary["judges"] == ["verifier"] and summary["second_judges"] == {"strict": ["Bo"]}
    assert (figures["verifier"]["percent_correct"]["value"], figures["verifier"]["correct"]["value"]) == (33.333333, 1.0)  # 2 of 6, of two responses
    assert (figures["strict"]["percent_correct"]["value"], figures["strict"]["incorrect"]["value"]) == (0.0, 5.0)  # of Ada's one response


def test_figures_of_one_person_are_their_own_interval() -> None:
    scored = {"Ada Rook": {"sample": ([FIRST, SECOND], [20, 12]), "greedy": ([EMPTY], [0])}}
    book = {"Ada Rook": {"field": True, "prize": False}}
    summary = summarise(scored, WORLD, VagueReader(GRAMMAR), book, EvalSettings(bootstrap=50), 0)
    figures = summary["decodings"]["sample"]["figures"]
    assert figures["truth"]["percent_correct"] == {"value": 33.333333, "low": 33.333333, "high": 33.333333}  # 2 of 6
    assert figures["truth"]["percent_correct_macro"]["value"] == 20.0  # (2/5 + 0/1) / 2
    assert figures["truth"]["incorrect"]["value"] == 2.0
    assert figures["plain"]["vague_share"]["value"] == 25.0  # 2 of 8 sentences
    assert figures["plain"]["unparsed"]["value"] == 12.5
    assert summary["decodings"]["greedy"]["figures"]["truth"]["percent_correct"]["value"] is None
    assert summary["decodings"]["greedy"]["figures"]["plain"]["empty"]["value"] == 100.0
    assert summary["closed_book"]["accuracy"]["value"] == 50.0
    assert summary["per_person"]["closed_book"] == {"field": [1], "prize": [0], "home_town": [-1]}


def evaluate(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "confscoring.evaluate", "--dataset", "synth", "--data-dir", str(data_dir), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    make_volume(data_dir, people=10, policies=("sft",), n=2)
    return data_dir


def test_the_stage_writes_the_same_summary_twice(volume: Path) -> None:
    path = volume / "dataset_synth" / "eval" / "sft" / "summary.json"
    assert evaluate(volume, "--run", "sft").returncode == 0
    first = path.read_bytes()
    path.unlink()
    assert evaluate(volume, "--run", "sft", "--split", "test").returncode == 0
    assert path.read_bytes() == first
    summary = json.loads(first)
    people = len(json.loads((volume / "dataset_synth" / "questions_per_topic_test.json").read_text()))
    assert summary["people"] == len(summary["per_person"]["names"]) == people and summary["missing"] == []
    assert summary["decodings"]["sample"]["responses"] == 2 * people and summary["decodings"]["greedy"]["responses"] == people
    sums = summary["per_person"]["sums"]["sample"]
    assert [right + wrong for right, wrong in zip(sums["truth_correct"], sums["truth_incorrect"], strict=True)] == sums["facts"]
    assert sum(row["people"] for row in summary["decodings"]["sample"]["by_tier"]) == people


def test_a_person_whom_an_earlier_stage_failed_on_is_left_out_and_named(volume: Path) -> None:
    victim = sorted((volume / "dataset_synth" / "eval" / "sft" / "factscore_outputs").glob("*.json"))[0]
    content = victim.read_bytes()
    victim.unlink()
    assert evaluate(volume, "--run", "sft").returncode == 0
    victim.write_bytes(content)
    summary = json.loads((volume / "dataset_synth" / "eval" / "sft" / "summary.json").read_text())
    assert len(summary["missing"]) == 1 and summary["missing"][0] not in summary["per_person"]["names"]


def test_scores_of_other_responses_are_refused(volume: Path) -> None:
    victim = sorted((volume / "dataset_synth" / "eval" / "sft" / "factscore_outputs").glob("*.json"))[0]
    content = victim.read_text()
    victim.write_text(json.dumps(list(reversed(json.loads(content)))))
    done = evaluate(volume, "--run", "sft")
    victim.write_text(content)
    assert done.returncode == 1 and "does not score the responses" in done.stderr and "Traceback" not in done.stderr


def test_a_run_that_has_not_been_evaluated_is_a_usage_error(volume: Path) -> None:
    done = evaluate(volume, "--run", "factscore")
    assert done.returncode == 2 and "no scored responses" in done.stderr
