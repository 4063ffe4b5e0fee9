"""Manifests: what a step read, wrote and ran on, and whether that still holds.

A manifest is written last, so its existence means that the step's outputs are whole. A step is up to date when its
fingerprint (inputs, settings, code, lock) and its outputs are unchanged; that a file exists proves nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from volume import FORMAT_VERSION
from volume.code import code_version, lock_version
from volume.datasets import as_json, find_setting
from volume.files import FileHashes, sha256_value, write_json
from volume.machine import describe_environment
from volume.origin import describe_origin
from volume.paths import DatasetPaths
from volume.settings import Definition
from volume.step import Step


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What decides the bytes that a step writes.

    Attributes:
        settings: The sections of the definition that the step depends on.
        code: Hash of the stage's modules.
        lock: Hash of the environment's lock.
        inputs: {path relative to the volume: SHA-256, or None for a missing file}.
    """

    settings: dict[str, Any]
    code: str
    lock: str
    inputs: dict[str, str | None]

    def digest(self) -> str:
        return sha256_value([FORMAT_VERSION, self.settings, self.code, self.lock, self.inputs])


def settings_of(step: Step, definition: Definition, limit: int | None = None) -> dict[str, Any]:
    """Return the settings that a step depends on, as JSON values."""
    values: dict[str, Any] = {name: as_json(find_setting(definition, name)) for name in step.settings}
    if limit is not None and (step.split is not None or step.target == "rewards"):
        values["limit"] = limit
    return values


def fingerprint_of(
    step: Step, definition: Definition, topics: Iterable[str], hashes: FileHashes, data_dir: Path, limit: int | None = None
) -> Fingerprint:
    """Return a step's fingerprint; for a step over topics it covers the inputs of all of them."""
    inputs = [*step.inputs(), *(path for topic in topics for path in step.item_inputs(topic))]
    lock = os.environ.get("FACTTUNE_LOCK_SHA256") if os.environ.get("FACTTUNE_ENV") == step.env else None
    return Fingerprint(
        settings=settings_of(step, definition, limit),
        code=code_version(step.module),
        lock=lock or lock_version(step.env, os.environ.get("FACTTUNE_STACK") or os.environ.get("STACK") or "paper"),
        inputs=hashes.of_all(inputs, data_dir),
    )


def read_manifest(paths: DatasetPaths, step: str) -> dict[str, Any] | None:
    """Return a step's manifest, or None when it never ended or its manifest cannot be read."""
    try:
        manifest = json.loads(paths.manifest(step).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT_VERSION else None


def why_stale(manifest: dict[str, Any] | None, now: Fingerprint, outputs: dict[str, str | None]) -> str | None:
    """Return why a step has to run, in a few words, or None when it is up to date.

    Args:
        manifest: The step's last manifest.
        now: Its fingerprint as things are.
        outputs: {path: SHA-256 or None} of the manifest's outputs as they are on the disk.
    """
    if manifest is None:
        return "not run yet"
    if manifest["fingerprint"] != now.digest():
        return _difference(manifest, now)
    if manifest["status"] != "complete":
        return f"{len(manifest['failures'])} topic(s) failed last time"
    for path, digest in manifest["outputs"].items():
        if outputs.get(path) != digest:
            return f"output {'missing' if outputs.get(path) is None else 'changed'}: {path}"
    return None


def _difference(manifest: dict[str, Any], now: Fingerprint) -> str:
    before = manifest["depends_on"]
    for name, value in now.settings.items():
        if before["settings"].get(name) != value:
            return f"setting changed: {name}"
    if set(before["settings"]) != set(now.settings):
        return "setting changed: " + ", ".join(sorted(set(before["settings"]) ^ set(now.settings)))
    if before["code"] != now.code:
        return "code changed"
    if before["lock"] != now.lock:
        return "lock changed"
    for path in sorted({*before["inputs"], *now.inputs}):
        if before["inputs"].get(path) != now.inputs.get(path):
            return f"input {'missing' if now.inputs.get(path) is None else 'changed'}: {path}"
    return "format changed"


def write_manifest(
    paths: DatasetPaths, step: Step, definition: Definition, fingerprint: Fingerprint, *, outputs: dict[str, str | None],
    counts: dict[str, float], failures: dict[str, str], notes: dict[str, Any], started: str, finished: str, seconds: float,
) -> None:
    """Write a step's manifest: last of all its files."""
    manifest = {
        "format": FORMAT_VERSION,
        "step": step.id,
        "command": [step.module, *step.args],
        "status": "partial" if failures else "complete",
        "counts": counts,
        "failures": failures,
        "fingerprint": fingerprint.digest(),
        "depends_on": {"settings": fingerprint.settings, "code": fingerprint.code, "lock": fingerprint.lock, "inputs": fingerprint.inputs},
        "outputs": outputs,
        "definition": as_json(definition),
        "seed": definition.seed,
        "notes": notes,
        **describe_origin(step, fingerprint.inputs, fingerprint.settings, notes, definition, paths),
        "environment": describe_environment(step),
        "started": started,
        "finished": finished,
        "seconds": round(seconds, 3),
    }
    write_json(paths.manifest(step.id), {**manifest, "digest": manifest_digest(manifest)})


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 over all that a manifest says but its own digest: a value that is edited later no longer fits it."""
    return sha256_value({key: value for key, value in manifest.items() if key != "digest"})
