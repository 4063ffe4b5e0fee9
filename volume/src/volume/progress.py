"""How far a stage is: a bar on a terminal, a line every half minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

_EVERY = 30.0  # seconds between two lines of a log
_WIDTH = 30  # characters of the bar


class Progress:
    """Shows the progress through ``total`` topics, or whatever is counted.

    Args:
        label: What is going on, for the bar.
        done: Topics that were done before; they say nothing of the speed.
        total: All topics.
        log: Takes a line, where there is no terminal.
        stream: Where the bar goes if it is a terminal; standard error.
        clock: Seconds, for tests.
        bar: Whether a terminal gets a bar; of several processes none can have it, so each writes lines.
        unit: What is counted.
    """

    def __init__(
        self, label: str, done: int, total: int, log: Callable[[str], None], stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic,
        bar: bool = True, unit: str = "topics",
    ) -> None:
        self._label, self._first, self._total, self._log, self._clock, self._unit = label, done, total, log, clock, unit
        self._stream = stream or sys.stderr
        self._terminal = bar and self._stream.isatty()
        self._started = self._spoken = clock()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._started

    def show(self, done: int, more: str = "") -> None:
        """Show that ``done`` are done, and what else there is to say, in a few words."""
        now = self._clock()
        new = done - self._first
        left = f", {(now - self._started) / new * (self._total - done):.0f} s left" if new > 0 and done < self._total else ""
        told = f"{done} of {self._total} {self._unit} ({100 * done // max(self._total, 1)} %){', ' if more else ''}{more}{left}"
        if self._terminal:
            filled = _WIDTH * done // max(self._total, 1)
            self._stream.write(f"\r\033[K{self._label} {'█' * filled}{'░' * (_WIDTH - filled)} {told}")
            self._stream.flush()
        elif now - self._spoken >= _EVERY:
            self._spoken = now
            self._log(told)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._terminal:  # what is said next starts on a clean line
            self._stream.write("\r\033[K")
            self._stream.flush()
