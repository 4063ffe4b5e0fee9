"""metrics.jsonl: one JSON line per logged step, the same bytes whether or not training was interrupted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from volume.errors import VolumeError


class Follower(Protocol):
    """What takes every line besides the file."""

    def write(self, line: dict[str, int | float | str]) -> None: ...

    def close(self) -> None: ...


class MetricsFile:
    """Appends lines; on resume everything after the checkpoint is cut off and written again."""

    def __init__(self, path: Path | None, keep_bytes: int, follower: Follower | None = None) -> None:
        """Open ``path`` with its first ``keep_bytes`` bytes; None for a process that writes no log.

        Raises:
            VolumeError: The file is shorter than that.
        """
        self._file: BinaryIO | None = None
        self._follower = follower
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self._file.tell() < keep_bytes:
            raise VolumeError(
                f"{path} has {self._file.tell()} bytes, its checkpoint knows of {keep_bytes}. Delete {path.parent / 'checkpoints'} to start from the beginning."
            )
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)

    def write(self, line: dict[str, int | float | str]) -> None:
        """Append one line; numbers keep nine significant digits."""
        if self._file is None:
            return
        rounded = {key: float(f"{value:.9g}") if isinstance(value, float) else value for key, value in line.items()}
        self._file.write(json.dumps(rounded, allow_nan=False).encode() + b"\n")
        self._file.flush()
        if self._follower is not None:
            self._follower.write(rounded)

    def sync(self) -> int:
        """Flush to the disk; return the file's length."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        if self._follower is not None:
            self._follower.close()


class RunningMeans:
    """Weighted means since the last logged step, summed on the device so that no step waits for a number."""

    def __init__(self, sums: dict[str, Tensor] | None = None) -> None:
        self.sums: dict[str, Tensor] = dict(sums or {})

    def add(self, sums: dict[str, Tensor]) -> None:
        """Add one step's sums; ``weight`` is what they are divided by in the end."""
        for name, value in sums.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self, world: int) -> dict[str, float]:
        """Return the means over all processes and start anew."""
        values = torch.stack(list(self.sums.values()))
        if world > 1:
            torch.distributed.all_reduce(values)
        totals = dict(zip(self.sums, values.tolist(), strict=True))
        self.sums = {}
        weight = totals.pop("weight")
        return {name: total / weight for name, total in totals.items()}
