"""A volume with scored facts of a few people, as factscoring leaves it, and a scripted model that asks about them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confscoring.question_prompts import SYSTEM
from volume.files import write_json
from volume.paths import encode_topic

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = tuple(f"{first} {last}" for first in ("Ada", "Oskar", "Marit") for last in ("Albane", "Venn", "Oslund"))
LLM = 'backend = "llm"\nmodel = "scripted"'


def decision(atom: str, kind: str = "claim") -> dict[str, Any]:
    """Return a decision as `rules` or `llm` extraction leaves it."""
    return {"atom": atom, "is_supported": kind == "claim", "kind": kind, "sentence": atom}


def scored(topic: str, decisions: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """Return a scored response with these decisions; None as the public code writes it where there are no facts."""
    number = len(decisions or ())
    score = 1.0 if decisions else None
    return {
        "topic": topic, "generation": "x", "score": score, "respond_ratio": float(number > 0), "decisions": [None if decisions is None else list(decisions)],
        "num_facts_per_response": float(number), "init_score": score,
    }  # fmt: skip


def rows_of(name: str) -> list[dict[str, Any]]:
    """Return a topic's responses: facts that return in other letters, sentences that are no claim, a response without facts."""
    town, year = f"{name.split()[1]}ville", 1900 + len(name)
    born, work = decision(f"{name} was born in {town}."), decision(f"{name} became a surveyor in {year}.")
    return [
        scored(name, [born, work, decision(f"{name} painted {town} in blue."), decision("Qwxyz!", "unparsed")]),
        scored(name, [decision(f"{name}  was born in {town.upper()}"), decision("Bo Crest was a pilot.", "off_topic"), decision(f"{name} had {len(name)} sons.")]),
        scored(name, None),
    ]


def write_volume(folder: Path, questions: str = LLM, url: str = "http://127.0.0.1:9/v1", people: Sequence[str] = PEOPLE, more: str = "") -> Path:
    """Write the facts and the definition; ``more`` goes into its section [llm]."""
    root = folder / "dataset_mine"
    write_json(root / "questions_per_topic_train.json", [{"topic": name, "topic_id": place, "questions": ["Q?"]} for place, name in enumerate(people)])
    for name in people:
        write_json(root / "factscore_outputs" / f"{encode_topic(name)}_fs_out.json", rows_of(name))
    return write_definition(folder, questions, url, more)


def write_definition(folder: Path, questions: str = LLM, url: str = "http://127.0.0.1:9/v1", more: str = "") -> Path:
    """Write the definition; return the volume."""
    (folder / "mine.toml").write_text(
        f'name = "mine"\ndescription = "a few people"\nsplits = ["train", "test"]\n[questions]\n{questions}\n[llm]\nbase_url = "{url}"\nbackoff_s = 0.001\n{more}\n'
    )
    return folder


def answer(body: dict[str, Any]) -> str:
    """Play the model: ask about the last word of a statement. Some statements it understands only when asked again, some never."""
    assert body["messages"][0]["content"] == SYSTEM
    statement = statement_of(body)
    *words, last = statement.rstrip(".").split()
    number = hashlib.sha256(statement.encode()).digest()[0]
    asked_again = len(body["messages"]) != 14
    if number < 40:
        return "I'm sorry, I cannot do that."
    if number < 100 and not asked_again:
        return f"Question: Is it true that {statement}?\nAnswer: {last}"
    return f"Question: {' '.join(words)} which?\nAnswer: {last}."


def statement_of(body: dict[str, Any]) -> str:
    """Return the statement that a call is about."""
    texts = [message["content"] for message in body["messages"] if message["content"].startswith("Subject: ")]
    found = re.search(r"\nStatement: (.*)$", texts[-1])
    assert found is not None
    return found[1]


def arguments(volume: Path, *more: str) -> list[str]:
    """Return the stage's command line."""
    return ["--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), "--split", "train", *more]


def command(volume: Path, *more: str) -> list[str]:
    """Return the stage's command."""
    return [sys.executable, "-m", "confscoring.questions", *arguments(volume, *more)]


def environment(**more: str) -> dict[str, str]:
    """Return the variables of a stage."""
    search = os.pathsep.join([str(ROOT / "volume" / "src"), str(ROOT / "csenv" / "src")])
    return {**{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}, "PYTHONPATH": search, **more}


def run_stage(volume: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the stage to its end."""
    return subprocess.run(command(volume, *more), env=environment(**variables), capture_output=True, text=True, check=False)


def outputs(volume: Path) -> dict[str, str]:
    """Return {file name: content} of what the stage wrote."""
    return {path.name: path.read_text() for path in sorted((volume / "dataset_mine" / "atomic_qs").glob("*.json"))}


def manifest(volume: Path) -> dict[str, Any]:
    """Return the stage's manifest."""
    found: dict[str, Any] = json.loads((volume / "dataset_mine" / "manifests" / "questions-train.json").read_text())
    return found
