"""What is made of manifests: the models and services that they name, the RO-Crate of a dataset, its status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from chain_volume import ADA, BO, MODEL, QUESTIONS, REWARDS, flip, manifest_of, ran, two_steps, write  # noqa: F401

from volume import crate, status
from volume.datasets import DATASETS, load_definition
from volume.files import sha256_file
from volume.llm.calls import Reply, Request
from volume.llm.store import CallStore
from volume.origin import models_read, prompts_of, services_asked
from volume.paths import DatasetPaths
from volume.steps import build_steps


def test_a_manifest_names_the_models_the_services_and_the_prompts() -> None:
    definition = load_definition("bio")
    inputs: dict[str, str | None] = {f"models/gtr-t5-large/{name}": "a" for name in ("config.json", "1_Pooling/config.json", "model.safetensors")}
    inputs |= {"dataset_bio/runs/sft/export/config.json": "b", "dataset_bio/responses/Ada_generations.json": "c"}
    found = models_read(inputs, definition, "dataset_bio")
    assert set(found) == {"models/gtr-t5-large", "dataset_bio/runs/sft/export"}
    assert found["models/gtr-t5-large"]["source"] == "sentence-transformers/gtr-t5-large" and found["dataset_bio/runs/sft/export"]["name"] == ""
    other = models_read({**inputs, "models/gtr-t5-large/model.safetensors": "z"}, definition, "dataset_bio")
    assert found["models/gtr-t5-large"]["sha256"] != other["models/gtr-t5-large"]["sha256"]
    steps = build_steps(definition, DatasetPaths(Path("/v/dataset_bio")), Path("/v"))

    def asked(step: str) -> dict[str, dict[str, str]]:
        settings = {name: vars(getattr(definition, name)) for name in steps[step].settings if name in ("facts", "retrieval", "verifier", "answers", "questions")}
        return services_asked(steps[step], settings, definition)

    assert asked("factscore-train") == {"facts": {"model": "gpt-3.5-turbo", "service": definition.llm.base_url}}  # its verifier is local
    assert set(asked("questions-train")) == {"questions"} and asked("answers-train") == {}
    settings = {"answers": {"prompt": "Q: {question}", "prefix": "", "stop": ["x"]}, "responses.prompt": "Tell"}
    assert set(prompts_of(settings, {"evaluator": {"facts_prompt_sha256": "f"}})) == {"answers.prompt", "responses.prompt", "evaluator.facts_prompt"}


def entities(path: Path) -> dict[str, dict[str, Any]]:
    return {entity["@id"]: entity for entity in json.loads(path.read_text())["@graph"]}


def test_a_crate_names_every_step_with_what_it_read_and_wrote(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "bio", "--data-dir", str(volume)]
    assert crate.main([*words, "--license", "https://example.org/terms", "--agent", "Ada"]) == 0
    found = entities(volume / "dataset_bio" / "ro-crate-metadata.json")
    run = found["#run-rewards-train"]
    assert {part["@id"] for part in run["object"]} == {"#responses-train-responses", "#seed-0"} and run["result"] == {"@id": "rewards/rewards_train_3.json"}
    assert run["startTime"] == "2026-11-28T02:00:00+00:00" and run["actionStatus"].endswith("CompletedActionStatus") and found["#agent"]["name"] == "Ada"
    assert found["rewards/rewards_train_3.json"]["sha256"] == sha256_file(volume / REWARDS) and found["#responses-train-responses"]["size"] == "3"
    assert found["./"]["license"] == {"@id": "https://example.org/terms"} and found["https://example.org/terms"]["@type"] == "CreativeWork"
    source = next(entity for name, entity in found.items() if name.startswith("#source-models"))
    assert "huggyllama/llama-7b" in source["description"] and not any("models" in part["@id"] for part in found["./"]["hasPart"])
    assert found[run["instrument"]["@id"]]["softwareVersion"] == "c" * 64
    assert crate.main(words) == 0
    assert "Not stated" in entities(volume / "dataset_bio" / "ro-crate-metadata.json")["./"]["license"]


def test_failed_topics_are_in_the_crate(volume: Path) -> None:
    for name in (BO, REWARDS):
        (volume / name).unlink()
    manifest_of(volume, "rewards-train").unlink()
    ran(volume, "responses-train", [QUESTIONS, MODEL], [f"dataset_bio/responses/{name}_generations.json" for name in ("Ada", "Cy")], failed={"Bo": "no title"})
    assert crate.main(["--dataset", "bio", "--data-dir", str(volume)]) == 0
    run = entities(volume / "dataset_bio" / "ro-crate-metadata.json")["#run-responses-train"]
    assert run["actionStatus"].endswith("FailedActionStatus") and run["error"].startswith("1 of 3 topics failed")


def test_a_broken_chain_gets_no_crate(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(volume, ADA)
    assert crate.main(["--dataset", "bio", "--data-dir", str(volume)]) == 1
    assert f"changed: {ADA}" in capsys.readouterr().err and not (volume / "dataset_bio" / "ro-crate-metadata.json").exists()


def stand(capsys: pytest.CaptureFixture[str], volume: Path, *words: str) -> str:
    given = volume / "definitions" / "bio.toml"  # as bio is, its topics given as files
    given.parent.mkdir(parents=True, exist_ok=True)
    given.write_text(re.sub(r"\n\[topics\].*?\n(?=\[)", "\n", (DATASETS / "bio.toml").read_text(), flags=re.S))
    assert status.main(["--dataset", str(given), "--data-dir", str(volume), *words]) == 0
    return capsys.readouterr().out


def test_status_without_results_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = stand(capsys, tmp_path)
    assert "no dataset yet" in said and "bio: nothing has run. `make report DATASET=" in said


def test_status_tells_stages_counts_and_why_they_are_stale(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in volume.rglob("*.json")}
    said = stand(capsys, volume)
    assert "dataset_bio: 2 steps have run, the last at 2026-11-28 02:00 UTC" in said
    rows = {line.split()[0]: line for line in said.splitlines() if line[:1].isalpha()}
    assert "1 stale, 1 not run" in rows["data"] and "3 topics" in rows["data"] and "2026-11-28 01:00  7 s" in rows["data"] and "waiting" in rows["rewards"]
    assert "stale: responses-train: setting changed: responses" in said
    changed = {path for path in volume.rglob("*.json") if path.read_bytes() != before.get(path)}
    assert {path.parent.name for path in changed} <= {".hashes"}


def test_status_tells_interrupted_and_partial_steps_apart(volume: Path) -> None:
    assert status.state_of("interrupted; goes on where it stopped", None) == "interrupted" and status.state_of(None, {}) == "done"
    assert status.state_of("2 topic(s) failed last time", {"status": "partial"}) == "partial" and status.state_of("code changed", {"status": "partial"}) == "stale"
    assert status.state_of("after world", None) == "not run" and status.state_of("after world", {"status": "complete"}) == "waiting"


def test_status_shows_an_interrupted_step_and_a_failed_topic_with_its_reason(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (volume / "dataset_bio" / "manifests" / "responses-dpoval.items.jsonl").write_text("")
    write(volume, "dataset_bio/questions_per_topic_dpoval.json", "[]")
    ran(volume, "responses-train", [QUESTIONS, MODEL], [ADA, BO], failed={"Cy": "no such title"})
    said = stand(capsys, volume)
    assert "interrupted: responses-dpoval: interrupted; goes on where it stopped" in said and "such as Cy: no such title" in said


def test_status_tells_calls_and_money(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with CallStore(volume / "llm_calls.sqlite") as store:
        store.put(Request("chat", "a-model", (), "v1", 0, {}), Reply("yes", 10, 2), dataset="bio", spent=0.5)
        store.put(Request("chat", "a-model", (), "v1", 1, {}), Reply("yes", 10, 2), dataset="another", spent=7.0)
    said = stand(capsys, volume)
    assert "calls to a-model: 1 recorded, 12 tokens, 0.50 US dollars" in said and said.count("calls to") == 1


def test_status_takes_the_limit_of_the_last_run(volume: Path) -> None:
    manifests = [{"counts": {"done": 3}, "depends_on": {"settings": {"limit": limit}}} for limit in (3, 3)]
    assert status.used_limit([*manifests, None, {"counts": {}, "depends_on": {"settings": {}}}]) == 3
    assert status.used_limit([*manifests, {"counts": {"done": 1}, "depends_on": {"settings": {}}}]) is None
