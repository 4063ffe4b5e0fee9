"""What the stages of confidence scoring would ask of a service, against what they do ask."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest
from question_volume import PEOPLE, answer, arguments, run_stage, write_definition, write_volume
from scripted_service import ScriptedService

from confscoring.estimate import ESTIMATORS
from volume.costs import service_of, show_costs, tell_estimate
from volume.datasets import load_definition
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.steps import build_steps

SAMPLED = """backend = "llm"
model = "scripted"
[models.llama]
path = "models/llama"
source = "served/llama"
[responses]
backend = "openai"
model = "llama"
n = 5
max_new_tokens = 100
samples_per_call = 2
[answers]
backend = "openai"
model = "llama"
n = 4
max_new_tokens = 15
prefix = "Q A"
[entities]
enabled = true
backend = "spacy"
n = 3
[equivalence]
backend = "llm"
model = "scripted"
"""


def sampling(folder: Path, more: str = "") -> Path:
    """Write a volume of which only the questions file is there, with every stage by a service."""
    volume = write_volume(folder, SAMPLED + more, people=PEOPLE[:2])
    for path in (volume / "dataset_mine" / "factscore_outputs").iterdir():
        path.unlink()
    return volume


def estimate(capsys: pytest.CaptureFixture[str], volume: Path, stage: str, *more: str) -> dict[str, Any]:
    """Return the estimate of a stage as its command prints it."""
    capsys.readouterr()
    assert tell_estimate([stage, *arguments(volume, *more)], ESTIMATORS) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_questions_are_counted_exactly_and_recorded_ones_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = write_volume(tmp_path, more="input_price = 1.0\noutput_price = 2.0")
    found = estimate(capsys, volume, "questions")
    assert (found["calls"], found["recorded"]) == (4 * len(PEOPLE), 0)
    assert found["usd"] == pytest.approx((found["prompt_tokens"] + 2 * found["completion_tokens"]) / 1e6) and found["prompt_tokens"] > 300 * found["calls"]
    assert found["assumed"] == ["a reply that is of no use is asked for once more, which is not counted"]
    with ScriptedService(answer, lambda body, _: "400" if "Marit" in body["messages"][-1]["content"] else None) as service:
        write_definition(volume, url=service.url)
        assert run_stage(volume).returncode == 3
        assert sum(len(body["messages"]) == 14 for body in service.calls) == 4 * len(PEOPLE) * 2 // 3
    found = estimate(capsys, volume, "questions")
    assert (found["calls"], found["recorded"]) == (4 * 3, 0)  # the topics that are finished are not looked at
    assert estimate(capsys, volume, "questions", "--llm-mode", "refresh")["calls"] == 4 * 3
    for path in (volume / "dataset_mine" / "manifests").glob("*.jsonl"):
        path.unlink()
    found = estimate(capsys, volume, "questions")
    assert (found["calls"], found["recorded"]) == (4 * 3, 4 * 6)


def test_what_is_not_there_yet_is_assumed_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = sampling(tmp_path)
    responses = estimate(capsys, volume, "responses")
    assert (responses["calls"], responses["completion_tokens"]) == (2 * 3, 2 * 5 * 100)  # five samples, two a call
    facts = 2 * 5 * 6 * 4  # topics, responses, sentences, facts
    questions, answers, rewards, entities = (estimate(capsys, volume, stage) for stage in ("questions", "answers", "rewards", "entities"))
    assert questions["calls"] == facts and any("6 sentences a response and 4 facts a sentence" in text for text in questions["assumed"])
    assert (answers["calls"], answers["completion_tokens"]) == (facts * 4, facts * 4 * 15)
    assert (entities["calls"], entities["completion_tokens"]) == (2 * 5 * 12 * 3, 2 * 5 * 12 * 3 * 4) and "12 entities a response" in entities["assumed"][0]
    assert rewards["calls"] == (facts + 2 * 5 * 12) * 4 * 5 // 2  # 4 samples: at most 4 answers and the claim's are compared with each other
    assert any("4 different answers" in text for text in rewards["assumed"]) and responses["assumed"] == ["samples of the greatest length"]


def test_answers_are_counted_by_different_questions_and_rewards_by_pairs_of_different_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = sampling(tmp_path, "[rewards]\nmax_missing = 1")
    root = volume / "dataset_mine"
    name = PEOPLE[0]
    claim = {"atom": f"{name} ran.", "is_supported": True, "kind": "claim", "claim_answer": "Oslo", "convert_to_aq_prompt": None}
    row = {"topic": name, "generation": "one", "score": 1.0, "respond_ratio": 1.0, "num_facts_per_response": 2.0, "init_score": 1.0}
    rows = [{**row, "decisions": [[{**claim, "atomic_question": "Where?"}, {**claim, "atomic_question": "When?", "claim_answer": None}]]}] * 2
    samples = {"Where?": ["Rome", "rome.", "Bern", "Paris"], "When?": ["1931", "1932", "1933", ""]}
    write_json(root / "atomic_qs" / f"{name}_aqs.json", rows)
    write_json(root / "responses" / f"{name}_generations.json", {"Q?": {"responses": [f"{name} was born in 1931 in Oslo.", "He ran."]}})
    found = estimate(capsys, volume, "answers")
    assumed = 5 * 6 * 4 * 4  # the other topic
    assert found["calls"] == assumed + 2 * 4
    assert estimate(capsys, volume, "entities")["calls"] == 5 * 12 * 3 + 2 * 3  # a year and a town, three samples each
    write_json(root / "atomic_qs_samples" / "llama_4samples" / f"{name}_samples.json", {"samples": [samples, samples]})
    write_json(root / "ne_samples" / "llama_4samples" / f"{name}_ne_samples.json", {"Q?": {}})
    one, both = estimate(capsys, volume, "rewards", "--limit", "1"), estimate(capsys, volume, "rewards")
    assert one["calls"] == 3 + 3  # three towns with each other and with the claimed one; years are told apart without asking
    assert both["calls"] == 6 + (5 * 6 * 4 + 5 * 12) * 10


def test_samplers_may_have_a_server_of_their_own_with_prices_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    volume = sampling(tmp_path, '[completions]\nbase_url = "http://127.0.0.1:7/v1"\noutput_price = 3.0\n')
    definition = load_definition(str(volume / "mine.toml"))
    steps = build_steps(definition, DatasetPaths(volume / "dataset_mine"), volume)
    services = {name: service_of(steps[f"{name}-train"], definition).base_url for name in ESTIMATORS if f"{name}-train" in steps}
    assert services == dict.fromkeys(("responses", "answers", "entities"), "http://127.0.0.1:7/v1") | dict.fromkeys(("questions", "rewards"), "http://127.0.0.1:9/v1")
    found = estimate(capsys, volume, "responses")
    assert found["usd"] == pytest.approx(found["completion_tokens"] * 3 / 1e6) and estimate(capsys, volume, "questions")["usd"] == 0
    shown = io.StringIO()
    estimates = {name: {"calls": 10, "recorded": 1, "prompt_tokens": 5, "completion_tokens": 5, "assumed": ["this"], "usd": 1.5} for name in ESTIMATORS}
    monkeypatch.setattr("volume.costs.estimate_step", lambda step, *_: estimates[step.module.rpartition(".")[2]])
    show_costs([steps[f"{name}-train"] for name in ESTIMATORS if f"{name}-train" in steps], definition, argparse.Namespace(llm_mode="record"), shown)
    assert shown.getvalue() == (
        "Calls to http://127.0.0.1:7/v1:\n"
        "  responses-train: at most 10 calls, about 10 tokens, 1.50 US dollars; 1 recorded\n"
        "  answers-train: at most 10 calls, about 10 tokens, 1.50 US dollars; 1 recorded\n"
        "  entities-train: at most 10 calls, about 10 tokens, 1.50 US dollars; 1 recorded\n"
        "  together: 30 calls, 30 tokens, 4.50 US dollars\n  assumed: this\n"
        "Calls to http://127.0.0.1:9/v1:\n"
        "  questions-train: at most 10 calls, about 10 tokens (no prices: llm.input_price and llm.output_price, US dollars per million tokens); 1 recorded\n"
        "  rewards-train: at most 10 calls, about 10 tokens (no prices: llm.input_price and llm.output_price, US dollars per million tokens); 1 recorded\n"
        "  together: 20 calls, 20 tokens (no prices: llm.input_price and llm.output_price, US dollars per million tokens)\n  assumed: this\n"
    )


def test_a_stage_that_asks_nobody_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell_estimate(["answer", *arguments(tmp_path)], ESTIMATORS) == 2
    assert "Did you mean 'answers'" in capsys.readouterr().err
    assert tell_estimate([], ESTIMATORS) == 2


def test_a_plan_counts_a_call_for_each_topic_without_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def planned(rows: str, more: str) -> dict[str, Any]:
        (tmp_path / "mine.csv").write_text(rows)
        definition = tmp_path / "mine.toml"
        definition.write_text(f'name = "mine"\ndescription = "x"\nsplits = ["train", "test"]\n[topics]\npath = "mine.csv"\nquestions = 4\nmodel = "scripted"\n{more}')
        assert tell_estimate(["topics", "--dataset", str(definition), "--data-dir", str(tmp_path)], ESTIMATORS) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    found = planned("topic\nAda Albane\nOskar Venn\n", "")
    assert (found["calls"], found["recorded"]) == (2, 0) and found["prompt_tokens"] > 100
    assert planned("topic,question_1\nAda Albane,Who was Ada Albane?\nOskar Venn,\n", "")["calls"] == 1
    assert planned("topic\nAda Albane\nOskar Venn\n", 'prompt = "Who was {topic}?"\n')["calls"] == 0  # the prompt asks
