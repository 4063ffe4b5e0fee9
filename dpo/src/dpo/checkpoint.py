"""Checkpoints from which training goes on as if nothing had happened.

    <folder>/checkpoints/step_00000200/        one folder per checkpoint, complete or absent
        <DeepSpeed's own files>                weights, optimizer state, fp32 masters
        process_0.pt ...                       generator states and running sums of each process
        training.json                          step, identity of the run, length of metrics.jsonl; written last

It is written under another name and renamed, so a kill leaves the one before. Only the newest is kept.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpo.processes import Processes
from volume.errors import UsageError, VolumeError
from volume.files import write_json

_PARTIAL = "partial"
_DEEPSPEED = "deepspeed"
_TORCH_CANNOT_WRITE = ("inline_container", "PytorchStreamWriter")  # how it words a full disk, as a RuntimeError


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimizer steps done; with the seed it determines the position in the data.
        examples: Sequences or pairs seen.
        metrics_bytes: Length of metrics.jsonl.
        identity: Hash of all that decides the run's bytes; another identity is another run.
        processes: Number of processes; DeepSpeed's files fit no other number.
    """

    step: int
    examples: int
    metrics_bytes: int
    identity: str
    processes: int


def save_checkpoint(folder: Path, engine: Any, progress: Progress, sums: dict[str, torch.Tensor], processes: Processes) -> None:
    """Write a checkpoint, rename it into place and drop the older ones.

    Args:
        folder: The run's folder.
        engine: DeepSpeed's engine.
        progress: Where the run stands.
        sums: Running sums of the metrics of this process.
        processes: This process among the others.

    Raises:
        VolumeError: The disk is full or cannot be written; the checkpoint before is untouched.
    """
    root = folder / "checkpoints"
    partial, final = root / _PARTIAL, root / f"step_{progress.step:08d}"
    try:
        if processes.first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        processes.barrier()
        engine.save_checkpoint(str(partial), tag=_DEEPSPEED)
        torch.save({"generators": _generator_states(), "sums": sums}, partial / f"process_{processes.rank}.pt")
        processes.barrier()
        if processes.first:
            write_json(partial / "training.json", asdict(progress))
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for other in root.glob("step_*"):
                if other != final:
                    shutil.rmtree(other)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) or any(part in str(error) for part in _TORCH_CANNOT_WRITE):
            if processes.first:
                shutil.rmtree(partial, ignore_errors=True)
            why = error.strerror if isinstance(error, OSError) else "a file was not written to its end; most likely the disk is full"
            raise VolumeError(f"cannot write a checkpoint below {root}: {why}. Free some space and run the same command again.") from error
        raise
    processes.barrier()


def find_checkpoint(folder: Path, identity: str, processes: Processes, log: Callable[[str], None]) -> tuple[Path, Progress] | None:
    """Return the newest checkpoint of this very run, or None. Those of other settings or data are deleted.

    Raises:
        UsageError: It was written by another number of processes.
    """
    root = folder / "checkpoints"
    for path in sorted(root.glob("step_*"), reverse=True):
        progress = Progress(**json.loads((path / "training.json").read_text()))
        if progress.identity != identity:
            continue
        if progress.processes != processes.world:
            raise UsageError(
                f"{path} was written by {progress.processes} process(es), this run has {processes.world}. "
                f"Train with {progress.processes} again, or delete {root} to start from the beginning."
            )
        return path, progress
    if processes.first and any(root.glob("*")):
        log("checkpoints of other settings or data are dropped")
        shutil.rmtree(root)
    processes.barrier()
    return None


def load_checkpoint(path: Path, engine: Any, processes: Processes) -> dict[str, torch.Tensor]:
    """Put engine and generators back to where they were; return the running sums of the metrics.

    Raises:
        VolumeError: The checkpoint cannot be read.
    """
    loaded, _ = engine.load_checkpoint(str(path), tag=_DEEPSPEED)
    if loaded is None:
        raise VolumeError(f"{path} cannot be read as a checkpoint. Delete that folder to start from the beginning.")
    own = torch.load(path / f"process_{processes.rank}.pt", weights_only=False)
    _set_generator_states(own["generators"])
    sums: dict[str, torch.Tensor] = own["sums"]
    return sums


def drop_checkpoints(folder: Path) -> None:
    """Delete a finished run's checkpoints: the export holds what it was for."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _generator_states() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def _set_generator_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
