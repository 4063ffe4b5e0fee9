"""One process at a time asks a service, so that the limits per minute and the spending cap hold for all together."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from volume.errors import VolumeError

_LONGEST = 3600.0  # seconds; more than that is a clock that was set, not a limit
_WIDTH = 80  # bytes that a record always has, so that a shorter one leaves no rest of a longer one


class Turn:
    """The lock file while it is held; it says until when the last process was held up by its limits."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> list[float]:
        """Return the seconds left for requests, tokens and all calls; zeros where nothing usable is noted."""
        try:
            until = json.loads(os.pread(self._descriptor, _WIDTH, 0))
            return [min(max(0.0, float(moment) - time.time()), _LONGEST) for moment in until][:3] + [0.0] * (3 - len(until))
        except (ValueError, TypeError):
            return [0.0] * 3

    def note(self, left: list[float]) -> None:
        """Note the seconds left. Called before a request is sent, so that even a killed process leaves them behind."""
        now = time.time()
        with contextlib.suppress(OSError):  # a full disk is the store's to tell
            os.pwrite(self._descriptor, json.dumps([round(now + seconds, 3) for seconds in left]).ljust(_WIDTH).encode(), 0)


@contextlib.contextmanager
def hold_turn(path: Path, log: Callable[[str], None]) -> Iterator[Turn]:
    """Wait until no other process asks, and keep others from asking."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise VolumeError(f"cannot write {path}: {error.strerror}. Free some space or mend the folder's permissions, then run again.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another process is asking the service; waiting for its turn to end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Turn(descriptor)
    finally:
        os.close(descriptor)  # lets the lock go
