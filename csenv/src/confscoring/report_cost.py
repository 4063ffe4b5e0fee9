"""What a dataset took, step by step, from its manifests: time, calls, tokens, money, hardware, versions; as JSON and as a page.

These numbers differ from run to run, so the two files are no output of any step: nothing compares them, nothing becomes stale by
them. They lie in the dataset's folder, not in report/, where every file has a manifest. A step that was interrupted notes
the time and the calls of its last start only.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from confscoring.report_style import STYLE
from confscoring.report_tables import cell, table
from confscoring.report_words import counted, fixed
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.steps import STAGES

_TEXTS = ("asked", "recorded", "prompt_tokens", "completion_tokens")


def collect_costs(paths: DatasetPaths, targets: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row for every step that has ended, in running order.

    Args:
        targets: {step: the stage that it belongs to} of the definition.
    """
    rows = []
    for step, target in targets.items():
        manifest = read_manifest(paths, step)
        if manifest is None:
            continue
        environment, counts = manifest["environment"], manifest["counts"]
        calls = {name: number for note in manifest["notes"].values() if isinstance(note, dict) and "asked" in note for name, number in note.items()}
        gpus = [str(gpu.get("name", gpu)) if isinstance(gpu, dict) else str(gpu) for gpu in environment.get("gpus", [])]
        rows.append({
            "step": step, "stage": target, "status": manifest["status"], "started": manifest["started"], "seconds": manifest["seconds"],
            "topics": counts.get("topics"), "failed": counts.get("failed"), "sampled_tokens": counts.get("tokens"),
            **{name: calls.get(name) for name in (*_TEXTS, "usd")},
            "env": environment["env"], "engine": environment["engine"], "stack": environment["stack"], "commit": environment["git_commit"],
            "hardware": ", ".join([*gpus, f"{environment['processor']} ({environment['cores']} cores, {environment['memory_gib']} GiB)"]),
            "packages": environment["packages"],
        })  # fmt: skip
    return rows


def sum_costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums over steps; None where no step noted the number."""
    names = ("seconds", "sampled_tokens", *_TEXTS, "usd")
    found = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return {name: round(sum(numbers), 6) if numbers else None for name, numbers in found.items()}


def cost_page(dataset: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page: sums, a table by stage, one by step, and what it ran on."""
    total = sum_costs(rows)
    by_stage = [(stage, [row for row in rows if row["stage"] == stage]) for stage in STAGES]
    stages = [("", f'<th scope="row">{stage}</th>{cell(str(len(own)))}{_cells(sum_costs(own))}') for stage, own in by_stage if own]
    stages.append(("key", f'<th scope="row">all</th>{cell(str(len(rows)))}{_cells(total)}'))
    steps = [("", f'<th scope="row">{html.escape(row["step"])}</th>{_topics(row)}{_cells(row)}') for row in rows]
    head = ["time, s", "tokens sampled<br>here", "calls to<br>a service", "replies on<br>record used", "prompt<br>tokens", "reply<br>tokens", "US dollars"]
    machines = "".join(f"<li>{html.escape(words)}</li>" for words in dict.fromkeys(_machine(row) for row in rows))
    noted = "" if total["asked"] is not None else " No step asked a service."
    title = f"What {html.escape(dataset)} took"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>"
        f'<p class="lead">{len(rows)} steps, {_duration(total["seconds"] or 0)} of work added up; steps that ran side by side took less.{noted}</p>'
        '<p class="note">From the manifests when the report was last made. A step that was interrupted notes its last start alone.</p>'
        f'{table("By stage", "", ["Stage", "steps", *head], stages)}{table("By step", "", ["Step", "topics", *head], steps)}'
        f'<h3 class="caption">Ran on</h3><ul class="plain">{machines}</ul></main></body></html>\n'
    )  # fmt: skip


def _topics(row: Mapping[str, Any]) -> str:
    return cell("–" if row["topics"] is None else counted(int(row["topics"])), f"{row['failed']} failed" if row["failed"] else "")


def _cells(row: Mapping[str, Any]) -> str:
    cells = cell("–" if row["seconds"] is None else fixed(row["seconds"], 1))
    cells += "".join(cell("–" if row[name] is None else counted(int(row[name]))) for name in ("sampled_tokens", *_TEXTS))
    return cells + cell("–" if row["usd"] is None else fixed(row["usd"], 2))


def _machine(row: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
    how = f"{row['env']} ({row['engine'] or 'engine not noted'}, {row['stack'] or 'stack not noted'})"
    return f"{how} on {row['hardware']}; code {row['commit'] or 'not noted'}; {packages}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min" + ("" if hours else f" {rest} s")
