"""Policies kept along the way, through the real pipeline: training keeps two, the verifier's scores on `val` decide, the report shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from toy import TOY, run


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_run_keeps_candidates_and_the_one_that_the_rule_takes_is_evaluated(finished: Path, tmp_path: Path) -> None:
    volume, definition = tmp_path / "volume", tmp_path / "toy.toml"
    shutil.copytree(finished, volume)
    definition.write_text(TOY.read_text().replace("[dpo]\n", "[dpo]\ncandidates = 2\n").replace("batch_size = 8\n", "batch_size = 1\n"))  # it has few pairs
    root = volume / "dataset_toy"
    before = {step: (root / "manifests" / f"{step}.json").read_bytes() for step in ("train-sft", "eval-responses-sft", "eval-sft", "rewards-train")}

    done = run("demo", volume, dataset=definition)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "[choose-factscore] by the verifier, on " in done.stdout
    folder = root / "runs" / "factscore"
    choice, steps = read(folder / "choice.json"), read(folder / "candidates" / "candidates.json")["steps"]
    assert len(steps) == 2 and 0 < steps[0] < steps[1]
    assert choice["step"] == steps[choice["chosen"] - 1] and [policy["step"] for policy in choice["candidates"]] == steps
    val = [topic["topic"] for topic in read(root / "questions_per_topic_val.json")]
    assert (choice["people"], choice["missing"]) == (len(val), [])
    assert choice["candidates"][1]["counts"]["responses"] == choice["supervised"]["counts"]["responses"] == 2 * len(val)
    exported, chosen = ({path.name: path.read_bytes() for path in place.iterdir()} for place in (folder / "export", folder / "candidates" / str(choice["chosen"])))
    assert exported == chosen and "model.safetensors" in exported
    assert len({(folder / "candidates" / number / "model.safetensors").read_bytes() for number in "12"}) == 2
    outputs = read(root / "manifests" / "train-factscore.json")["outputs"]
    assert any("/candidates/2/" in name for name in outputs) and not any("/export/" in name for name in outputs)
    assert read(root / "report" / "summary.json")["choices"]["factscore"] == choice
    assert "Candidates of FactTune-FS" in (root / "report" / "index.html").read_text()
    assert {step: (root / "manifests" / f"{step}.json").read_bytes() for step in before} == before  # nothing else was done again

    again = run("demo", volume, dataset=definition)
    assert again.returncode == 0 and "up to date, nothing to do" in again.stdout
