"""Which GPU a process uses, and whether its PyTorch has code for it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from volume.errors import UsageError


def choose_device(torch: Any, dtype: str = "float32") -> str:
    """Return this process's GPU where there is one ("cuda:0"), else "cpu", and keep PyTorch to as many threads as OMP_NUM_THREADS says (else one).

    Args:
        torch: The module, which this package does not import.
        dtype: In which the device must be able to calculate.

    Raises:
        UsageError: More processes were started than there are GPUs, this environment's PyTorch has no code for this one, or it
            cannot calculate in ``dtype`` on the CPU.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    if torch.cuda.is_available():  # True on a card that torch has no code for, too
        card = choose_card(torch.cuda.device_count())
        check_card(torch.cuda.get_device_name(card), torch.cuda.get_device_capability(card), torch.cuda.get_arch_list(), torch.__version__)
        torch.cuda.set_device(card)  # what names no card means this one
        return f"cuda:{card}"
    try:
        square = torch.ones(1, 1, dtype=getattr(torch, dtype))
        square @ square
    except RuntimeError as error:  # float16, before PyTorch 2.1
        raise UsageError(f"there is no GPU, and torch {torch.__version__} cannot calculate in {dtype} on the CPU. Set the model's dtype to float32.") from error
    return "cpu"


def choose_card(cards: int) -> int:
    """Return the index of this process's card: its rank on this host, 0 for a process alone.

    Raises:
        UsageError: More processes were started on this host than it has cards.
    """
    rank = int(os.environ.get("LOCAL_RANK") or 0)
    if rank >= cards:
        raise UsageError(f"process {rank + 1} on this host (LOCAL_RANK={rank}) has no card: {cards} visible. Start fewer (GPUS={cards}).")
    return rank


def check_card(card: str, capability: tuple[int, int], built: Sequence[str], version: str) -> None:
    """Check that PyTorch has code for a card: ``torch.cuda.is_available()`` is True on one that it has none for, too.

    Args:
        capability: Of the card, e.g. (8, 6).
        built: The architectures that PyTorch was built for, e.g. ["sm_80", "sm_86"].
        version: PyTorch's, for the message.

    Raises:
        UsageError: It has none.
    """
    if not can_run(capability, built):
        raise UsageError(
            f"{card} is an SM {capability[0]}.{capability[1]} card, and torch {version} of this environment has code for {', '.join(built)} only. "
            "Use the current stack (STACK=current), or hide the card (CUDA_VISIBLE_DEVICES=) to run on the CPU."
        )


def can_run(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Return whether code built for the architectures ``built`` ("sm_86", "compute_80") runs on a card.

    Machine code (sm_XY) runs on the same major capability from its minor one upwards; PTX (compute_XY) is compiled for
    every later card (CUDA C++ Programming Guide, "Compute capabilities": binary and PTX compatibility). The letter of
    "sm_90a" ties code to that card alone.
    """
    for name in built:
        parts = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", name)
        if parts is None:
            continue
        code = int(parts[2]), int(parts[3])
        if code == capability:
            return True
        if parts[4]:
            continue
        if code < capability and (parts[1] == "compute" or code[0] == capability[0]):
            return True
    return False
