"""A volume with a dataset of one's own: a few people, their pages, and responses of plain English."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from factscoring.knowledge_file import build_database
from volume.paths import encode_topic

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("Kelford", "Ostrel", "Tarwick", "Marvia", "Lindholm")
WORKS = ("surveyor", "chemist", "composer", "engraver", "botanist")
SERVICE = 'backend = "llm"\nmodel = "scripted"'
PEOPLE = tuple(f"{first} {last}" for first in ("Ada", "Oskar", "Marit", "Pim") for last in ("Albane", "Venn", "Oslund"))


def write_volume(folder: Path, people: Sequence[str] = PEOPLE, responses: int = 3) -> Path:
    """Write the pages, the questions and the responses; return the volume. Every third statement is wrong."""
    draw = random.Random(7)
    root = folder / "dataset_mine"
    (root / "responses").mkdir(parents=True)
    pages = []
    topics = []
    for number, name in enumerate(people):
        place, work = PLACES[number % len(PLACES)], WORKS[number % len(WORKS)]
        pages.append({"title": name, "text": f"{name} was born in {place}. {name} worked as a {work} for many years. The town council honoured {name}."})
        topics.append({"topic": name, "topic_id": number, "questions": [f"Write a biography of {name}."]})
        texts = [
            f"{name} was born in {draw.choice(PLACES)}, and worked as a {draw.choice(WORKS)}. "
            f"The town council honoured {name} in {draw.randint(1900, 1990)} - {draw.randint(1991, 2000)}."
            for _ in range(responses - 1)
        ]
        texts.append("I'm sorry, but I don't have any information about that person.")
        (root / "responses" / f"{encode_topic(name)}_generations.json").write_text(json.dumps({topics[-1]["questions"][0]: {"responses": texts}}))
    (root / "questions_per_topic_train.json").write_text(json.dumps(topics))
    build_database(pages, folder / "knowledge" / "mine.db")
    return folder


def write_definition(folder: Path, url: str = "http://127.0.0.1:9/v1", facts: str = SERVICE, verifier: str = SERVICE, more: str = "") -> Path:
    """Write the definition; ``more`` goes into its section [llm]."""
    path = folder / "mine.toml"
    path.write_text(
        f'name = "mine"\ndescription = "a few people"\nsplits = ["train", "test"]\n[knowledge]\npath = "knowledge/mine.db"\n[facts]\n{facts}\n'
        f'[retrieval]\nbackend = "bm25"\nk = 2\n[verifier]\n{verifier}\n[llm]\nbase_url = "{url}"\nbackoff_s = 0.001\n{more}\n'
    )
    return path


def stage_command(volume: Path, *arguments: str) -> list[str]:
    """Return the stage's command on the volume."""
    return [sys.executable, "-m", "factscoring.factscore", "--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), "--split", "train", *arguments]


def stage_environment(**more: str) -> dict[str, str]:
    """Return the variables of a stage."""
    search = os.pathsep.join([str(ROOT / "volume" / "src"), str(ROOT / "fsenv" / "src")])
    return {**{name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}, "PYTHONPATH": search, **more}


def run_stage(volume: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the stage to its end."""
    return subprocess.run(stage_command(volume, *arguments), env=stage_environment(**more), capture_output=True, text=True, check=False)


def outputs(volume: Path) -> dict[str, str]:
    """Return {file name: content} of what the stage wrote."""
    return {path.name: path.read_text() for path in sorted((volume / "dataset_mine" / "factscore_outputs").glob("*.json"))}


def manifest(volume: Path) -> dict[str, object]:
    """Return the stage's manifest."""
    found: dict[str, object] = json.loads((volume / "dataset_mine" / "manifests" / "factscore-train.json").read_text())
    return found
