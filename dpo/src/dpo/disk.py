"""What a run writes, known before it starts: a disk that fills up after hours of training is found out in its first second.

The figures are those of DeepSpeed's checkpoint files, and tests hold them to real ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from volume.errors import VolumeError
from volume.training_settings import OptimSettings

_WEIGHT = {"float32": 4, "bfloat16": 2}
_STATE = {"rmsprop": 4, "adamw": 8}  # one or two running means, float32
_MASTER = 4
_GIB = 2**30


def checkpoint_bytes(parameters: int, trainable: int, settings: OptimSettings) -> int:
    """Return the size of one checkpoint, all processes' files together.

    Weights in their own type, and for every trained parameter its optimizer state and, from ZeRO 1 on, its float32 master;
    ZeRO 3 keeps trained weights in the masters alone.

    Args:
        parameters: All parameters of the model, adapters included.
        trainable: Those that are trained.
        settings: Type, optimizer, ZeRO stage.
    """
    written = parameters - trainable if settings.zero_stage == 3 else parameters
    master = _MASTER if settings.zero_stage else 0
    return written * _WEIGHT[settings.dtype] + trainable * (master + _STATE[settings.optimizer])


def export_bytes(parameters: int, settings: OptimSettings) -> int:
    """Return the size of one exported policy's weights."""
    return parameters * _WEIGHT[settings.dtype]


def run_bytes(parameters: int, trainable: int, settings: OptimSettings, candidates: int = 0) -> int:
    """Return the most that a run has on the disk at once: two checkpoints, since one is whole before the one before it goes.

    The export is written when a single checkpoint is left, and is no larger than that.

    Args:
        parameters: All parameters of the model, adapters included.
        trainable: Those that are trained.
        settings: Type, optimizer, ZeRO stage.
        candidates: Policies that are kept along the way.
    """
    return 2 * checkpoint_bytes(parameters, trainable, settings) + candidates * export_bytes(parameters, settings)


def check_space(folder: Path, need: int, what: str, already: Iterable[Path] = ()) -> None:
    """Check that a folder's disk has room.

    Args:
        folder: Where it goes; need not exist yet.
        need: Bytes, from `run_bytes`.
        what: What needs them, for the message.
        already: Folders that hold a part of it from an earlier attempt, such as its checkpoints.

    Raises:
        VolumeError: It has not.
    """
    place = folder
    while not place.exists():
        place = place.parent
    missing = need - sum(path.stat().st_size for kept in already for path in kept.rglob("*") if path.is_file())
    free = shutil.disk_usage(place).free
    if missing > free:
        raise VolumeError(
            f"{what} needs {missing / _GIB:.1f} GiB in {folder}, {free / _GIB:.1f} GiB are free. Free some space, put the volume on a larger disk "
            "(DATA=), train adapters alone (lora_rank), or keep fewer candidates; then run the same command again."
        )
