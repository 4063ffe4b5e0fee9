"""A stage of fourteen topics for the tests of ranks, and launches of it on a volume of its own.

The stage is `questions`, with other work: what it writes about a topic names the whole group that the topic was worked on in, so
that the bytes depend on the group, as the noise of a batched model does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from volume.files import write_json

NAMES = [f"Person {number}" for number in range(1, 15)]  # five groups of three: the last of two

STAGE = """
import os, sys, time
from volume.errors import ItemError
from volume.stage import run_topics

def prepare(ctx):
    def work(topics):
        names = [topic["topic"] for topic in topics]
        print(*names, sep="+", flush=True)
        time.sleep(float(os.environ.get("PAUSE", "0")))
        for name in names:
            ctx.count("facts", len(name), topic=name)
        bad = os.environ.get("BAD", "").split(",")
        return {name: ItemError("no such title") if name in bad else [{"of": name, "together": names}] for name in names}
    return work

sys.exit(run_topics("questions", prepare, group=lambda ctx: 3, fixed=True))
"""


def make_volume(folder: Path) -> Path:
    root = folder / "dataset_synth"
    write_json(root / "questions_per_topic_train.json", [{"topic": name, "topic_id": index, "questions": ["Who?"]} for index, name in enumerate(NAMES)])
    write_json(root / "world" / "grammar.json", {})
    for name in NAMES:
        write_json(root / "factscore_outputs" / f"{name}_fs_out.json", [])
    return folder


def start(volume: Path, rank: int = 0, of: int = 1, launch: str = "", **more: str) -> subprocess.Popen[str]:
    """Start a process of a launch as torchrun does."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    if of > 1:
        environment |= {"RANK": str(rank), "WORLD_SIZE": str(of), "LOCAL_RANK": str(rank)}
    if launch:
        environment["TORCHELASTIC_RUN_ID"] = launch
    command = [sys.executable, "-c", STAGE, "--dataset", "synth", "--data-dir", str(volume), "--split", "train"]
    return subprocess.Popen(command, env=environment | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(volume: Path, of: int = 1, launch: str = "", **more: str) -> list[int]:
    """Run a launch to its end; return the statuses of its processes."""
    processes = [start(volume, rank, of, launch, **more) for rank in range(of)]
    for process in processes:
        process.communicate()
    return [process.returncode for process in processes]


def wait_for_work(process: subprocess.Popen[str]) -> str:
    """Wait until a process holds the step and works; return the group that it has in hand."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate()[1]
    return line


def outputs(volume: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (volume / "dataset_synth" / "atomic_qs").glob("*") if not path.name.startswith(".")}


def manifest(volume: Path) -> dict[str, Any] | None:
    path = volume / "dataset_synth" / "manifests" / "questions-train.json"
    return json.loads(path.read_text()) if path.exists() else None


def told(volume: Path) -> list[Any]:
    """What the manifest says that may not depend on who did the work."""
    found = manifest(volume)
    assert found is not None
    return [list(found[key].items()) for key in ("counts", "failures", "outputs")] + [found["status"]]
