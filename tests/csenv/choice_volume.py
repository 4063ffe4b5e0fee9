"""A volume with a run whose training kept three candidates, and with the scored responses between which evaluation chooses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confscoring import choose
from volume.files import write_json, write_text
from volume.paths import DatasetPaths, candidate_part
from volume.stage import run_whole

STEPS = (10, 20, 30)
Facts = Mapping[str, Sequence[tuple[int, int]]]  # person -> (correct, incorrect facts) of each sampled response


def write_volume(folder: Path, supervised: Facts, candidates: Sequence[Facts], rule: str = "", people: Sequence[str] = ("Ada", "Bo")) -> DatasetPaths:
    """Write the definition, `rule` as further lines of its [eval], the candidates' folders and every scored response; return the paths."""
    write_text(folder / "mine.toml", (
        'name = "mine"\ndescription = "a few people"\nsplits = ["train", "dpoval", "val", "test"]\n'
        f'[dpo]\ncandidates = {len(candidates)}\n[runs.sft]\nkind = "sft"\nlabel = "SFT"\n[runs.fs]\nlabel = "FactTune-FS"\nreward = "factscore_avg"\n'
        f"[eval]\nbootstrap = 40\n{rule}\n"
    ))  # fmt: skip
    paths = DatasetPaths(folder / "dataset_mine")
    write_json(paths.questions("val"), [{"topic": name, "topic_id": place, "questions": [f"Who is {name}?"]} for place, name in enumerate(people)])
    write_json(paths.candidates("fs"), {"steps": list(STEPS[: len(candidates)])})
    write_policy(paths, "sft", "val", supervised)
    for number, facts in enumerate(candidates, start=1):
        write_text(paths.candidate("fs", number) / "config.json", "{}\n")
        write_text(paths.candidate("fs", number) / "model.safetensors", f"weights of candidate {number}\n")
        write_policy(paths, "fs", candidate_part(number), facts)
    return paths


def write_policy(paths: DatasetPaths, run: str, part: str, facts: Facts) -> None:
    """Write a policy's responses and their scores."""
    for name, responses in facts.items():
        texts = [f"{part} says {place}" for place in range(len(responses))]
        write_json(paths.responses(name, run, part), {f"Who is {name}?": {"responses": texts, "decoding": ["sample"] * len(texts)}})
        write_json(paths.factscore(name, run, part), [_scored(name, text, *counts) for text, counts in zip(texts, responses, strict=True)])


def _scored(name: str, text: str, correct: int, incorrect: int) -> dict[str, Any]:
    decisions = [{"atom": f"fact {number}", "is_supported": number < correct} for number in range(correct + incorrect)]
    share = correct / len(decisions) if decisions else None
    return {"topic": name, "generation": text, "score": share, "respond_ratio": float(bool(decisions)), "decisions": [decisions or None],
            "num_facts_per_response": float(len(decisions)), "init_score": share}  # fmt: skip


def run_choose(paths: DatasetPaths, *more: str) -> int:
    """Run the stage in this process; return its exit status."""
    folder = paths.root.parent
    return run_whole("choose", choose.produce, argv=["--dataset", str(folder / "mine.toml"), "--data-dir", str(folder), "--run", "fs", *more])


def read_choice(paths: DatasetPaths) -> dict[str, Any]:
    """Return choice.json."""
    found: dict[str, Any] = json.loads(paths.choice("fs").read_text())
    return found


def exported(paths: DatasetPaths) -> str:
    """Return the weights that were exported."""
    return (paths.export("fs") / "model.safetensors").read_text().strip()
