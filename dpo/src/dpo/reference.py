"""Reference log-probabilities: computed once per distinct response, kept on the volume for every run that starts from that model.

    dataset_{name}/reference_logps/{hash of the model}.json        {content hash of the tokens: nats, or [as chosen, as rejected]}

The policy starts as the reference, so they are computed with the policy itself before the first step: no second model is
ever in memory. After an interruption they are read; should the file be gone, the weights that a run starts from are
loaded before its checkpoint, so that what answers is still the reference. The file is no output of any step: what it holds
follows from its names, and deleting it costs one pass over the responses.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from dpo.batches import Batching
from dpo.logprobs import TokenLogps, response_logps
from dpo.processes import Processes
from dpo.tokenise import TokenSequence
from volume.errors import VolumeError
from volume.files import sha256_file, sha256_value, write_json

# A change of how log-probabilities are computed, which moves their last bits, is told from what was kept before by this.
_FORMAT = 2


def model_hash(weights: Sequence[Path], config: Path, dtype: str, packed: bool) -> str:
    """Return the hash of all that decides a log-probability besides the tokens: weights, configuration, type, form of the batch."""
    return str(sha256_value([_FORMAT, *(sha256_file(path) for path in weights), sha256_file(config), dtype, packed]))[:32]


def reference_logps(
    path: Path, policy: TokenLogps, batching: Batching, sequences: Sequence[TokenSequence], processes: Processes, log: Callable[[str], None]
) -> Tensor:
    """Return log pi_ref of each sequence as the chosen and as the rejected one; what the file lacks is computed and added to it.

    Another run that starts from the same model at the same time waits for the file and finds there what this one computed.

    Args:
        path: The file of this model; see `model_hash`.
        policy: The model, with the reference's weights.
        batching: How sequences become batches.
        sequences: Distinct sequences.
        processes: This process among the others.
        log: Where to say what is done.

    Returns:
        Float64, shape (sequences, 2).

    Raises:
        VolumeError: Some response has no finite log-probability, or the file cannot be read.
    """
    with _held(path, processes):
        kept = _read(path)
        missing = [sequence for sequence in sequences if sequence.key not in kept]
        processes.barrier()  # nobody writes before everybody has read
        if missing:
            values = response_logps(policy, batching, missing, processes)
            broken = int((~values.isfinite()).any(1).sum())
            if broken:
                raise VolumeError(f"the reference gives {broken} responses no finite log-probability: its weights or its dtype are at fault")
            kept |= {sequence.key: [one, other] for sequence, (one, other) in zip(missing, values.tolist(), strict=True)}
            if processes.first:
                write_json(path, {key: kept[key][0] if kept[key][0] == kept[key][1] else kept[key] for key in sorted(kept)})
            log(f"reference log-probabilities of {len(missing)} responses" + (f"; {len(sequences) - len(missing)} were known" if len(missing) < len(sequences) else ""))
    processes.barrier()
    return torch.tensor([kept[sequence.key] for sequence in sequences], dtype=torch.float64).view(-1, 2)


@contextmanager
def _held(path: Path, processes: Processes) -> Iterator[None]:
    """Hold the file against other runs: the first process does, for all of its run."""
    if processes.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            processes.barrier()
            yield
    else:
        processes.barrier()
        yield


def _read(path: Path) -> dict[str, list[float]]:
    if not path.exists():
        return {}
    try:
        content: dict[str, float | list[float]] = json.loads(path.read_text(encoding="utf-8"))
        return {key: [value, value] if isinstance(value, float) else [float(part) for part in value] for key, value in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise VolumeError(f"{path} cannot be read as reference log-probabilities ({error}). Delete it: they are computed anew.") from error
