"""The stage and the stand-alone command with local models: gtr retrieval, the local verifier, and the nonparametric model beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_volume import PEOPLE, manifest, outputs, run_stage, stage_environment, write_definition, write_volume
from tiny_models import make_encoder, make_llama, make_roberta

MODELS = """
[models.gtr]
path = "models/gtr"
[models.judge]
path = "models/judge"
[models.npm]
path = "models/npm"
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_volume(tmp_path_factory.mktemp("models"), people=PEOPLE[:4])
    make_llama(folder / "models" / "judge", positions=2048)
    make_roberta(folder / "models" / "npm")
    make_encoder(folder / "models" / "gtr")
    path = write_definition(
        folder, facts='backend = "rules"', verifier='backend = "local"\nmodel = "judge"\npassage_order = "page"\nnpm = true\nnpm_model = "npm"', more=MODELS
    )
    path.write_text(path.read_text().replace('backend = "bm25"', 'backend = "gtr"\nmodel = "gtr"'))
    done = run_stage(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_fact_has_a_verdict_and_a_probability(volume: Path) -> None:
    counts: Any = manifest(volume)["counts"]
    decisions = [decision for text in outputs(volume).values() for response in json.loads(text) for decision in response["decisions"][0]]
    assert counts["facts"] == len(decisions) > 0
    assert all(0 <= decision["p_true"] <= 1 for decision in decisions)
    # The AND: what is supported exceeds both thresholds, what the model supports but the words do not bear out is taken back.
    for decision in decisions:
        assert decision["is_supported"] == (decision["p_true"] > 0.5 and decision.get("npm", 1.0) > 0.3)
        assert ("npm" in decision) == (decision["p_true"] > 0.5)


def test_the_manifest_names_all_three_models_by_their_bytes(volume: Path) -> None:
    notes: Any = manifest(volume)["notes"]
    evaluator = notes["evaluator"]
    assert (evaluator["facts"], evaluator["retrieval"], evaluator["verifier"], evaluator["npm"]) == ("rules", "gtr", "local", True)
    for key in ("retrieval_model_sha256", "verifier_model_sha256", "npm_model_sha256", "verifier_prompt_sha256"):
        assert len(evaluator[key]) == 64
    assert evaluator["verifier_passage_order"] == "page" and evaluator["npm_threshold"] == 0.3
    assert len({evaluator[f"{part}_model_sha256"] for part in ("retrieval", "verifier", "npm")}) == 3


def test_the_pages_embeddings_are_on_the_volume_and_hold_no_pickle(volume: Path) -> None:
    kept = sorted((volume / "cache" / "embeddings").rglob("*.npy"))
    assert len(kept) == 4  # a page each
    assert all(path.read_bytes()[:6] == b"\x93NUMPY" and b"\x80\x04" not in path.read_bytes()[:200] for path in kept)


def test_another_model_makes_the_step_stale(volume: Path) -> None:
    again = run_stage(volume)
    assert again.returncode == 0 and "up to date" in again.stderr
    make_llama(volume / "models" / "judge", positions=2048, seed=1)
    before = manifest(volume)["notes"]
    done = run_stage(volume)
    assert "input changed: models/judge/" in done.stderr, done.stderr
    assert before["evaluator"]["id"] != manifest(volume)["notes"]["evaluator"]["id"]  # type: ignore[index]


def test_the_stand_alone_command_takes_folders_and_a_broken_one_is_named(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(json.dumps({"topic": PEOPLE[0], "text": f"{PEOPLE[0]} was born in Kelford."}) + "\n")

    def run(model: Path) -> subprocess.CompletedProcess[str]:
        options = ["--verifier", "local", "--verifier-model", str(model), "--npm-model", str(volume / "models" / "npm")]
        paths = ["--input", str(tmp_path / "answers.jsonl"), "--output", str(tmp_path / "scored.jsonl"), "--knowledge", str(volume / "knowledge" / "mine.db")]
        command = [sys.executable, "-m", "factscoring.score", *paths, *options]
        return subprocess.run(command, env=stage_environment(), capture_output=True, text=True, check=False)

    assert run(volume / "models" / "judge").returncode == 0
    done = run(tmp_path / "nothing")
    assert done.returncode == 2 and "nothing" in done.stderr and "config.json" in done.stderr and "Traceback" not in done.stderr
