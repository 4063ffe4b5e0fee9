"""What all checks of the host share: what one of them found, and asking a program that may be missing, fail, or never answer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mark = Literal["ok", "warning", "missing"]

PATIENCE = 10.0  # seconds for a program to answer: nvidia-smi takes several on a host of eight cards that were asleep
_LAST_WORDS = 2.0  # seconds for a program to end by itself when it is told to


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes: group, as in the table; mark; what was looked at, with the figure found; remedy, where the mark is not ``ok``.
    """

    group: str
    mark: Mark
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Answer:
    """What a program said. Attributes: status, its exit status, None where it is not there or did not answer in time; hung, the latter."""

    status: int | None
    out: str = ""
    err: str = ""
    hung: bool = False

    @property
    def last_line(self) -> str:
        """What it said last, on its error output if anything, for a message."""
        lines = [line.strip() for text in (self.out, self.err) for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.status}"


def ask(command: list[str], patience: float = PATIENCE, variables: dict[str, str] | None = None) -> Answer:
    """Run a program and return what it said.

    It writes to files, not to pipes, and nobody waits for it once it has been killed: a program that hangs in a driver dies of
    no signal, and a pipe stays open as long as any child of it lives.

    Args:
        patience: Seconds after which it and all its children are ended.
        variables: Its environment; else the caller's.
    """
    if shutil.which(command[0]) is None:
        return Answer(None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables, start_new_session=True)
        except OSError as error:
            return Answer(126, "", f"cannot be started: {error.strerror}")
        try:
            status: int | None = child.wait(patience)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(child)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", errors="replace"))
    return Answer(status, texts[0], texts[1], hung=status is None)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program that is still running: by SIGTERM, which an adapter hands on to its container, then by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LAST_WORDS)


def nearest(folder: Path) -> Path:
    """Return the folder itself, or the one above it that exists: what is made in it will lie there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def gib_free(folder: Path) -> float:
    """Return the GiB free on the disk that a folder, there or still to be made, lies on."""
    return shutil.disk_usage(nearest(folder)).free / 2**30
