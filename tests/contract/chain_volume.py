"""A volume of two steps with real manifests, for the tests of what is read from them: questions and a model, responses, rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volume.datasets import load_definition
from volume.files import sha256_file
from volume.manifest import Fingerprint, write_manifest
from volume.paths import DatasetPaths
from volume.steps import build_steps

TOPICS = ("Ada", "Bo", "Cy")
QUESTIONS = "dataset_bio/questions_per_topic_train.json"
MODEL = "models/llama-7b/config.json"


def write(volume: Path, name: str, text: str) -> str:
    path = volume / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def ran(volume: Path, step: str, inputs: list[str], outputs: list[str], hour: int = 1, failed: dict[str, str] | None = None) -> None:
    """Write the manifest of a step that has just read and written these files."""
    definition = load_definition("bio")
    paths = DatasetPaths(volume / "dataset_bio")
    topics: dict[str, float] = {"topics": len(TOPICS), "done": len(TOPICS) - len(failed or {}), "failed": len(failed or {})} if len(outputs) > 1 else {"responses": 30}
    write_manifest(
        paths, build_steps(definition, paths, volume)[step], definition,
        Fingerprint({"seed": 0, "responses": {"prompt": "Tell me."}}, "c" * 64, "l" * 64, {name: sha256_file(volume / name) for name in inputs}),
        outputs={name: sha256_file(volume / name) for name in outputs}, counts=topics, failures=failed or {}, notes={},
        started=f"2026-11-28T0{hour}:00:00+00:00", finished=f"2026-11-28T0{hour}:00:07+00:00", seconds=7.0,
    )  # fmt: skip


@pytest.fixture(name="volume")
def two_steps(tmp_path: Path) -> Path:
    """Questions and a model -> responses of three topics -> a rewards file."""
    root = tmp_path / "a volume"
    write(root, QUESTIONS, json.dumps([{"topic": name, "topic_id": 0, "questions": ["Who?"]} for name in TOPICS]))
    write(root, MODEL, "{}")
    responses = [write(root, f"dataset_bio/responses/{name}_generations.json", f"of {name}") for name in TOPICS]
    ran(root, "responses-train", [QUESTIONS, MODEL], responses)
    ran(root, "rewards-train", responses, [write(root, "dataset_bio/rewards/rewards_train_3.json", "[0.5]")], hour=2)
    return root


REWARDS = "dataset_bio/rewards/rewards_train_3.json"
ADA, BO = "dataset_bio/responses/Ada_generations.json", "dataset_bio/responses/Bo_generations.json"


def flip(volume: Path, name: str) -> None:
    data = bytearray((volume / name).read_bytes())
    data[len(data) // 2] ^= 1
    (volume / name).write_bytes(data)


def manifest_of(volume: Path, step: str) -> Path:
    return volume / "dataset_bio" / "manifests" / f"{step}.json"
