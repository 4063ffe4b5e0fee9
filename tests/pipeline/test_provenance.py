"""Provenance of a finished toy world: what manifests hold, the chain of every kind of file, the crate before a real validator, the status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import ROOT, TOY, checksums, environment

HERE = Path(__file__).parent
CRATE = "dataset_toy/ro-crate-metadata.json"

# One file of every kind, by what made it.
KINDS = (
    "world/grammar.json", "knowledge.db", "questions_per_topic_train.json", "models/base/model.safetensors", "responses/*", "factscore_outputs/*",
    "atomic_qs/*", "atomic_qs_samples/*/*", "ne_samples/*/*", "rewards/rewards_train_*.json", "runs/sft/export/model.safetensors",
    "runs/factscore/export/config.json", "eval/factscore/responses/*", "eval/sft/factscore_outputs/*", "eval/base/summary.json", "report/index.html",
)  # fmt: skip


def call(module: str, volume: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"volume.{module}", "--dataset", str(TOY), "--data-dir", str(volume), *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def manifests(volume: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (volume / "dataset_toy" / "manifests").glob("*.json")}


def test_the_manifest_of_every_stage_holds_what_a_rerun_needs(finished: Path) -> None:
    found = manifests(finished)
    assert len({manifest["command"][0] for manifest in found.values()}) == 13
    for step, manifest in found.items():
        ran = manifest["environment"]
        assert manifest["format"] and manifest["step"] == step and manifest["status"] == "complete" and manifest["failures"] == {}, step
        assert manifest["outputs"] and manifest["definition"]["name"] == "toy" and manifest["seed"] == 0, step
        assert len(manifest["depends_on"]["code"]) == len(manifest["depends_on"]["lock"]) == len(manifest["digest"]) == 64, step
        assert ran["processor"] and ran["cores"] and ran["memory_gib"] and ran["engine"] == "venv" and ran["stack"] == "paper" and "image" in ran, step
        assert manifest["started"].endswith("+00:00") and manifest["finished"] >= manifest["started"], step
    sampling = [name for name in found if "responses" in name or "answers" in name or "entities" in name or name.startswith("closed-book")]
    assert len(sampling) == 13
    for step in sampling:
        models = found[step]["models"]
        assert len(models) == 1 and len(next(iter(models.values()))["sha256"]) == 64 and found[step]["prompts"], step
        assert found[step]["counts"].get("tokens") or step.startswith(("closed-book", "eval-answers")), step  # of this world no greedy response claims anything
    assert found["answers-train"]["models"]["dataset_toy/models/base"]["name"] == "base"


def test_every_output_is_verified_and_so_is_each_kind_alone(finished: Path) -> None:
    done = call("provenance", finished)
    assert done.returncode == 0 and "verified: 32 steps" in done.stdout, done.stdout[-2000:] + done.stderr
    one = call("provenance", finished, "--file", "dataset_toy/rewards/rewards_train_25.json")
    assert one.returncode == 0 and "  8. world: python -m confscoring.world" in one.stdout and "reads 25 files in dataset_toy/responses/" in one.stdout, one.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_of_any_kind_of_file_is_found_and_named(finished: Path, kind: str) -> None:
    path = sorted((finished / "dataset_toy").glob(kind))[0]
    name, kept = str(path.relative_to(finished)), path.read_bytes()
    try:
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        for words in ((), ("--file", "dataset_toy/report/summary.json")):
            if words and kind == "report/index.html":
                continue  # nothing is made of it
            done = call("provenance", finished, *words)
            assert done.returncode == 1 and f"changed: {name}" in done.stdout, done.stdout[-2000:] + done.stderr
    finally:
        path.write_bytes(kept)


@pytest.fixture(scope="module")
def crate(finished: Path) -> dict[str, Any]:
    before = checksums(finished)
    done = call("crate", finished)
    assert done.returncode == 0, done.stderr
    assert checksums(finished) == before and CRATE not in before  # it holds times, so it is no output that is compared
    written: dict[str, Any] = json.loads((finished / CRATE).read_text())
    return written


@pytest.fixture(scope="session")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], list[str]]:
    """Install rocrate-validator from its hashed lock; the one page that it would fetch is put into its cache."""
    scratch = tmp_path_factory.mktemp("validator")
    subprocess.run([sys.executable, "-m", "venv", str(scratch / "env")], check=True)
    python = scratch / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(HERE / "crate.txt")]
    subprocess.run(install, check=True)
    subprocess.run([str(python), str(HERE / "context_cache.py"), str(scratch / "cache")], check=True)

    def validate(folder: Path, profile: str) -> list[str]:
        report, plain = scratch / "report.json", scratch / "crate"  # it makes a URI of the path, which may have no space
        report.unlink(missing_ok=True)
        plain.unlink(missing_ok=True)
        plain.symlink_to(folder)
        done = subprocess.run(
            [str(python.with_name("rocrate-validator")), "-y", "validate", "--offline", "--cache-path", str(scratch / "cache"), "--no-auto-profile", "-p", profile,
             "-l", "required", "--no-paging", "-f", "json", "-o", str(report), str(plain)],
            env={**os.environ, "HOME": str(scratch)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert report.exists(), done.stdout + done.stderr
        found = json.loads(report.read_text())
        assert found["statistics"]["total_skipped_checks"] == 0 and found["passed"] == (done.returncode == 0) == (not found["issues"])
        return [str(issue["message"]) for issue in found["issues"]]

    return validate


def test_a_validator_accepts_the_crate(finished: Path, crate: dict[str, Any], validator: Callable[[Path, str], list[str]]) -> None:
    assert validator(finished / "dataset_toy", "ro-crate-1.1") == []
    assert validator(finished / "dataset_toy", "process-run-crate-0.5") == []


def test_the_validator_refuses_a_damaged_crate(finished: Path, crate: dict[str, Any], validator: Callable[[Path, str], list[str]]) -> None:
    copy = json.loads(json.dumps(crate))
    entities = {entity["@id"]: entity for entity in copy["@graph"]}
    del entities["./"]["license"], entities["./"]["datePublished"], entities["#run-rewards-train"]["instrument"]
    entities["rewards/rewards_train_25.json"]["@id"] = "rewards/gone.json"
    try:
        (finished / CRATE).write_text(json.dumps(copy))
        messages = "\n".join(validator(finished / "dataset_toy", "process-run-crate-0.5"))
    finally:
        (finished / CRATE).write_text(json.dumps(crate))
    for expected in ("MUST have a `license`", "MUST have a `datePublished`", "MUST have an instrument", "'rewards/gone.json'"):
        assert expected in messages


def test_the_crate_has_an_action_for_every_step_and_all_that_it_refers_to(finished: Path, crate: dict[str, Any]) -> None:
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert {name.removeprefix("#run-") for name in entities if name.startswith("#run-")} == set(manifests(finished))

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [value["@id"]] if set(value) == {"@id"} else [name for part in value.values() for name in references(part)]
        return [name for part in value for name in references(part)] if isinstance(value, list) else []

    missing = {name for entity in entities.values() for name in references(entity)} - set(entities)
    assert missing == {"https://w3id.org/ro/crate/1.1"}
    trained = entities["#run-train-factscore"]
    assert {"rewards/rewards_train_25.json", "runs/sft/export/model.safetensors"} <= {part["@id"] for part in trained["object"]}
    assert {"@id": "#run-rewards-train"} in entities["./"]["mentions"] and trained["endTime"] == manifests(finished)["train-factscore"]["finished"]


def test_the_digest_of_a_folded_folder_is_what_the_shell_computes(finished: Path, crate: dict[str, Any]) -> None:
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    step = next(entity for name, entity in entities.items() if name == "#eval-responses-sft-responses")
    line = "find eval/sft/responses -type f | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum"
    done = subprocess.run(line, shell=True, cwd=finished / "dataset_toy", capture_output=True, text=True, check=True)
    assert step["identifier"] == f"sha256:{done.stdout.split()[0]}" and step["size"] == "18"


def test_status_of_a_finished_world_and_why_a_part_of_it_is_stale(finished: Path) -> None:
    done = call("status", finished)
    assert done.returncode == 0 and "toy: 32 of 32 steps are up to date" in done.stdout and "why:" not in done.stdout, done.stdout + done.stderr
    path = finished / "dataset_toy" / "eval" / "sft" / "summary.json"
    kept, at = path.read_bytes(), path.stat()
    try:
        path.write_bytes(kept + b" ")
        said = call("status", finished).stdout
        assert "stale: eval-sft: output changed: dataset_toy/eval/sft/summary.json" in said and "and 1 after them" in said
    finally:
        path.write_bytes(kept)
        os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def test_the_lock_of_the_validator_is_made_from_its_own_list() -> None:
    assert "tests/pipeline/crate.in tests/pipeline/crate.txt" in (ROOT / "docker" / "lock.sh").read_text()
    locked = (HERE / "crate.txt").read_text()
    assert "roc-validator==" in locked and locked.count("--hash=sha256:") >= locked.count("==")
