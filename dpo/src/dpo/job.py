"""One training run as a task: where it starts, what decides its bytes, and what it leaves when it is done.

    <folder>/training.json             what was trained on: steps, examples, counts of data
    <folder>/finished.json             written last: the run is finished and these are its files. It holds the code's version, so
                                       it is no output: a change of code that changes no result leaves every output as it was
    <export>/                          the policy; or <candidates>/1/, 2/, … and candidates.json, of which a later step chooses one
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from dpo.checkpoint import Progress, drop_checkpoints
from dpo.deepspeed_engine import gather_weights
from dpo.disk import check_space, run_bytes
from dpo.export import export_weights, write_export
from dpo.processes import is_first_process
from volume import records
from volume.datasets import as_json
from volume.errors import UsageError
from volume.files import sha256_file, sha256_value, write_json
from volume.training_settings import OptimSettings, TrackingSettings

_FORMAT = 2
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
        candidates: Policies that are kept along the way in place of the export; 0: none.
        candidates_folder: Where they go.
        tracking: Where figures go besides the log.
        log: Takes one line for people.
        should_stop: Asked after every step; True saves and stops.
    """

    folder: Path
    export: Path
    export_files: dict[str, Path]
    settings: OptimSettings
    identity: str
    eval_every: int = 0
    candidates: int = 0
    candidates_folder: Path = Path()
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    log: Callable[[str], None] = lambda line: None
    should_stop: Callable[[], bool] = lambda: False


def identify(settings: OptimSettings, seed: int, inputs: Sequence[Path], code: str, **more: Any) -> str:
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
    try:
        content = json.loads((job.folder / _FINISHED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if content["identity"] != job.identity:
        return None
    files = {job.folder / name: digest for name, digest in content["files"].items()}
    if any(not path.is_file() or sha256_file(path) != digest for path, digest in files.items()):
        return None
    return sorted(Path(os.path.normpath(path)) for path in files)


def check_disk(job: Job, policy: nn.Module) -> None:
    """Check that the volume holds what the run will write, in the process that writes most of it.

    Raises:
        VolumeError: It does not.
    """
    if is_first_process():
        parameters = list(policy.parameters())
        sizes = [sum(parameter.numel() for parameter in chosen) for chosen in (parameters, (part for part in parameters if part.requires_grad))]
        already = [job.folder / "checkpoints", *([job.candidates_folder] if job.candidates else [])]
        check_space(job.folder, run_bytes(sizes[0], sizes[1], job.settings, job.candidates), "training", already)


def begin(job: Job) -> None:
    """Take back what says that the run is finished, and what an earlier attempt left of a failure."""
    for name in (_FINISHED, "nonfinite_batch.json"):
        (job.folder / name).unlink(missing_ok=True)


def candidate_steps(candidates: int, steps: int) -> list[int]:
    """Return the steps after which candidates are kept, evenly spaced; the last one is the end.

    Raises:
        UsageError: There are fewer steps than candidates.
    """
    if candidates > steps:
        raise UsageError(f"dpo.candidates = {candidates}, but the run takes {steps} step(s): ask for fewer candidates, or for smaller batches or more epochs.")
    return [round(steps * number / candidates) for number in range(1, candidates + 1)]


def write_candidate(job: Job, engine: Any, number: int) -> list[Path]:
    """Write the policy as it is as a candidate; return its files. Every process must call this."""
    return _write_policy(job, engine, job.candidates_folder / str(number))


def finish(job: Job, engine: Any, progress: Progress, unit: str, facts: dict[str, Any], kept: Sequence[int]) -> list[Path]:
    """Write the policy and the record of a finished run; return all of its files (none where another process writes them).

    Args:
        job: The run.
        engine: DeepSpeed's engine.
        progress: Where it ended.
        unit: What its examples are.
        facts: Counts of data, for the record.
        kept: The steps of its candidates, which are written already; none: the policy is exported.
    """
    if kept:
        files = sorted(path for number in range(1, len(kept) + 1) for path in (job.candidates_folder / str(number)).iterdir())
    else:
        files = _write_policy(job, engine, job.export)
    if engine.global_rank != 0:
        return []
    if kept:
        files.append(job.candidates_folder / "candidates.json")
        records.save(files[-1], {"steps": list(kept)}, records.Candidates)
    record = job.folder / "training.json"
    write_json(record, {"format": _FORMAT, "steps": progress.step, "examples": progress.examples, "unit": unit, "facts": facts})
    files = sorted([*files, record, job.folder / "metrics.jsonl"])
    write_json(job.folder / _FINISHED, {"identity": job.identity, "files": {os.path.relpath(path, job.folder): sha256_file(path) for path in files}})
    drop_checkpoints(job.folder)
    return files


def _write_policy(job: Job, engine: Any, target: Path) -> list[Path]:
    weights = gather_weights(engine)
    return [] if weights is None else write_export(target, job.export_files, export_weights(engine.module.model, weights, job.settings))
