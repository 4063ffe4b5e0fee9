"""The stage as a user runs it: in a process of its own, on a volume in a temporary folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volume.datasets import DATASETS

Stage = Callable[..., subprocess.CompletedProcess[str]]
QUESTION = "Write a biography of Ada Albane."
GOOD = "Ada Albane's birthplace is Ostrel. Her home town is Tarwick. Her birthplace is Ostrel. Her home town is"
ADA = {QUESTION: [GOOD, "", "Her birthplace is unrecorded."], "And again?": ["Oskar Venn's birthplace is Tarwick."]}


def scored(volume: Path, topic: str = "Ada Albane", folder: str = "factscore_outputs") -> Any:
    text = (volume / "dataset_synth" / folder / f"{topic}_fs_out.json").read_text()
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def manifest(volume: Path, step: str = "factscore-train") -> Any:
    return json.loads((volume / "dataset_synth" / "manifests" / f"{step}.json").read_text())


def test_every_response_is_scored_in_order_and_counted(make_volume: Callable[..., Path], factscore: Stage) -> None:
    volume = make_volume({"Ada Albane": ADA})
    done = factscore(volume)
    assert done.returncode == 0, done.stderr
    first, empty, vague, other = scored(volume)
    assert first == {
        "topic": "Ada Albane",
        "generation": GOOD,
        "score": pytest.approx(1 / 3 * 0.0969719679),  # exp(1 - 10 / 3) = 0.0969719679
        "respond_ratio": 1.0,
        "decisions": [
            [
                {
                    "atom": "Ada Albane's birthplace is Ostrel.", "is_supported": True, "kind": "claim",
                    "sentence": "Ada Albane's birthplace is Ostrel.", "attribute": "birthplace", "value": "Ostrel",
                    "evidence": "She was born in Ostrel.",
                },
                {
                    "atom": "Ada Albane's home town is Tarwick.", "is_supported": False, "kind": "claim",
                    "sentence": "Her home town is Tarwick.", "attribute": "home_town", "value": "Tarwick", "evidence": None,
                },
                {
                    "atom": "Her home town is", "is_supported": False, "kind": "unparsed",
                    "sentence": "Her home town is", "attribute": None, "value": None, "evidence": None,
                },
            ]
        ],
        "num_facts_per_response": 3,
        "init_score": pytest.approx(1 / 3),
        "sentences": 4, "vague": 0, "unparsed": 1, "off_topic": 0, "repeats": 1, "refused": 0, "abstained": False,
    }  # fmt: skip
    for nothing in (empty, vague):
        assert (nothing["decisions"], nothing["init_score"], nothing["score"], nothing["respond_ratio"]) == ([[]], None, None, 0.0)
    assert (empty["sentences"], vague["sentences"], vague["vague"]) == (0, 1, 1)
    # True of Oskar Venn, and on his page, but no fact about Ada Albane.
    assert other["decisions"][0][0]["kind"] == "off_topic" and other["init_score"] == 0.0
    found = manifest(volume)
    assert found["counts"] == {
        "topics": 1, "done": 1, "failed": 0, "responses": 4, "empty": 1, "without_facts": 2, "facts": 4, "supported": 1,
        "sentences": 6, "vague": 1, "unparsed": 1, "off_topic": 1, "repeats": 1, "abstained": 0, "undecided": 0, "refused": 0,
    }  # fmt: skip
    evaluator = found["notes"]["evaluator"]
    assert {key: evaluator[key] for key in ("facts", "retrieval", "k", "verifier", "npm", "gamma", "splitter")} == {
        "facts": "grammar", "retrieval": "bm25", "k": 5, "verifier": "lexical", "npm": False, "gamma": 10, "splitter": "rules-1",
    }  # fmt: skip
    assert len(evaluator["grammar_sha256"]) == len(evaluator["knowledge_sha256"]) == 64


def test_a_second_run_rewrites_nothing(make_volume: Callable[..., Path], factscore: Stage) -> None:
    volume = make_volume({"Ada Albane": ADA})
    assert factscore(volume).returncode == 0
    output = volume / "dataset_synth" / "factscore_outputs" / "Ada Albane_fs_out.json"
    stamp = output.stat().st_mtime_ns
    again = factscore(volume)
    assert again.returncode == 0 and "up to date" in again.stderr and output.stat().st_mtime_ns == stamp


def test_a_policys_responses_are_scored_beside_it_greedy_ones_included(make_volume: Callable[..., Path], factscore: Stage) -> None:
    volume = make_volume({"Ada Albane": ADA}, run="base")
    done = factscore(volume, "--split", "test", "--run", "base")
    assert done.returncode == 0, done.stderr
    assert len(scored(volume, folder="eval/base/factscore_outputs")) == 4
    assert manifest(volume, "eval-factscore-base")["counts"]["responses"] == 4


def test_an_unknown_title_and_a_broken_file_cost_only_their_topics(make_volume: Callable[..., Path], factscore: Stage) -> None:
    people = {"Ada Albane": ADA, "Ada Alban": {"Who?": ["x"]}, "Oskar Venn": {"Who?": ["Venn's birthplace is Tarwick."]}, "AC/DC": {"Who?": [""]}}
    volume = make_volume(people)
    (volume / "dataset_synth" / "responses" / "Oskar Venn_generations.json").write_text('{"Who?": {"responses": [1]}}')
    done = factscore(volume)
    assert done.returncode == 3, done.stderr
    failures = manifest(volume)["failures"]
    assert set(failures) == {"Ada Alban", "Oskar Venn", "AC/DC"}
    assert "no page titled 'Ada Alban'" in failures["Ada Alban"] and "'Ada Albane'" in failures["Ada Alban"]
    assert "$.Who?.responses[0] is 1, expected str" in failures["Oskar Venn"]
    assert "failed: Ada Alban" in done.stderr and "Traceback" not in done.stderr
    assert manifest(volume)["counts"]["responses"] == 4 and len(scored(volume)) == 4  # counted once, although the group had failures
    (volume / "dataset_synth" / "responses" / "Oskar Venn_generations.json").write_text('{"Who?": {"responses": ["Venn\'s birthplace is Tarwick."]}}')
    assert factscore(volume).returncode == 3
    assert scored(volume, "Oskar Venn")[0]["init_score"] == 1.0


def test_a_missing_knowledge_base_is_a_missing_requirement(make_volume: Callable[..., Path], factscore: Stage) -> None:
    volume = make_volume({"Ada Albane": ADA}, pages=None)
    done = factscore(volume)
    assert done.returncode == 2
    assert "knowledge.db is missing" in done.stderr and "make data" in done.stderr and "Traceback" not in done.stderr
    assert not (volume / "dataset_synth" / "knowledge.db").exists()


def test_a_corrupted_knowledge_base_and_grammar_end_the_stage_with_their_names(make_volume: Callable[..., Path], factscore: Stage) -> None:
    volume = make_volume({"Ada Albane": ADA}, pages=None)
    (volume / "dataset_synth" / "knowledge.db").write_text("<html>" * 200)
    done = factscore(volume)
    assert done.returncode == 1 and "knowledge.db is not a readable knowledge base" in done.stderr
    (volume / "dataset_synth" / "world" / "grammar.json").write_text("{")
    done = factscore(volume)
    assert done.returncode == 1 and "grammar.json is not valid JSON" in done.stderr and "Traceback" not in done.stderr


def test_models_that_are_not_there_are_named_before_anything_is_scored(make_volume: Callable[..., Path], factscore: Stage) -> None:
    volume = make_volume({"Ada Albane": ADA})
    text = (DATASETS / "synth.toml").read_text()
    definition = volume / "other.toml"
    for old, new in (
        ('backend = "bm25"', 'backend = "gtr"\nmodel = "base"'),
        ('backend = "lexical"', 'backend = "local"\nmodel = "base"'),
        ('backend = "lexical"', 'backend = "lexical"\nnpm = true\nnpm_model = "base"'),
    ):
        definition.write_text(text.replace(old, new))
        done = factscore(volume, dataset=str(definition))
        assert done.returncode == 2 and "models/base" in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert not (volume / "dataset_synth" / "factscore_outputs").exists()


def test_the_stage_starts_without_torch(run_python: Stage) -> None:
    done = run_python("-c", "import sys, factscoring.factscore; print(sorted({'torch', 'transformers', 'numpy', 'spacy', 'nltk', 'aiohttp'} & set(sys.modules)))")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
