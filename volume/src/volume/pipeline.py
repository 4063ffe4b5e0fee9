"""Runs what a goal needs, in order, each step in its own environment; the Makefile's targets call this.

    python -m volume.pipeline rewards --dataset synth --data-dir data
    python -m volume.pipeline plan --dataset bio --data-dir data

It runs on the host with the standard library alone. Steps that do not depend on each other run side by side.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from volume.choosing import choose_steps
from volume.command import place_definition
from volume.costs import show_costs
from volume.crate import write_crate
from volume.datasets import add_call_arguments, add_world_arguments, load_definition
from volume.errors import COMPLETE, FAILED, PARTIAL, USAGE, UsageError, VolumeError, tell_errors
from volume.holding import hold_dataset
from volume.paths import DatasetPaths
from volume.plan import make_plan, show_plan
from volume.requirements import missing_requirements, show_requirements
from volume.runner import Runner, count_jobs
from volume.steps import STAGES, build_steps
from volume.variables import read_variables, show_variables

GOALS = (*STAGES, "demo", "plan")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parse(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    return tell_errors(lambda: _run_or_leave(given))


def _run_or_leave(given: argparse.Namespace) -> int:
    try:
        return _main(given)
    except BrokenPipeError:  # the reader has gone, as in `make plan | head`; nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COMPLETE if given.goal == "plan" else FAILED


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m volume.pipeline", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("goal", choices=GOALS, help="what to bring up to date; `plan` only says what would run")
    parser.add_argument("of", nargs="?", default="report", choices=(*STAGES, "demo"), help="the goal that `plan` looks at")
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--limit", type=int, help="only the first N topics of each split")
    parser.add_argument("--runs", default="", help="comma-separated policies to train and evaluate; default all")
    parser.add_argument("--reward", default="", help="comma-separated rewards: only the policies trained on them; default all")
    add_call_arguments(parser)
    parser.add_argument("--jobs", type=int, help="steps side by side; default as many as the cores hold, or one on a GPU host")
    parser.add_argument("--gpus", type=int, default=1, help="processes of a step that runs or trains a model, each on a GPU where there are any")
    parser.add_argument("--no-wait", action="store_true", help="refuse, rather than wait, where another run is writing this dataset")
    parser.add_argument("--variable", action="append", default=[], metavar="NAME=ORIGIN=VALUE", help="a variable of the Makefile, for `plan` to show")
    return parser.parse_args(argv)


def _main(given: argparse.Namespace) -> int:
    for name, number, what in (
        ("GPUS", given.gpus, "processes of a step that runs or trains a model"), ("JOBS", given.jobs, "steps side by side"), ("LIMIT", given.limit, "topics"),
    ):
        if number is not None and number < 1:
            raise UsageError(f"{name}={number}: expected the number of {what}, 1 or more.")
    data_dir = given.data_dir.resolve()
    definition = load_definition(given.dataset, given.seed, given.scale)
    place_definition(given.dataset, data_dir, definition)
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    steps = build_steps(definition, paths, data_dir)
    goal = given.of if given.goal == "plan" else given.goal
    chosen = choose_steps(steps, definition, "report" if goal == "demo" else goal, given.runs, given.reward)
    plan = make_plan(chosen, definition, paths, data_dir, given.limit)
    missing = missing_requirements(definition, paths, data_dir, [step for step in chosen.values() if plan.reasons[step.id]], given.llm_mode)
    if given.goal == "plan":
        show_variables(read_variables(given.variable), definition, data_dir, count_jobs(given.jobs, given.gpus, definition.device))
        show_plan(plan, definition, paths)
        show_costs([step for step in chosen.values() if plan.reasons[step.id]], definition, given)
        show_requirements(definition, missing)
        return COMPLETE
    if missing:
        show_plan(plan, definition, paths, file=sys.stderr)
        show_requirements(definition, missing, file=sys.stderr)
        return USAGE
    if plan.stale:
        with hold_dataset(paths.root, f"make {goal}", wait=not given.no_wait) as hold:
            if hold.waited:  # the run before may have done it all
                plan = make_plan(chosen, definition, paths, data_dir, given.limit)
            if plan.stale:
                status = Runner(given, definition, paths, data_dir, chosen, plan, hold.descriptor).run()
                if status in (COMPLETE, PARTIAL):
                    _describe(goal, paths)
                    _say_where(goal, paths)
                return status
    print(f"{goal}: up to date, nothing to do ({len(chosen)} steps checked in {paths.root.name}).")
    _say_where(goal, paths)
    return COMPLETE


def _describe(goal: str, paths: DatasetPaths) -> None:
    """Write the crate beside a finished report."""
    if goal in ("report", "demo"):
        try:
            write_crate(paths)
        except VolumeError as error:  # files of a run that the definition no longer has, for instance: the report is whole all the same
            print(f"no crate: {error}")


def _say_where(goal: str, paths: DatasetPaths) -> None:
    if goal in ("report", "demo"):
        print(f"Report: {paths.report / 'index.html'}")


if __name__ == "__main__":
    raise SystemExit(main())
