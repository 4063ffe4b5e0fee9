"""One training loop for every objective: schedule, metrics, evaluation, checkpoints, export.

    <folder>/metrics.jsonl             one line per logged step; lines with "split" are held-out figures
    <folder>/checkpoints/              while it trains
    <folder>/nonfinite_batch.json      the batch on which training stopped, if it did
    <folder>/training.json             what was trained on: steps, examples, counts of data
    <folder>/finished.json             written last: the run is finished and these are its files. It holds the code's version, so
                                       it is no output: a change of code that changes no result leaves every output as it was

Killed at any step and started again with the same settings, data and number of processes, it goes on from the newest
checkpoint and ends with the bytes of an uninterrupted run.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.checkpoint import Progress, drop_checkpoints, find_checkpoint, load_checkpoint, save_checkpoint
from dpo.deepspeed_engine import Processes, gather_weights, open_engine
from dpo.deepspeed_engine import step as step_engine
from dpo.export import write_export
from dpo.logprobs import Policy
from dpo.metrics import MetricsFile, RunningMeans
from dpo.objectives import Objective
from dpo.schedule import lr_scale
from volume.datasets import as_json
from volume.errors import VolumeError
from volume.files import sha256_file, sha256_value, write_json
from volume.settings import OptimSettings

_FORMAT = 1
_FINISHED = "finished.json"


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        folder: Where its log and checkpoints go.
        export: The folder that its policy is written to.
        export_files: {name: path} of the configuration and tokenizer files that go with the weights.
        settings: Optimizer, schedule, ZeRO stage, intervals.
        identity: From `identify`: a hash of all that decides the run's bytes.
        eval_every: Steps between held-out evaluations; 0: none.
        log: Takes one line for people.
        should_stop: Asked after every step; True saves and stops.
    """

    folder: Path
    export: Path
    export_files: dict[str, Path]
    settings: OptimSettings
    identity: str
    eval_every: int = 0
    log: Callable[[str], None] = lambda line: None
    should_stop: Callable[[], bool] = lambda: False


def identify(settings: OptimSettings, seed: int, inputs: list[Path], code: str, **more: Any) -> str:
    """Return a run's identity: a checkpoint or a result of another identity belongs to another run.

    Args:
        settings: Its settings.
        seed: Its seed.
        inputs: Every file that it reads; their contents count, not their places.
        code: Version of the code.
        more: Whatever else decides, as JSON values.
    """
    return sha256_value([_FORMAT, as_json(settings), seed, [[path.name, sha256_file(path)] for path in inputs], code, more])


def finished(job: Job) -> list[Path] | None:
    """Return the files of a run that is finished and whole, else None."""
    mark = job.folder / _FINISHED
    if not mark.exists():
        return None
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if content["identity"] != job.identity:
        return None
    files = {job.export / name: digest for name, digest in content["export"].items()} | {job.folder / name: digest for name, digest in content["log"].items()}
    if any(not path.is_file() or sha256_file(path) != digest for path, digest in files.items()):
        return None
    return sorted(files)


def train(job: Job, policy: Policy, objective: Objective, processes: Processes, facts: dict[str, Any] | None = None) -> list[Path]:
    """Train a policy and export it; return the files written.

    Args:
        job: What to do and where.
        policy: The model with the weights that the run starts from.
        objective: Data and loss.
        processes: This process among the others.
        facts: What training.json shall say besides: counts of data.

    Raises:
        VolumeError: A loss or gradient is not finite, or a file cannot be written.
        KeyboardInterrupt: ``should_stop`` said so; a checkpoint was written.
    """
    if processes.first:
        (job.folder / _FINISHED).unlink(missing_ok=True)
    engine = open_engine(policy, job.settings, processes)
    found = find_checkpoint(job.folder, job.identity, processes, job.log)
    progress = found[1] if found else Progress(0, 0, 0, job.identity, processes.world)
    means = RunningMeans(load_checkpoint(found[0], engine, processes) if found else None)
    if found:
        job.log(f"goes on at step {progress.step} of {objective.steps}")
    if processes.first:
        (job.folder / "nonfinite_batch.json").unlink(missing_ok=True)
    with MetricsFile(job.folder / "metrics.jsonl" if processes.first else None, progress.metrics_bytes) as metrics:
        progress = _loop(job, engine, objective, processes, metrics, means, progress)
    weights = gather_weights(engine)
    files: list[Path] = []
    if weights is not None:
        exported = write_export(job.export, job.export_files, {name.removeprefix("model."): value for name, value in weights.items()})
        record, metrics_file = job.folder / "training.json", job.folder / "metrics.jsonl"
        write_json(record, {"format": _FORMAT, "steps": progress.step, "examples": progress.examples, "unit": objective.unit, "facts": facts or {}})
        write_json(job.folder / _FINISHED, {
            "identity": job.identity, "export": {path.name: sha256_file(path) for path in exported},
            "log": {path.name: sha256_file(path) for path in (record, metrics_file)},
        })  # fmt: skip
        drop_checkpoints(job.folder)
        files = sorted([record, metrics_file, *exported])
    processes.barrier()
    return files


