"""Runs the stale steps of a plan, each in its own environment; those that do not depend on each other side by side."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from volume.command import count_processes, stage_command
from volume.datasets import as_json
from volume.errors import COMPLETE, FAILED, PARTIAL, USAGE
from volume.files import write_json
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.plan import Plan, make_plan
from volume.requirements import API_KEY, COMPLETIONS_KEY, read_key
from volume.settings import Definition
from volume.step import Step
from volume.steps import asks_service

ROOT = Path(__file__).resolve().parents[3]

# Statuses that are no stage's own.
_EXPLAINED = {125: " (the container could not be started)", 137: " (killed; if nobody did it, the machine ran out of memory)"}


def count_jobs(jobs: int | None, gpus: int, device: str) -> int:
    """Return how many steps run at once where ``jobs`` does not say it: as many as the cores hold, or one where they may use a GPU."""
    return jobs or (1 if device == "auto" and shutil.which("nvidia-smi") else max(1, len(os.sched_getaffinity(0)) // gpus))


class Runner:
    """Runs the stale steps of a plan, up to ``jobs`` at once.

    Args:
        held: The open file that holds the dataset (volume.holding); what runs a step inherits it, and so the hold.
    """

    def __init__(
        self, given: argparse.Namespace, definition: Definition, paths: DatasetPaths, data_dir: Path, chosen: dict[str, Step], plan: Plan, held: int
    ) -> None:
        self.given, self.definition, self.paths, self.data_dir = given, definition, paths, data_dir
        self.chosen, self.plan, self.held = chosen, plan, held
        self.jobs = count_jobs(given.jobs, given.gpus, definition.device)
        self.key = read_key()
        self.processes: set[subprocess.Popen[str]] = set()
        self.say = threading.Lock()

    def run(self) -> int:
        """Run everything; return the worst exit status."""
        clock = time.monotonic()
        envs = sorted({self.chosen[name].env for name in self.plan.stale})
        if self._engine("prepare", *envs, "--device", self.definition.device) != 0:
            return USAGE
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
        options += ["--device", self.definition.device]
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
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1, pass_fds=[self.held],
        ) as process:
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
