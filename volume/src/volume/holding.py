"""One run at a time writes a dataset: the lock that it holds meanwhile, and what another one says while it waits.

The lock is flock's, on a file in the dataset's folder. It ends with whoever holds it, however that ends, so nothing has to be
cleared away after a crash or a power cut. It belongs to the open file, and the adapter of every step (docker/engine.py)
inherits that: where the pipeline alone was killed, the dataset stays held until the steps that it had started have ended.
A container that outlives its adapter as well does not hold it; its stage still holds its own step (volume.ranks.StepHold, the
same kernel's flock on the mounted volume), so no file is written twice: that step is refused until the container has ended.

What is only looked at (plan, status, checksums) takes no lock. Datasets on one volume do not wait for each other.
Assumed of a volume that several hosts share is what volume.ranks says: flock holds between them.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from volume.errors import UsageError, VolumeError


@dataclass(frozen=True)
class Hold:
    """Attributes: descriptor, the open file that holds the lock, for children to inherit; waited, whether another run was at work before."""

    descriptor: int
    waited: bool


@contextmanager
def hold_dataset(folder: Path, what: str, wait: bool = True) -> Iterator[Hold]:
    """Hold a dataset's folder for writing.

    Args:
        what: What for, as the one who waits is to read it, e.g. ``make rewards``.
        wait: Wait for the run that holds it, with a line that says which; else refuse.

    Raises:
        UsageError: Another run holds it, and ``wait`` is off.
        VolumeError: The volume cannot be written or has no locks.
    """
    path = folder / "manifests" / ".locks" / "dataset"
    waited = False
    while True:
        with _open(path) as file:
            if not lock_file(file, fcntl.LOCK_EX | fcntl.LOCK_NB, folder):
                if not wait:
                    raise UsageError(f"{_who(file, folder)}. Run this again when that is done.")
                print(f"{_who(file, folder)}; waiting for it … (Ctrl-C ends the waiting alone)", flush=True)
                waited = True
                lock_file(file, fcntl.LOCK_EX, folder)
            if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
                continue  # `make clean` has deleted the folder meanwhile: what is held now has no name
            note = {"process": os.getpid(), "host": socket.gethostname(), "what": what, "since": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"}
            _write(file, path, json.dumps(note))
            try:
                yield Hold(file.fileno(), waited)
            finally:
                os.ftruncate(file.fileno(), 0)
            return


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def _write(file: IO[str], path: Path, text: str) -> None:
    try:
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), text.encode())  # opened for appending: goes to the end, which is the beginning now
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> VolumeError:
    return VolumeError(
        f"{path.parents[2]} cannot be written ({error.strerror}). A run writes there: free some space, mend the permissions, or set DATA to another folder. "
        "`make plan`, `make status` and `make checksums` only look."
    )


def lock_file(file: IO[str], how: int, folder: Path) -> bool:
    """Lock an open file of a folder; return whether that went without waiting, if it must.

    Raises:
        VolumeError: The file system has no locks.
    """
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        raise VolumeError(
            f"{folder} cannot be locked ({error.strerror}): the volume's file system must support flock. "
            "Mount it so (NFS without `nolock`, Lustre with `flock`), or move the volume to another disk."
        ) from error
    return True


def _who(file: IO[str], folder: Path) -> str:
    """Return who holds the lock, as its holder has written it down."""
    file.seek(0)
    try:
        note = json.loads(file.read())
        who, here = f"process {note['process']} on {note['host']} since {note['since']} ({note['what']})", note["host"] == socket.gethostname()
        gone = here and not Path(f"/proc/{note['process']}").exists() and Path("/proc/self").exists()
    except (ValueError, KeyError, TypeError):  # it came a moment ago and has not written yet
        return f"{folder.name} is being written by another run"
    if gone:
        return f"{folder.name} is still being written by a step of {who}, which was killed"
    return f"{folder.name} is being written by {who}"
