"""The paper's tables beside ours: runs the rows that are missing, then prints and writes the table.

    python -m volume.paper --data-dir data                            every method, on `synth`
    python -m volume.paper --table 2 --rows llama2 --data-dir data    a table of the paper's, on `bio` and `medqa`
    python -m volume.paper --table 2 --no-run --data-dir data         what there is

Writes: paper/{synth,table2,…}.{md,csv,json} on the volume; for the table of methods a drawing, too. A row is run with several
seeds; its figures are those over all of them (confscoring.across). Exit status: 0 all is there, 1 a step failed, 2 something is
missing that no stage makes, 3 topics failed; the table is written all the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volume import pipeline
from volume.choosing import choose_steps
from volume.command import place_definition
from volume.datasets import add_call_arguments, as_json, load_definition
from volume.errors import COMPLETE, FAILED, PARTIAL, USAGE, UsageError, VolumeError, tell_errors
from volume.experiments import COLUMNS, METHODS, Experiments, Place, columns_of, open_experiments, read_published
from volume.files import write_json, write_text
from volume.manifest import read_manifest
from volume.paper_choice import Wanted, World, add_choice_arguments, choose_rows
from volume.paper_figures import draw_methods
from volume.paper_table import Line, Ours, as_csv, as_value, describe_notes, find_changes, read_ours, render, render_methods
from volume.plan import Plan, make_plan
from volume.requirements import Requirement, missing_requirements, show_requirements
from volume.steps import build_steps

ROOT = Path(__file__).resolve().parents[3]
RESAMPLES = 2000


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return tell_errors(lambda: _main(given))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m volume.paper", description=(__doc__ or "").splitlines()[0])
    add_choice_arguments(parser)
    add_call_arguments(parser)
    parser.add_argument("--jobs", type=int, help="steps side by side")
    parser.add_argument("--gpus", type=int, default=1, help="processes of a step that runs or trains a model, each on a GPU where there are any")
    parser.add_argument("--no-wait", action="store_true", help="refuse, rather than wait, where another run is writing a dataset")
    parser.add_argument("--no-run", action="store_true", help="print what there is")
    for other in ("--runs", "--reward"):  # the Makefile hands them on
        parser.add_argument(other, default="", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _main(given: argparse.Namespace) -> int:
    for name, value in (("RUNS", given.runs), ("REWARD", given.reward)):
        if value:
            raise UsageError(f"{name}={value}: a table is chosen by its rows: ROWS={value}, or leave {name} out.")
    experiments = open_experiments()
    wanted = choose_rows(given, experiments)
    status = COMPLETE if given.no_run else _run_missing(wanted, given)
    data_dir = given.data_dir.resolve()
    lines = _measure(wanted, data_dir)
    folder = data_dir / "paper"
    table = wanted.table
    text = _describe(wanted, lines, experiments)
    write_text(folder / f"{wanted.name}.md", text)
    write_text(folder / f"{wanted.name}.csv", as_csv(lines))
    write_json(folder / f"{wanted.name}.json", {"table": table.number, "title": table.title, "seeds": list(wanted.seeds), "rows": as_value(lines)})
    written = [f"{wanted.name}.md", "csv", "json"]
    if table.number == METHODS and any(line.ours for line in lines):
        reference = next(place.reference for row in wanted.rows for place in row.places)
        write_text(folder / f"{wanted.name}.svg", draw_methods(lines, reference, table.control))
        written.append("svg")
    print(f"\n{text}\nWritten: {folder / ', .'.join(written)}")
    return status


def _run_missing(wanted: Wanted, given: argparse.Namespace) -> int:
    """Bring the evaluation of every row up to date; return the worst exit status. What is missing is listed once, whatever wants it."""
    lacking: dict[str, Requirement] = {}
    names: dict[str, None] = {}
    ready: list[World] = []
    for world in wanted.worlds.values():
        place_definition(world.dataset, given.data_dir.resolve(), world.definition)
        missing = _look(world, given.limit, given.llm_mode)[1]
        lacking |= {item.what: item for item in missing}
        if missing:
            names[world.definition.name] = None
        else:
            ready.append(world)
    statuses = [USAGE] if lacking else []
    for world in ready:
        print(f"{world.definition.name}, seed {world.definition.seed}: {', '.join(world.runs)}", flush=True)
        statuses.append(pipeline.main(_command(world, given)))
        if statuses[-1] not in (COMPLETE, PARTIAL):  # the same would befall the next one, or somebody wants it to end
            break
    if lacking:
        first = next(world.definition for world in wanted.worlds.values() if world.definition.name in names)
        show_requirements(dataclasses.replace(first, name=", ".join(names)), list(lacking.values()), file=sys.stderr)
    return next((status for status in (FAILED, USAGE, PARTIAL) if status in statuses), COMPLETE)


def _look(world: World, limit: int | None, llm_mode: Any = "record") -> tuple[Plan, list[Requirement]]:
    """Return what the evaluation of a world's runs would run, and what it lacks for that."""
    data_dir = world.paths.root.parent
    steps = build_steps(world.definition, world.paths, data_dir)
    chosen = choose_steps(steps, world.definition, "eval", ",".join(world.runs))
    plan = make_plan(chosen, world.definition, world.paths, data_dir, limit)
    return plan, missing_requirements(world.definition, world.paths, data_dir, [step for step in chosen.values() if plan.reasons[step.id]], llm_mode)


