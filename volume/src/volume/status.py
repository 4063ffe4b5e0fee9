"""Says where a dataset stands: which steps are done, stale or interrupted and why, what they counted, took, cost and hold on the disk.

    python -m volume.status --data-dir data --dataset synth

It reads, and remembers the hashes of files that it had to look into; it changes nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volume.choosing import choose_steps
from volume.datasets import add_world_arguments, load_definition
from volume.errors import COMPLETE, VolumeError, tell_errors
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.plan import Plan, make_plan
from volume.settings import Definition
from volume.step import Step
from volume.steps import STAGES, build_steps

if TYPE_CHECKING:
    from volume.llm.store import Spending

STATES = ("done", "partial", "stale", "interrupted", "waiting", "not run")

# Counts of a stage worth a glance; its manifests have all of them.
_GLANCE = ("people", "topics", "failed", "missing", "responses", "facts", "supported", "questions", "answers", "entities", "runs")


@dataclass(frozen=True)
class StageStatus:
    """The steps of one make target taken together.

    Attributes:
        states: {state: number of steps}.
        counts: Sums over the steps.
        seconds: Of each step's last run.
        last: When the last of them ended, "" where none has.
        size: Bytes of their outputs.
    """

    target: str
    states: dict[str, int]
    counts: dict[str, float]
    seconds: float
    last: str
    size: int


def state_of(reason: str | None, manifest: dict[str, Any] | None) -> str:
    """Return a step's state from why it would run and from its last manifest."""
    if reason is None:
        return "done"
    if reason.startswith("interrupted"):
        return "interrupted"
    if manifest is None:
        return "not run"
    if reason.startswith("after "):
        return "waiting"
    return "partial" if manifest["status"] == "partial" and reason.endswith("failed last time") else "stale"


def summarise(steps: Iterable[Step], plan: Plan, manifests: dict[str, dict[str, Any] | None], data_dir: Path) -> list[StageStatus]:
    """Return the stages in running order."""
    by_target: dict[str, list[Step]] = {}
    for step in steps:
        by_target.setdefault(step.target, []).append(step)
    found = []
    for target in (name for name in STAGES if name in by_target):
        alike = by_target[target]
        states = [state_of(plan.reasons[step.id], manifests[step.id]) for step in alike]
        ended = [manifest for manifest in (manifests[step.id] for step in alike) if manifest is not None]
        counts: dict[str, float] = {}
        for name in _GLANCE:
            numbers = [manifest["counts"][name] for manifest in ended if name in manifest["counts"]]
            if numbers:
                counts[name] = sum(numbers)
        found.append(StageStatus(
            target, {state: states.count(state) for state in STATES if state in states}, counts, sum(manifest["seconds"] for manifest in ended),
            max((manifest["finished"] for manifest in ended), default=""), sum(_size(data_dir / path) for manifest in ended for path in manifest["outputs"]),
        ))  # fmt: skip
    return found


def describe_stages(stages: list[StageStatus]) -> list[str]:
    """Return the table of stages."""
    rows = [("stage", "steps", "state", "last run (UTC)", "time", "disk", "counts")]
    for stage in stages:
        number = sum(stage.states.values())
        state = ", ".join(name if count == number else f"{count} {name}" for name, count in stage.states.items() if name != "done" or count == number)
        counts = ", ".join(f"{value:,.0f} {name}" for name, value in stage.counts.items() if value or name == "topics")
        last = stage.last[:16].replace("T", " ")
        took = (_time(stage.seconds), _bytes(stage.size)) if last else ("", "")
        rows.append((stage.target, f"{stage.states.get('done', 0)}/{number}", state, last, *took, counts))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def describe_reasons(plan: Plan, manifests: dict[str, dict[str, Any] | None]) -> list[str]:
    """Return why steps would run: a line on each that has a reason of its own, and the number of those that only follow."""
    lines = []
    fresh = [name for name, reason in plan.reasons.items() if reason == "not run yet"]
    for name, reason in plan.reasons.items():
        if reason is not None and reason != "not run yet" and not reason.startswith("after "):
            lines.append(f"  {state_of(reason, manifests[name])}: {name}: {reason}")
            manifest = manifests[name]
            if manifest is not None and manifest["failures"]:
                topic, why = next(iter(manifest["failures"].items()))
                lines.append(f"    such as {topic}: {why}")
    following = sum(reason is not None and reason.startswith("after ") for reason in plan.reasons.values())
    if fresh:
        lines.append(f"  not run yet: {', '.join(fresh[:4])}{f' and {len(fresh) - 4} more' if len(fresh) > 4 else ''}")
    if following:
        lines.append(f"  and {following} after them")
    return lines


