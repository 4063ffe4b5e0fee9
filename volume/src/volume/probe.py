"""One real calculation on every card that this environment sees, or on the CPU where it sees none; prints JSON.

    python -m volume.probe

A card can be there, be called available, and still have no code for it: only a kernel that ran shows that the driver, the container
and PyTorch fit each other. Exit status 0: all calculate; 2: one does not, and the message says why.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from volume.cards import check_card
from volume.errors import COMPLETE, UsageError, tell_errors

_SIZE = 256
_LR, _DECAY, _EPSILON = 0.1, 0.01, 1e-8

# The largest difference from the same product in float64 that still is rounding: entries are below 1, sums of 256 products below 100.
_ROUNDING = {"float32": 0.05, "float16": 0.5}  # TF32 keeps ten bits, too


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    argparse.ArgumentParser(prog="python -m volume.probe", description=(__doc__ or "").splitlines()[0]).parse_args(argv)
    return tell_errors(_main)


def _main() -> int:
    try:
        torch = importlib.import_module("torch")  # this package imports the standard library alone
    except ImportError as error:
        remedy = "Run this in an environment: python3 docker/engine.py run csenv -- python -m volume.probe"
        raise UsageError(f"PyTorch cannot be imported ({error}). {remedy}") from error
    found = examine(torch)
    print(json.dumps(found), flush=True)
    faults = [device["fault"] for device in found["devices"] if device["fault"]]
    if faults:
        raise UsageError("\n".join(faults))
    return COMPLETE


def examine(torch: Any) -> dict[str, Any]:
    """Return what an environment calculates on, as JSON values; a device that cannot has a ``fault``.

    Args:
        torch: The module.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [_examine_card(torch, index) for index in range(cards)] or [_examine_device(torch, "cpu", "CPU")]
    return {"torch": str(torch.__version__), "cuda": torch.version.cuda, "built": built_for(torch), "cards": cards, "devices": devices}


def built_for(torch: Any) -> list[str]:
    """Return the architectures that PyTorch was built for; its own list is empty where it sees no card."""
    flags: Callable[[], str | None] = getattr(torch._C, "_cuda_getArchFlags", lambda: None)
    return list(torch.cuda.get_arch_list()) or (flags() or "").split()


def _examine_card(torch: Any, index: int) -> dict[str, Any]:
    name = torch.cuda.get_device_name(index)
    capability = tuple(torch.cuda.get_device_capability(index))
    try:
        check_card(name, capability, torch.cuda.get_arch_list(), torch.__version__)
    except UsageError as error:
        return {"device": f"cuda:{index}", "name": name, "capability": list(capability), "done": {}, "seconds": 0.0, "fault": str(error)}
    return {**_examine_device(torch, f"cuda:{index}", name), "capability": list(capability)}


def _examine_device(torch: Any, device: str, name: str) -> dict[str, Any]:
    """Calculate on a device: matrix products in two precisions, and a step of AdamW."""
    started = time.monotonic()
    done: dict[str, str] = {}
    faults = []
    for what in ("float32", "float16", "adamw"):
        try:
            step(torch, device) if what == "adamw" else multiply(torch, device, what)
            done[what] = "ok"
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            if device == "cpu" and what == "float16":  # before PyTorch 2.1; no stage asks for it then
                done[what] = f"not on the CPU: {said}"
                continue
            done[what] = said
            faults.append(f"{name} ({device}) cannot calculate ({what}): {said}")
    return {"device": device, "name": name, "done": done, "seconds": round(time.monotonic() - started, 2), "fault": "; ".join(faults)}


def multiply(torch: Any, device: str, dtype: str) -> None:
    """Multiply two matrices on a device and compare with the CPU's product in float64.

    Raises:
        RuntimeError: The device cannot, or its product differs by more than rounding.
    """
    count = torch.arange(_SIZE * _SIZE, dtype=torch.float64).reshape(_SIZE, _SIZE)
    left, right = torch.sin(count), torch.cos(count)
    product = torch.matmul(left.to(device, getattr(torch, dtype)), right.to(device, getattr(torch, dtype)))
    difference = float((product.to("cpu", torch.float64) - torch.matmul(left, right)).abs().max())
    if not difference <= _ROUNDING[dtype]:  # not a number is no rounding either
        raise RuntimeError(f"its product differs from the CPU's by {difference:.3g}")


def step(torch: Any, device: str) -> None:
    """Take one step of AdamW on a device and compare with the formula: from nothing, its running means cancel to the gradient's sign.

    Raises:
        RuntimeError: The device cannot, or the weights come out otherwise.
    """
    start = torch.linspace(-1, 1, _SIZE, dtype=torch.float32)
    weights = torch.nn.Parameter(start.to(device, copy=True))  # on the CPU it would be the same memory
    optimizer = torch.optim.AdamW([weights], lr=_LR, weight_decay=_DECAY, eps=_EPSILON)
    (weights**2).sum().backward()
    optimizer.step()
    gradient = 2 * start.to(torch.float64)
    expected = start.to(torch.float64) * (1 - _LR * _DECAY) - _LR * gradient / (gradient.abs() + _EPSILON)
    difference = float((weights.detach().to("cpu", torch.float64) - expected).abs().max())
    if not difference <= 1e-4:
        raise RuntimeError(f"its step differs from the formula by {difference:.3g}")


if __name__ == "__main__":
    sys.exit(main())
