"""Reference log-probabilities: computed once per distinct response, kept in the run's folder.

The policy starts as the reference, so they are computed with the policy itself before the first step: no second model is
ever in memory. After an interruption they are read; should the file be gone, the weights that a run starts from are
loaded before its checkpoint, so that what answers is still the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpo.deepspeed_engine import Processes
from dpo.logprobs import TokenLogps, response_logps
from dpo.tokenise import TokenSequence
from volume.errors import VolumeError
from volume.files import write_json

FILE = "reference_logps.json"


def reference_logps(
    path: Path, model_hash: str, policy: TokenLogps, sequences: Sequence[TokenSequence], processes: Processes, log: Callable[[str], None]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return log pi_ref of each sequence, from the file where it holds all of them.

    Args:
        path: The file: {"model": hash, "logps": {content hash of the tokens: nats}}.
        model_hash: Hash of the reference's weights and of the type that they are computed in.
        policy: The model, with the reference's weights.
        sequences: Distinct sequences.
        processes: This process among the others.
        log: Where to say what is done.
    """
    keys = [sequence.key for sequence in sequences]
    kept = _read(path, model_hash)
    if not all(key in kept for key in keys):
        values = response_logps(policy, sequences, processes.device, rank=processes.rank, world=processes.world)
        if not np.isfinite(values).all():
            raise VolumeError(f"the reference gives {int((~np.isfinite(values)).sum())} responses no finite log-probability: its weights or its dtype are at fault")
        kept = dict(zip(keys, values.tolist(), strict=True))
        if processes.first:
            write_json(path, {"model": model_hash, "logps": kept})
        log(f"reference log-probabilities of {len(keys)} responses")
    processes.barrier()
    return np.array([kept[key] for key in keys], dtype=np.float64)


def _read(path: Path, model_hash: str) -> dict[str, float]:
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    logps: dict[str, float] = content["logps"]
    return logps if content["model"] == model_hash else {}
