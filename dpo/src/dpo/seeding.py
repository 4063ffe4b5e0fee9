"""Random draws named by what they are for, so that no draw depends on how many came before it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def derive_seed(seed: int, *labels: str | int) -> int:
    """Return a 63-bit seed that belongs to (seed, labels)."""
    name = "\0".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def shuffled_epochs(items: Sequence[Item], epochs: int, seed: int) -> Iterator[list[Item]]:
    """Yield the items once per epoch, in the public trainer's order.

    NumPy's legacy generator draws one seed per epoch, Python's generator shuffles with it, and each epoch shuffles the
    order that the one before left. Both streams are frozen by their makers; `golden/upstream.json` holds them to it.
    """
    order = list(items)
    for epoch_seed in np.random.RandomState(seed % 2**32).randint(0, 2**32, size=epochs, dtype=np.int64):
        random.Random(int(epoch_seed)).shuffle(order)
        yield list(order)
