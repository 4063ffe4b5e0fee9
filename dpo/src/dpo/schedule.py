"""The learning rate as a function of the step alone, so that resuming needs no scheduler state."""

from __future__ import annotations

import math


def lr_scale(step: int, steps: int, *, warmup: int, schedule: str = "constant", floor: float = 0.1) -> float:
    """Return what the peak learning rate is multiplied by at a step.

    Linear warm-up as in the public trainer: (step + 1) / (warmup + 1), so the first step is small but not nothing. Then
    1, or a half cosine that ends at ``floor``.

    Args:
        step: Optimizer step, from 0.
        steps: Steps of the whole run.
        warmup: Warm-up steps.
        schedule: ``constant`` or ``cosine``.
        floor: What the cosine ends at, as a share of the peak.

    Raises:
        ValueError: Unknown schedule.
    """
    if schedule not in ("constant", "cosine"):
        raise ValueError(f"schedule = {schedule!r}: expected 'constant' or 'cosine'")
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(steps - 1 - warmup, 1)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
