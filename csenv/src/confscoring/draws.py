"""Counter-based uniform draws: a draw belongs to (seed, dataset, item, sample, step) and to nothing else.

So a sampled text does not depend on the batch that it was in, on the order of the items, or on what was done before a
restart. The generator is Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed by a hash
of the identity, its counter the step.
"""

from __future__ import annotations

import hashlib

import numpy as np

_TO_UNIT = 2.0**-53  # the upper 53 bits of a word fill a double's mantissa


def uniforms(seed: int, dataset: str, item: str, sample: int, steps: int) -> np.ndarray:
    """Return the draws of one sample.

    Args:
        seed: Seed of the dataset.
        dataset: Its name.
        item: What is sampled, e.g. a question; distinct items get independent draws.
        sample: Index among the samples of the item.
        steps: How many draws.

    Returns:
        Shape (steps,), float64 in [0, 1); the first k of them are the same for every ``steps`` >= k.
    """
    identity = "\x1f".join((str(seed), dataset, item, str(sample))).encode()
    key = np.frombuffer(hashlib.sha256(identity).digest()[:16], dtype="<u8").astype(np.uint64)
    words = np.random.Philox(key=key).random_raw(steps)
    return (words >> np.uint64(11)).astype(np.float64) * _TO_UNIT