def _loop(
    job: Job, engine: Any, objective: Objective, processes: Processes, metrics: MetricsFile, means: RunningMeans, progress: Progress
) -> Progress:
    """Take the steps that are left; return where the run stands."""
    settings, steps = job.settings, objective.steps
    first, before, examples = progress.step, progress.examples, progress.examples
    began = spoken = time.monotonic()
    if progress.step == 0:
        _evaluate(job, engine, objective, processes, metrics, 0, 0)
    for step in range(progress.step, steps):
        lr = settings.lr * lr_scale(step, steps, warmup=settings.warmup_steps, schedule=settings.schedule, floor=settings.floor)
        for group in engine.optimizer.param_groups:
            group["lr"] = lr
        loss, sums = objective.loss(engine, step, processes)
        _check_finite(job, objective, step, "loss", loss.item(), processes)
        engine.backward(loss)
        norm = step_engine(engine, settings.max_grad_norm)
        _check_finite(job, objective, step, "gradient norm", norm, processes)
        means.add(sums)
        done, examples = step + 1, examples + objective.examples(step)
        if done == 1 or done % settings.log_every == 0 or done == steps:
            figures = means.take(processes.world)
            metrics.write({"step": done, "examples": examples, "loss": figures.pop("loss"), "lr": lr, **figures, "grad_norm": norm})
        if job.eval_every and (done % job.eval_every == 0 or done == steps):
            _evaluate(job, engine, objective, processes, metrics, done, examples)
        stop = processes.any(job.should_stop())
        if stop or done % settings.checkpoint_every == 0 or done == steps:
            progress = Progress(done, examples, metrics.sync(), job.identity, processes.world)
            save_checkpoint(job.folder, engine, progress, means.sums, processes)
        if stop and done < steps:
            job.log(f"stopped after step {done} of {steps}; a checkpoint is written")
            raise KeyboardInterrupt
        if time.monotonic() - spoken > 30 or done == steps:
            spoken = time.monotonic()
            rate = (examples - before) / max(spoken - began, 1e-9)
            left = (spoken - began) / (done - first) * (steps - done)
            job.log(f"step {done} of {steps}, {rate:.1f} {objective.unit}/s" + (f", {left:.0f} s left" if done < steps else ""))
    return progress


def _evaluate(job: Job, engine: Any, objective: Objective, processes: Processes, metrics: MetricsFile, step: int, examples: int) -> None:
    if not job.eval_every:
        return
    engine.eval()
    figures = objective.evaluate(engine, processes)
    engine.train()
    if figures is not None:
        metrics.write({"step": step, "examples": examples, "split": "dpoval", **figures})


def _check_finite(job: Job, objective: Objective, step: int, what: str, value: float, processes: Processes) -> None:
    """Stop on a value that no later step can mend, with the batch written out.

    Raises:
        VolumeError: The value is not finite.
    """
    if math.isfinite(value):
        return
    path = job.folder / f"nonfinite_batch{'' if processes.first else f'_{processes.rank}'}.json"
    write_json(path, {"step": step + 1, "what": what, "value": str(value), "batch": objective.describe(step)})
    raise VolumeError(
        f"the {what} of step {step + 1} is {value}. The batch is in {path}; the last checkpoint is kept. "
        "Lower the learning rate, or look for broken rewards or weights."
    )