def _command(world: World, given: argparse.Namespace) -> list[str]:
    """Return the pipeline's own command line for a world."""
    options = {
        "--dataset": world.dataset, "--seed": world.seed, "--scale": given.scale, "--data-dir": given.data_dir, "--limit": given.limit, "--jobs": given.jobs,
        "--gpus": given.gpus, "--llm-mode": given.llm_mode, "--max-cost": given.max_cost, "--runs": ",".join(world.runs),
    }  # fmt: skip
    return ["eval", *(word for name, value in options.items() if value is not None for word in (name, str(value))), *(["--no-wait"] if given.no_wait else [])]


def _measure(wanted: Wanted, data_dir: Path) -> list[Line]:
    """Return the lines of a table with what there is of each."""
    published = read_published()
    placed = [(row, place, _present(wanted, place)) for row in wanted.rows for place in row.places]
    across = _across([(place, worlds) for _, place, worlds in placed if worlds], data_dir)
    ages = {(world.dataset, world.seed): _ages(world) for _, _, worlds in placed for world in worlds}
    ours: dict[tuple[str, str], Ours | None] = {}
    for row, place, worlds in placed:
        if worlds:
            ours[row.name, place.column] = read_ours(across["runs"][_key(place)], [world.seed for world in worlds], _changes(place, worlds, ages))
    columns = columns_of(wanted.rows) or COLUMNS
    return [
        Line(row, column, published.get((wanted.table.number, row.name, column)), ours.get((row.name, column))) for row in wanted.rows for column in columns
    ]  # fmt: skip


def _present(wanted: Wanted, place: Place) -> list[World]:
    """Return the worlds in which a place's run has been evaluated, whole or in part."""
    worlds = [wanted.worlds[place.dataset, seed] for seed in wanted.seeds]
    return [world for world in worlds if world.summary(place.run).is_file() and read_manifest(world.paths, f"eval-{place.run}") is not None]


def _key(place: Place) -> str:
    return f"{place.column}:{place.run}:{place.reference}"


def _across(places: Iterable[tuple[Place, Sequence[World]]], data_dir: Path) -> Mapping[str, Any]:
    """Return the figures over seeds of all places, from confscoring.across in its environment.

    Raises:
        VolumeError: It failed; what it said stands above.
    """
    runs: dict[str, list[str]] = {}
    references: dict[str, list[str]] = {}
    for place, worlds in places:
        files = [world.summary(place.reference) for world in worlds] if place.reference else []
        runs[_key(place)] = [_from_job(world.summary(place.run), data_dir) for world in worlds]
        if files and place.reference != place.run and all(path.is_file() for path in files):  # differences are between the same worlds
            references[_key(place)] = [_from_job(path, data_dir) for path in files]
    if not runs:
        return {"runs": {}}
    folder = data_dir / "paper"
    write_json(folder / "job.json", {"runs": runs, "reference": references, "resamples": RESAMPLES, "seed": 0})
    return _compute(data_dir)


