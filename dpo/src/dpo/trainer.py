"""One training loop for every objective: schedule, metrics, evaluation, checkpoints.

    <folder>/metrics.jsonl             one line per logged step; lines with "split" are held-out figures
    <folder>/checkpoints/              while it trains
    <folder>/nonfinite_batch.json      the batch on which training stopped, if it did

Killed at any step and started again with the same settings, data and number of processes, it goes on from the newest
checkpoint and ends with the bytes of an uninterrupted run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.batches import Batching
from dpo.checkpoint import Progress, find_checkpoint, load_checkpoint, save_checkpoint
from dpo.deepspeed_engine import open_engine
from dpo.deepspeed_engine import step as step_engine
from dpo.gradient import take_gradient
from dpo.held_out import HeldOut
from dpo.job import Job, begin, candidate_steps, finish, write_candidate
from dpo.logprobs import Policy
from dpo.metrics import MetricsFile, RunningMeans
from dpo.objectives import Objective
from dpo.processes import Processes
from dpo.schedule import lr_scale
from volume.datasets import as_json
from volume.errors import VolumeError
from volume.files import write_json
from volume.progress import Progress as ProgressBar


def train(
    job: Job, policy: Policy, objective: Objective, processes: Processes, facts: dict[str, Any], held_out: HeldOut | None = None
) -> list[Path]:
    """Train a policy and export it; return the files written.

    Args:
        job: What to do and where.
        policy: The model with the weights that the run starts from.
        objective: Data and loss.
        processes: This process among the others.
        facts: What training.json shall say besides: counts of data.
        held_out: What is measured on the way.

    Raises:
        VolumeError: A loss or gradient is not finite, or a file cannot be written.
        KeyboardInterrupt: The job was asked to stop; a checkpoint was written.
    """
    candidate_steps(job.candidates, objective.steps)  # there are enough steps, or nothing begins
    if processes.first:
        begin(job)
    engine = open_engine(policy, job.settings, processes)
    found = find_checkpoint(job.folder, job.identity, processes, job.log)
    progress = found[1] if found else Progress(0, 0, 0, job.identity, processes.world)
    means = RunningMeans(load_checkpoint(found[0], engine, processes) if found else None)
    if found:
        job.log(f"goes on at step {progress.step} of {objective.steps}")
    tracker = _open_tracker(job, progress.step) if processes.first else None
    with MetricsFile(job.folder / "metrics.jsonl" if processes.first else None, progress.metrics_bytes, tracker) as metrics:
        loop = _Loop(job, engine, objective, processes, metrics, means, held_out, Batching(policy.packed, job.settings.tokens_at_once))
        progress = loop.run(progress)
    files = finish(job, engine, progress, objective.unit, facts, loop.kept)
    processes.barrier()
    return files


def _open_tracker(job: Job, step: int) -> Any:
    """Return what takes the figures besides the log, None where nothing was asked for; its packages take time to load."""
    if not job.tracking.tensorboard and not job.tracking.wandb_project:
        return None
    from dpo.tracking import Tracker

    return Tracker(job.folder, job.tracking, as_json(job.settings), step, job.identity)


@dataclass
class _Loop:
    """The steps of one run."""

    job: Job
    engine: Any
    objective: Objective
    processes: Processes
    metrics: MetricsFile
    means: RunningMeans
    held_out: HeldOut | None
    batching: Batching

    @property
    def kept(self) -> list[int]:
        """The steps after which a candidate is written."""
        return candidate_steps(self.job.candidates, self.objective.steps)

    def run(self, progress: Progress) -> Progress:
        """Take the steps that are left; return where the run stands."""
        job, settings, steps, kept = self.job, self.job.settings, self.objective.steps, self.kept
        seen = progress.examples
        bar = ProgressBar(job.folder.parent.name, progress.step, steps, job.log, bar=self.processes.first, unit="steps")
        with bar:
            if progress.step == 0:
                self._evaluate(progress)
            while progress.step < steps:
                progress = self._step(progress)
                done = progress.step
                if job.eval_every and (done % job.eval_every == 0 or done == steps):
                    self._evaluate(progress)
                if done in kept:
                    write_candidate(job, self.engine, kept.index(done) + 1)
                stop = self.processes.any(job.should_stop())
                if stop or done % settings.checkpoint_every == 0 or done == steps:
                    progress = self._save(progress)
                if stop and done < steps:
                    job.log(f"stopped after step {done} of {steps}; a checkpoint is written")
                    raise KeyboardInterrupt
                rate = (progress.examples - seen) / max(bar.seconds, 1e-9)
                bar.show(done, f"{rate:.1f} {self.objective.unit}/s")
        job.log(f"{steps} steps; {(progress.examples - seen) / max(bar.seconds, 1e-9):.1f} {self.objective.unit}/s, evaluation included")
        return progress

    def _step(self, progress: Progress) -> Progress:
        """Take one step; return where the run stands then."""
        step, settings, steps = progress.step, self.job.settings, self.objective.steps
        lr = settings.lr * lr_scale(step, steps, warmup=settings.warmup_steps, schedule=settings.schedule, floor=settings.floor)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        loss, sums = take_gradient(self.engine, self.batching, self.objective.share(step, self.processes), self.processes)
        self._check_finite(step, "loss", loss.item())
        norm = step_engine(self.engine, settings.max_grad_norm)
        self._check_finite(step, "gradient norm", norm)
        self.means.add(sums)
        done, examples = step + 1, progress.examples + self.objective.examples(step)
        if done == 1 or done % settings.log_every == 0 or done == steps:
            figures = self.means.take(self.processes.world)
            self.metrics.write({"step": done, "examples": examples, "loss": figures.pop("loss"), "lr": lr, **figures, "grad_norm": norm})
        return Progress(done, examples, progress.metrics_bytes, progress.identity, progress.processes)

    def _evaluate(self, progress: Progress) -> None:
        if not self.job.eval_every or self.held_out is None:
            return
        self.engine.eval()
        figures = self.held_out.measure(self.engine, self.batching, self.processes)
        self.engine.train()
        if figures:
            self.metrics.write({"step": progress.step, "examples": progress.examples, "split": "dpoval", **figures})

    def _save(self, progress: Progress) -> Progress:
        progress = Progress(progress.step, progress.examples, self.metrics.sync(), progress.identity, progress.processes)
        save_checkpoint(self.job.folder, self.engine, progress, self.means.sums, self.processes)
        return progress

    def _check_finite(self, step: int, what: str, value: float) -> None:
        """Stop on a value that no later step can mend, with the batch written out.

        Raises:
            VolumeError: The value is not finite.
        """
        if math.isfinite(value):
            return
        path = self.job.folder / f"nonfinite_batch{'' if self.processes.first else f'_{self.processes.rank}'}.json"
        write_json(path, {"step": step + 1, "what": what, "value": str(value), "batch": self.objective.describe(step)})
        raise VolumeError(
            f"the {what} of step {step + 1} is {value}. The batch is in {path}; the last checkpoint is kept. "
            "Lower the learning rate, or look for broken rewards or weights."
        )
