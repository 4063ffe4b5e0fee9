"""Runs what a goal needs, in order, each step in its own environment; the Makefile's targets call this.

    python -m volume.pipeline rewards --dataset synth --data-dir data
    python -m volume.pipeline plan --dataset bio --data-dir data

It runs on the host with the standard library alone. Steps that do not depend on each other run side by side.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from volume.command import count_processes, place_definition, stage_command
from volume.costs import show_costs
from volume.datasets import add_call_arguments, add_world_arguments, as_json, load_definition
from volume.errors import COMPLETE, FAILED, PARTIAL, USAGE, UsageError, suggest, tell_errors
from volume.files import write_json
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.plan import Plan, make_plan, show_plan
from volume.requirements import API_KEY, COMPLETIONS_KEY, missing_requirements, read_key, show_requirements
from volume.settings import Definition
from volume.step import Step
from volume.steps import STAGES, asks_service, build_steps

ROOT = Path(__file__).resolve().parents[3]
GOALS = (*STAGES, "demo", "plan")

# Statuses that are no stage's own.
_EXPLAINED = {125: " (the container could not be started)", 137: " (killed; if nobody did it, the machine ran out of memory)"}


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
    add_call_arguments(parser)
    parser.add_argument("--jobs", type=int, help="steps side by side; default as many as the cores hold, or one on a GPU host")
    parser.add_argument("--gpus", type=int, default=1, help="processes of a step that runs or trains a model, each on a GPU where there are any")
    return parser.parse_args(argv)


def _main(given: argparse.Namespace) -> int:
    if given.gpus < 1:
        raise UsageError(f"GPUS={given.gpus}: expected the number of processes of a step that runs or trains a model, 1 or more.")
    data_dir = given.data_dir.resolve()
    definition = load_definition(given.dataset, given.seed, given.scale)
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    steps = build_steps(definition, paths, data_dir)
    goal = given.of if given.goal == "plan" else given.goal
    chosen = choose_steps(steps, definition, "report" if goal == "demo" else goal, given.runs)
    plan = make_plan(chosen, definition, paths, data_dir, given.limit)
    missing = missing_requirements(definition, paths, data_dir, [step for step in chosen.values() if plan.reasons[step.id]], given.llm_mode)
    if given.goal == "plan":
        show_plan(plan, definition, paths)
        show_costs([step for step in chosen.values() if plan.reasons[step.id]], definition, given)
        show_requirements(definition, missing)
        return COMPLETE
    if missing:
        show_plan(plan, definition, paths, file=sys.stderr)
        show_requirements(definition, missing, file=sys.stderr)
        return USAGE
    if not plan.stale:
        print(f"{goal}: up to date, nothing to do ({len(chosen)} steps checked in {paths.root.name}).")
        _say_where(goal, paths)
        return COMPLETE
    status = Runner(given, definition, paths, data_dir, chosen, plan).run()
    if status in (COMPLETE, PARTIAL):
        _say_where(goal, paths)
    return status


def choose_steps(steps: dict[str, Step], definition: Definition, goal: str, runs: str = "") -> dict[str, Step]:
    """Return the steps of a goal and all that they need, in running order.

    Raises:
        UsageError: ``runs`` names a policy that the definition does not have, or the goal has no step in this dataset.
    """
    wanted = [name.strip() for name in runs.split(",") if name.strip()]
    for name in wanted:
        if name not in definition.runs:
            raise UsageError(f"RUNS={runs}: no run '{name}' in '{definition.name}'.{suggest(name, definition.runs)}")
    left_out = {f"-{name}" for name in definition.runs if wanted and name not in wanted}

    def asked(step: Step) -> bool:
        return not any(step.id.endswith(end) for end in left_out) or step.target not in ("train", "eval")

    waiting = [step.id for step in steps.values() if step.target == goal and asked(step)]
    if not waiting:
        raise UsageError(f"'{definition.name}' has no stage '{goal}': it is switched off in its definition.")
    chosen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in chosen:
            continue
        chosen.add(name)
        # The report shows what there is; what it was not asked to run is no need of it.
        waiting += [need for need in steps[name].needs if steps[name].target != "report" or asked(steps[need])]
    return {name: step for name, step in steps.items() if name in chosen}


def _say_where(goal: str, paths: DatasetPaths) -> None:
    if goal in ("report", "demo"):
        print(f"Report: {paths.report / 'index.html'}")


class Runner:
    """Runs the stale steps of a plan, up to ``jobs`` at once."""

    def __init__(
        self, given: argparse.Namespace, definition: Definition, paths: DatasetPaths, data_dir: Path, chosen: dict[str, Step], plan: Plan
    ) -> None:
        self.given, self.definition, self.paths, self.data_dir = given, definition, paths, data_dir
        self.chosen, self.plan = chosen, plan
        self.jobs = given.jobs or (1 if shutil.which("nvidia-smi") else max(1, len(os.sched_getaffinity(0)) // given.gpus))
        self.key = read_key()
        self.processes: set[subprocess.Popen[str]] = set()
        self.say = threading.Lock()

    def run(self) -> int:
        """Run everything; return the worst exit status."""
        clock = time.monotonic()
        envs = sorted({self.chosen[name].env for name in self.plan.stale})
        if self._engine("prepare", *envs) != 0:
            return USAGE
        place_definition(self.given)
        write_json(self.paths.definition, as_json(self.definition))
        shared = f", in {self.given.gpus} processes where a model runs or is trained" if self.given.gpus > 1 else ""
        print(f"{len(self.plan.stale)} of {len(self.chosen)} steps to run, {self.jobs} at once{shared}.", flush=True)
        statuses = self._run_all()
        worst = next((status for status in (FAILED, USAGE, PARTIAL) if status in statuses.values()), COMPLETE)
        minutes, seconds = divmod(round(time.monotonic() - clock), 60)
        if worst in (FAILED, USAGE):
            bad = ", ".join(name for name, status in statuses.items() if status in (FAILED, USAGE))
            print(f"stopped after {minutes} min {seconds:02d} s: {bad} failed (see above). Run the same command again to go on from there.", file=sys.stderr)
        else:
            print(f"done in {minutes} min {seconds:02d} s.")
        return worst

    def _run_all(self) -> dict[str, int]:
        statuses: dict[str, int] = {}
        running: dict[Future[int], str] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                while True:
                    broken = any(status not in (COMPLETE, PARTIAL) for status in statuses.values())
                    for name, step in self.chosen.items():
                        started = name in statuses or name in running.values()
                        ready = all(need in statuses or need not in self.chosen for need in step.needs)
                        if not started and ready and not broken and len(running) < self.jobs:
                            running[pool.submit(self._run_step, step)] = name
                    if not running:
                        return statuses
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        statuses[running.pop(future)] = future.result()
            except (KeyboardInterrupt, OSError):  # inside the pool, which waits for its steps when it is left
                for process in tuple(self.processes):
                    process.terminate()  # a stage finishes what it has in hand, training writes a checkpoint
                raise

    def _run_step(self, step: Step) -> int:
        """Run one step unless what it depends on came out as before; return its exit status."""
        again = make_plan({step.id: step}, self.definition, self.paths, self.data_dir, self.given.limit)
        if not again.reasons[step.id]:
            return COMPLETE
        self._print(step, f"starts ({again.reasons[step.id]})")
        clock = time.monotonic()
        options = ["--network", "none"]
        if asks_service(step, self.definition) and self.given.llm_mode != "replay":
            options = ["--network", "host", *(["--pass", API_KEY] if self.key else []), *(["--pass", COMPLETIONS_KEY] if COMPLETIONS_KEY in os.environ else [])]
        command = stage_command(step, self.definition, self.given)
        before = read_manifest(self.paths, step.id)
        status = self._engine("run", step.env, *options, "--name", step.id, "--", *command, step=step)
        if status == FAILED and count_processes(step, self.definition, self.given.gpus) > 1:
            after = read_manifest(self.paths, step.id)  # torchrun makes 1 of every status; the rank that ended last tells more
            if after is not None and after != before and after["status"] == "partial":
                self._print(step, "torchrun tells of failed topics as of a failed process; all other topics are finished and kept")
                status = PARTIAL
        ended = "done" if status == COMPLETE else f"exit status {status}{_EXPLAINED.get(status, '')}"
        self._print(step, f"{ended} after {time.monotonic() - clock:.0f} s")
        # A stage knows four statuses; what kills it, or keeps the engine from starting it, brings others of its own.
        return status if status in (COMPLETE, USAGE, PARTIAL) else FAILED

    def _engine(self, *arguments: str, step: Step | None = None) -> int:
        command = [sys.executable, str(ROOT / "docker" / "engine.py"), *arguments]
        environment = {**os.environ, "DATA": str(self.data_dir), **({API_KEY: self.key} if self.key else {})}
        if step is None:
            return subprocess.run(command, env=environment, check=False).returncode
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1) as process:
            self.processes.add(process)
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    self._print(step, line.rstrip("\n"))
            except OSError:  # whoever reads our own output has gone
                process.terminate()
                raise
            finally:
                self.processes.discard(process)
        return process.returncode

    def _print(self, step: Step, line: str) -> None:
        line = line.removeprefix(f"{step.id}: ")
        with self.say:
            print(f"[{step.id}] {line}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
