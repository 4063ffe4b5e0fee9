"""What would run, and why: the steps of a goal with the reason why each is stale."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from volume.files import FileHashes
from volume.manifest import Fingerprint, fingerprint_of, read_manifest, why_stale
from volume.paths import DatasetPaths
from volume.settings import Definition
from volume.step import Step, topic_names


@dataclass(frozen=True)
class Plan:
    """The steps in running order, each with the reason why it has to run (None: it is up to date)."""

    steps: dict[str, Step]
    reasons: dict[str, str | None]

    @property
    def stale(self) -> list[str]:
        return [name for name, reason in self.reasons.items() if reason]


def make_plan(steps: dict[str, Step], definition: Definition, paths: DatasetPaths, data_dir: Path, limit: int | None = None) -> Plan:
    """Compare every step with its manifest; a step whose needs run will be looked at again when they have."""
    hashes = FileHashes(paths.manifests / ".hashes" / "plan.json")
    reasons: dict[str, str | None] = {}
    for step in steps.values():
        manifest = read_manifest(paths, step.id)
        given = manifest is not None and "given" in manifest
        before = next((need for need in step.needs if reasons.get(need)), None)
        if before and not given:
            reasons[step.id] = f"after {before}"
            continue
        names = topic_names(paths.questions(step.split))[:limit] if step.split else []
        now = fingerprint_of(step, definition, names, hashes, data_dir, limit)
        outputs = hashes.of_all((data_dir / name for name in manifest["outputs"]), data_dir) if manifest else {}
        if manifest and given:  # it came with a bundle that lacks what it was made from (volume.rerun): only whether it is whole can be said
            now = Fingerprint(**manifest["depends_on"])
        reason = why_stale(manifest, now, outputs)
        if reason == "not run yet" and paths.journal(step.id).exists():
            reason = "interrupted; goes on where it stopped"
        reasons[step.id] = reason
    if paths.manifests.exists():
        hashes.save()
    return Plan(steps, reasons)


def show_plan(plan: Plan, definition: Definition, paths: DatasetPaths, file: TextIO | None = None) -> None:
    """Print the plan as a table."""
    file = file or sys.stdout
    print(f"{definition.name}: {definition.description}", file=file)
    print(f"{len(plan.stale)} of {len(plan.steps)} steps would run in {paths.root.name}:", file=file)
    width = max(len(name) for name in plan.steps)
    for name, step in plan.steps.items():
        print(f"  {name:{width}}  {step.env:5}  {plan.reasons[name] or 'up to date'}", file=file)
