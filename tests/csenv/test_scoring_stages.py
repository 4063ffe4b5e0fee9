"""Questions and entities, through the stages' own functions and commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confscoring import questions
from confscoring.entities import EntityFinder, numbered
from confscoring.question_grammar import QuestionGrammar
from confscoring.synthetic.grammar import build_grammar
from confscoring.synthetic.people import create_people
from volume.files import write_json
from volume.settings import WorldSettings
from volume.stage import run_topics


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Two topics with two responses each, as the stages before leave them."""
    root = tmp_path / "dataset_synth"
    write_json(root / "world" / "grammar.json", build_grammar(create_people(0, WorldSettings(people=60))[1]))
    write_json(root / "questions_per_topic_train.json", [{"topic": name, "topic_id": 0, "questions": ["Q?"]} for name in ("Ada Beck", "Bo Crest")])
    for name in ("Ada Beck", "Bo Crest"):
        write_json(root / "responses" / f"{name}_generations.json", {"Q?": {"responses": ["one", "two"]}})
        write_json(root / "factscore_outputs" / f"{name}_fs_out.json", [scored(name, 1.0, ["Melby"]), scored(name, None, [])])
        write_json(
            root / "atomic_qs_samples" / "base_20samples" / f"{name}_samples.json",
            {"samples": [{f"Which town does {name} live in?": ["Melby"] * 15 + ["Ilby"] * 5}, {}]},
        )
    return tmp_path


def scored(topic: str, score: float | None, values: list[str]) -> dict:
    decisions = [
        {"atom": f"{topic}'s home town is {value}.", "is_supported": True, "kind": "claim", "sentence": "", "attribute": "home_town", "value": value, "evidence": None}
        for value in values
    ]
    return {"topic": topic, "generation": "x", "score": score, "respond_ratio": float(bool(values)), "decisions": [decisions], "num_facts_per_response": len(values), "init_score": score}


def call(volume: Path) -> list[str]:
    return ["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]


def test_facts_get_questions_that_carry_the_claims_answer(volume: Path) -> None:
    root = volume / "dataset_synth"
    assert run_topics("questions", questions.prepare, argv=call(volume)) == 0
    decision = json.loads((root / "atomic_qs" / "Ada Beck_aqs.json").read_text())[0]["decisions"][0][0]
    assert decision["atomic_question"] == "Which town does Ada Beck live in?"
    assert decision["claim_answer"] == "Melby" and decision["is_supported"] is True


def test_an_unreadable_or_foreign_sentence_gets_no_question(volume: Path) -> None:
    grammar = QuestionGrammar(volume / "dataset_synth" / "world" / "grammar.json")
    row = scored("Ada Beck", 0.0, ["Melby"])
    row["decisions"][0][0]["kind"] = "off_topic"
    row["decisions"][0].append({"atom": "??", "is_supported": False, "kind": "unparsed", "attribute": None, "value": None})
    asked = questions.add_questions(row, grammar)["decisions"][0]
    assert [decision["atomic_question"] for decision in asked] == [None, None]
    assert questions.add_questions({**row, "decisions": [None]}, grammar)["decisions"] == [None]  # the public code's empty list


def test_entities_are_the_stated_values_in_order(volume: Path) -> None:
    finder = EntityFinder(volume / "dataset_synth" / "world" / "grammar.json")
    text = "Her year of birth is 1950. Her birthplace is unrecorded. The town where she lives is Melby. Nonsense. For this person, the discipline reads law."
    assert [text[start:end] for start, end in finder.find(text)] == ["1950", "Melby", "law"]
    assert finder.find("") == []


def test_repeats_keep_keys_of_their_own() -> None:
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