def describe_spending(rows: Iterable[Spending]) -> list[str]:
    """Return what the calls to services were and cost, by model."""
    return [
        f"calls to {row.model}: {row.calls:,} recorded, {row.prompt_tokens + row.completion_tokens:,} tokens, {row.spent:.2f} US dollars" for row in rows
    ]  # fmt: skip


def list_datasets(data_dir: Path) -> list[str]:
    """Return a line on every dataset's folder on a volume."""
    lines = []
    for folder in sorted(path for path in data_dir.glob("dataset_*") if path.is_dir()):
        ended = [manifest for manifest in (read_manifest(DatasetPaths(folder), path.stem) for path in (folder / "manifests").glob("*.json")) if manifest]
        last = max((str(manifest["finished"]) for manifest in ended), default="")[:16].replace("T", " ")
        lines.append(f"  {folder.name}: " + (f"{len(ended)} steps have run, the last at {last} UTC" if ended else "no step has run"))
    return lines


def used_limit(manifests: Iterable[dict[str, Any] | None]) -> int | None:
    """Return the LIMIT that all steps over topics ran with, None where there was none or several."""
    found = {manifest["depends_on"]["settings"].get("limit") for manifest in manifests if manifest is not None and "done" in manifest["counts"]}
    return next(iter(found)) if len(found) == 1 else None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.status", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--limit", type=int, help="only the first N topics of each split; default: as in the last run")
    given = parser.parse_args(argv)
    return tell_errors(lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    data_dir = given.data_dir.resolve()
    definition = load_definition(given.dataset, given.seed, given.scale)
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    others = list_datasets(data_dir)
    print(f"{data_dir}: " + (f"{len(others)} dataset(s)" if others else "no dataset yet"))
    print("\n".join(others), end="\n" if others else "")
    if not any(paths.manifests.glob("*")):
        goal = "demo" if definition.world else "report"
        print(f"{definition.name}: nothing has run. `make {goal} DATASET={given.dataset}` runs it, `make plan DATASET={given.dataset}` says what it needs.")
        return COMPLETE
    print("\n" + "\n".join(_details(definition, paths, data_dir, given)))
    return COMPLETE


def _details(definition: Definition, paths: DatasetPaths, data_dir: Path, given: argparse.Namespace) -> list[str]:
    defined = build_steps(definition, paths, data_dir)
    asked = choose_steps(defined, definition, "report")  # extra policies count where they have been run
    steps = {name: step for name, step in defined.items() if name in asked or paths.manifest(name).exists() or paths.journal(name).exists()}
    manifests = {name: read_manifest(paths, name) for name in steps}
    limit = given.limit if given.limit is not None else used_limit(manifests.values())
    plan = make_plan(steps, definition, paths, data_dir, limit)
    with_limit = f", LIMIT={limit}" if limit is not None else ""
    size, count = _disk(paths.root)
    return [
        f"{definition.name}{with_limit}: {len(steps) - len(plan.stale)} of {len(steps)} steps are up to date; {_bytes(size)} in {count:,} files",
        *describe_stages(summarise(steps.values(), plan, manifests, data_dir)), *_spending(definition, data_dir),
        *(["why:", *describe_reasons(plan, manifests)] if plan.stale else []),
    ]  # fmt: skip


def _spending(definition: Definition, data_dir: Path) -> list[str]:
    store = data_dir / "llm_calls.sqlite"
    if not store.exists():
        return []
    from volume.llm.store import CallStore  # the client comes with it, a third of what a status would take to start

    try:
        with CallStore(store) as calls:
            return describe_spending(row for row in calls.spending() if row.dataset == definition.name)
    except VolumeError as error:  # the rest is worth telling all the same
        return [f"calls: {error}"]


def _disk(root: Path) -> tuple[int, int]:
    """Return the bytes and the number of all files below a folder."""
    size, count, folders = 0, 0, [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
                    count += 1
    return size, count


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bytes(number: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number = round(number / 1024)
    return f"{number / 1024:.1f} GiB" if number >= 1024 else f"{number} GiB"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())
