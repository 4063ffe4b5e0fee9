"""A volume with a dataset of one's own: a few people, scored responses with atomic questions, and a tiny Llama."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tiny_models import make_llama

from volume.files import write_json
from volume.paths import encode_topic

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = ("Ada Albane", "Oskar Venn", "Marit Oslund", "Pim van Aarle", "Ödön Ács/Őri")
ASKED = ("Where was {} born?", "Which town does {} live in?", "What did {} draw?", "Who taught {}?", "何 was {}?")
PREFIX = "Where was Per Holt born? Kelford\nWho taught Lise Brandt? Anna Krey\nWhat did Olaf Stein win? the Rubyquill\n"


def write_volume(folder: Path, people: Sequence[str] = PEOPLE) -> Path:
    """Write the questions file, responses and atomic questions; return the volume."""
    root = folder / "dataset_mine"
    make_llama(folder / "models" / "tiny", positions=512)
    topics = [{"topic": name, "topic_id": place, "questions": [f"Write about {name}.", f"Who is {name}?"]} for place, name in enumerate(people)]
    write_json(root / "questions_per_topic_train.json", topics)
    for place, name in enumerate(people):
        rows = [scored(name, [(place + row + step) % len(ASKED) for step in range(row % 3 + 1)]) for row in range(4)]
        rows[1]["decisions"] = [[]] if place % 2 else [None]  # a response without facts, as we write it and as the public code does
        write_json(root / "atomic_qs" / f"{encode_topic(name)}_aqs.json", rows)
    return folder


def scored(name: str, asked: list[int]) -> dict[str, object]:
    """Return a scored response that raises these questions, the first one twice."""
    decisions = [
        {"atom": f"fact {number}", "is_supported": True, "atomic_question": ASKED[number].format(name), "convert_to_aq_prompt": None} for number in [*asked, asked[0]]
    ]
    return {"topic": name, "generation": "x", "score": 1.0, "respond_ratio": 1.0, "decisions": [decisions], "num_facts_per_response": len(decisions), "init_score": 1.0}


def write_definition(folder: Path, sampling: str = "", more: str = "") -> Path:
    """Write the definition; ``sampling`` goes into [responses] and [answers], ``more`` before the sections."""
    path = folder / "mine.toml"
    path.write_text(
        f'name = "mine"\ndescription = "a few people"\nsplits = ["train", "test"]\n{more}\n[models.tiny]\npath = "models/tiny"\nsource = "somebody/tiny"\n'
        f'[responses]\nmodel = "tiny"\nn = 3\nmax_new_tokens = 12\n{sampling}\n'
        f'[answers]\nmodel = "tiny"\nn = 6\ntemperature = 0.9\ntop_k = 30\ntop_p = 0.9\nmax_new_tokens = 8\nstop = ["\\n"]\nprefix = """{PREFIX}"""\n{sampling}\n'
    )
    return path


def stage_command(volume: Path, stage: str, *arguments: str) -> list[str]:
    """Return a stage's arguments to Python."""
    return ["-m", f"confscoring.{stage}", "--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), "--split", "train", *arguments]


def stage_environment(**more: str) -> dict[str, str]:
    """Return the variables of a stage."""
    search = os.pathsep.join([str(ROOT / "volume" / "src"), str(ROOT / "csenv" / "src")])
    given = {name: value for name, value in os.environ.items() if name not in ("OPENAI_API_KEY", "OPENAI_API_KEY_FILE")}
    return {**given, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", **more}


def run_stage(volume: Path, stage: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a stage to its end."""
    return subprocess.run([sys.executable, *stage_command(volume, stage, *arguments)], env=stage_environment(**more), capture_output=True, text=True, check=False)


def outputs(volume: Path) -> dict[str, str]:
    """Return {path: content} of what the sampling stages wrote."""
    root = volume / "dataset_mine"
    return {str(path.relative_to(root)): path.read_text() for folder in ("responses", "atomic_qs_samples") for path in sorted((root / folder).rglob("*.json"))}


def manifest(volume: Path, stage: str) -> dict[str, object]:
    """Return a stage's manifest."""
    found: dict[str, object] = json.loads((volume / "dataset_mine" / "manifests" / f"{stage}-train.json").read_text())
    return found
