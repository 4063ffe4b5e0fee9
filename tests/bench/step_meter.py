"""Times the steps of a training, its peak of memory and its first gradient, from inside the process that trains.

Time is the processor's, not the wall's: for one thread the two are the same on a machine that does nothing else, and on one that
does only the first stays as it was.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Meter:
    """The way that is measured calls `loaded`, `reference`, then for each step `gradient` and `step`, in this order.

    Attributes:
        gradient_file: Where the first step's gradient goes: float32, parameters in the order of their names; None for nowhere.
        before: Bytes of memory with the policy loaded.
        ends: When each step ended, the reference pass first.
    """

    gradient_file: Path | None = None
    before: int = 0
    began: float = 0.0
    ends: list[float] = field(default_factory=list)

    def loaded(self, model: Any) -> None:
        """The policy is loaded, and nothing else yet. Memory counts from here."""
        sum(weight.detach().sum().item() for weight in model.parameters())  # brings pages of the file into memory
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        reset_peak()
        self.before = resident()
        self.begin()

    def begin(self) -> None:
        """The reference pass begins, if there is one."""
        self.began = time.process_time()

    def reference(self) -> None:
        """What is done before the first step is done; the first step ends the warm-up."""
        self.ends.append(time.process_time())

    def gradient(self, model: Any) -> None:
        """Write the gradient if this is the first step."""
        if self.gradient_file is None or len(self.ends) > 1:
            return
        with self.gradient_file.open("wb") as file:
            for _, parameter in sorted(model.named_parameters()):
                parameter.grad.float().numpy().tofile(file)

    def step(self) -> None:
        """A step is done, the optimizer's included."""
        self.ends.append(time.process_time())

    def figures(self) -> dict[str, float]:
        """Return seconds of the reference pass, seconds per step after the first, and bytes beyond the loaded policy."""
        reference, first, *rest = self.ends
        return {"reference": reference - self.began, "step": (rest[-1] - first) / len(rest), "memory": peak() - self.before}


def reset_peak() -> None:
    """Let the peak of memory start anew from what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident() -> int:
    """Return this process's memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Return the most memory that this process had since `reset_peak`, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
