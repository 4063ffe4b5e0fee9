"""A volume with a dataset of one's own as the stages before the rewards leave it, built from a few facts and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confscoring import rewards
from volume.files import write_json
from volume.paths import encode_topic
from volume.stage import run_whole

SAMPLER = "llama-7b_4samples"
Facts = list[dict[str, Any]]


def fact(supported: bool, question: str | None = None, answers: Sequence[str] = (), claim: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a decision as the stage ``questions`` leaves it, with the answers to its question."""
    asked = {"atomic_question": question, "convert_to_aq_prompt": None, "claim_answer": claim}
    return {"atom": f"About {question}.", "is_supported": supported, "kind": "claim", **asked, **fields, "answers": list(answers)}


def write_topic(volume: Path, topic: str, responses: dict[str, list[tuple[str, Facts]]], entities: Any = None) -> None:
    """Write the files of one topic: {prompt: [(response, its facts)]}."""
    root, name = volume / "dataset_mine", encode_topic(topic)
    rows, samples = [], []
    for text, facts in (entry for entries in responses.values() for entry in entries):
        share = sum(one["is_supported"] for one in facts) / len(facts) if facts else None
        decisions = [{key: value for key, value in one.items() if key != "answers"} for one in facts]
        rows.append({
            "topic": topic, "generation": text, "score": share, "respond_ratio": 1.0, "decisions": [decisions], "num_facts_per_response": len(facts),
            "init_score": share,
        })  # fmt: skip
        samples.append({one["atomic_question"]: one["answers"] for one in facts if one["atomic_question"]})
    write_json(root / "responses" / f"{name}_generations.json", {prompt: {"responses": [text for text, _ in own]} for prompt, own in responses.items()})
    write_json(root / "atomic_qs" / f"{name}_aqs.json", rows)
    write_json(root / "atomic_qs_samples" / SAMPLER / f"{name}_samples.json", {"samples": samples})
    if entities is not None:
        write_json(root / "ne_samples" / SAMPLER / f"{name}_ne_samples.json", entities)


def write_volume(folder: Path, topics: dict[str, dict[str, list[tuple[str, Facts]]]], settings: str = "", n: int = 4) -> Path:
    """Write the definition, the questions and every topic's files; ``settings`` are further sections of the definition."""
    (folder / "mine.toml").write_text(
        'name = "mine"\ndescription = "a few people"\nsplits = ["train", "test"]\n[models.llama-7b]\npath = "models/llama-7b"\n'
        f'[answers]\nmodel = "llama-7b"\nn = {n}\nmax_new_tokens = 15\n{settings}\n'
    )
    entries = [{"topic": topic, "topic_id": place, "questions": list(responses)} for place, (topic, responses) in enumerate(topics.items())]
    write_json(folder / "dataset_mine" / "questions_per_topic_train.json", entries)
    for topic, responses in topics.items():
        write_topic(folder, topic, responses)
    return folder


def arguments(volume: Path, *more: str) -> list[str]:
    """Return the stage's command line."""
    return ["--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), "--split", "train", *more]


def run_rewards(volume: Path, *more: str) -> int:
    """Run the stage in this process; return its exit status."""
    return run_whole("rewards", rewards.produce, argv=arguments(volume, *more))


def read_rewards(volume: Path, topics: int) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """Return the rewards file."""
    found: dict[str, dict[str, dict[str, list[Any]]]] = json.loads((volume / "dataset_mine" / "rewards" / f"rewards_train_{topics}.json").read_text())
    return found


def read_confidences(volume: Path, topics: int) -> list[dict[str, Any]]:
    """Return the confidence of every fact."""
    return [json.loads(line) for line in (volume / "dataset_mine" / "rewards" / f"confidences_train_{topics}.jsonl").read_text().splitlines()]


def manifest(volume: Path) -> dict[str, Any]:
    """Return the stage's manifest."""
    found: dict[str, Any] = json.loads((volume / "dataset_mine" / "manifests" / "rewards-train.json").read_text())
    return found