def _from_job(path: Path, data_dir: Path) -> str:
    """Return a file's name as seen from the job's folder: the volume's own lies elsewhere in a container."""
    return f"../{path.relative_to(data_dir).as_posix()}"


def _compute(data_dir: Path) -> Mapping[str, Any]:
    engine = [sys.executable, str(ROOT / "docker" / "engine.py")]
    command = ["python", "-m", "confscoring.across", "--job", "@data/paper/job.json", "--output", "@data/paper/across.json"]
    environment = {**os.environ, "DATA": str(data_dir)}
    for words in (["prepare", "csenv", "--device", "cpu"], ["run", "csenv", "--network", "none", "--device", "cpu", "--name", "paper", "--", *command]):
        if subprocess.run([*engine, *words], env=environment, check=False).returncode != 0:
            raise VolumeError("the figures over seeds could not be computed (see above). All evaluations are kept; run the same command again.")
    found: dict[str, Any] = json.loads((data_dir / "paper" / "across.json").read_text(encoding="utf-8"))
    return found


def _ages(world: World) -> dict[str, str]:
    """Return {run: why} of the evaluations that are there and are not up to date."""
    limits = {manifest["depends_on"]["settings"].get("limit") for run in world.runs if (manifest := read_manifest(world.paths, f"eval-responses-{run}")) is not None}
    reasons = _look(world, next(iter(limits)) if len(limits) == 1 else None)[0].reasons
    return {run: reason for run in world.runs if (reason := reasons[f"eval-{run}"])}


def _changes(place: Place, worlds: Sequence[World], ages: Mapping[tuple[str, int], Mapping[str, str]]) -> dict[str, str]:
    """Return {word: in full} of what the evaluations of a run have otherwise than the recipe: settings, stack, topics left out, age."""
    found: dict[str, str] = {}
    for world in worlds:
        manifests = [read_manifest(world.paths, name) for name in (f"eval-{place.run}", f"eval-responses-{place.run}", f"eval-factscore-{place.run}")]
        for manifest in (manifest for manifest in manifests if manifest is not None):
            stack = manifest["environment"].get("stack") or "paper"
            if stack != "paper":
                found.setdefault(f"stack={stack}", "other versions of the packages than the paper's")
            limit = manifest["depends_on"]["settings"].get("limit")
            if limit is not None:
                found.setdefault(f"LIMIT={limit}", "only so many topics of each split")
        if place.run in ages[world.dataset, world.seed]:
            found.setdefault("out of date", f"{place.run} with seed {world.seed}: {ages[world.dataset, world.seed][place.run]}")
        if place.pinned and manifests[0] is not None:
            pinned = as_json(load_definition(place.pinned))
            found |= {word: detail for word, detail in find_changes(pinned, manifests[0]["definition"]).items() if word not in found}
    return found


def _describe(wanted: Wanted, lines: Sequence[Line], experiments: Experiments) -> str:
    """Return the whole text: title, table, notes."""
    table = wanted.table
    where = f"Table {table.number} of arXiv 2311.08401v1: " if table.number else ""
    seeds = f"seeds {', '.join(map(str, wanted.seeds))}" if len(wanted.seeds) > 1 else f"seed {wanted.seeds[0]}"
    notes = [
        f"Facts per response, and the share of correct ones in per cent: micro of all facts, macro the mean of the responses' own; sampled responses, {seeds}.",
        "In brackets 95 % intervals over topics and seeds.",
    ]  # fmt: skip
    if not table.number:
        left = [f"Not in its definition: {', '.join(wanted.left_out)}."] if wanted.left_out else []
        changes = describe_notes(lines, {})
        return "\n".join([f"# {table.title} ({wanted.name})", "", render_methods(lines), *notes, *left, *(["", *changes] if changes else []), ""])
    compared = "Chat" if all(place.reference == "chat" for row in wanted.rows for place in row.places) else "SFT"
    notes += [
        "Beside the paper's share stands which average it is, as the counts beside it tell; a verdict says whether our interval of that one has it in it.",
        "", *describe_notes(lines, experiments.notes),
    ]  # fmt: skip
    return "\n".join([f"# {where}{table.title}", "", render(lines, compared), *notes, ""])


if __name__ == "__main__":
    raise SystemExit(main())
