"""Response log-probabilities: one function for policy and reference, so that their first difference is nothing.

The model runs to its last hidden states; the output head is applied only where a response token is predicted, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpo.batches import SequenceBatch, bucket_by_length, stack
from dpo.tokenise import TokenSequence
from volume.errors import UsageError

# Logits computed in one piece: on a CPU what its cache holds (a third off the head's time), on a GPU enough to fill it.
_LOGITS_AT_ONCE_CPU, _LOGITS_AT_ONCE_GPU = 1 << 18, 1 << 28

TokenLogps = Callable[[Tensor, Tensor, Tensor], Tensor]


class Policy(nn.Module):
    """A causal language model that answers with the log-probabilities of given target tokens.

    DeepSpeed wraps this module as a whole: gathering under ZeRO-3 happens in the hooks of the parts that it calls.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        # Models that change the logits after the head would be wrong here, silently.
        for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
            if getattr(model.config, name, None) not in (None, 1, 1.0):
                raise UsageError(f"the model's config sets {name}: such output heads are not supported; use a Llama-like model")
        self.model = model

    def forward(self, input_ids: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """Return log p(target) at each position, float32, nats. Arguments as in `SequenceBatch`. Shape: (targets,)"""
        hidden = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        hidden = hidden.flatten(0, 1)[positions]
        head = self.model.get_output_embeddings()
        at_once = _LOGITS_AT_ONCE_CPU if hidden.device.type == "cpu" else _LOGITS_AT_ONCE_GPU
        rows = max(1, at_once // self.model.config.vocab_size)
        losses = [
            F.cross_entropy(head(part).float(), target, reduction="none")
            for part, target in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        return -torch.cat(losses)


def batch_token_logps(policy: TokenLogps, batch: SequenceBatch) -> Tensor:
    """Return the log-probability of every target of a batch. Shape: (targets,)"""
    return policy(batch.input_ids, batch.positions, batch.targets)


def row_sums(token_logps: Tensor, batch: SequenceBatch) -> Tensor:
    """Return the summed log-probability of each row, float64.

    By way of a dense grid rather than `index_add`, whose order of summation on a GPU changes from run to run.

    Args:
        token_logps: Shape: (targets,)
        batch: The batch that they belong to.
    """
    rows, length = batch.input_ids.shape
    grid = token_logps.new_zeros(rows * length, dtype=torch.float64)
    return grid.scatter(0, batch.positions, token_logps.double()).view(rows, length).sum(1)


@torch.no_grad()
def response_logps(
    policy: TokenLogps, sequences: Sequence[TokenSequence], device: torch.device, *, tokens: int = 4096, rank: int = 0, world: int = 1
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the summed response log-probability of each sequence, without gradient.

    With several processes each takes its share of the chunks and all end with all values. Every process makes the same
    number of calls, as ZeRO-3's gathering demands.

    Args:
        policy: `Policy` or a DeepSpeed engine around one.
        sequences: The sequences.
        device: Where the policy is.
        tokens: Padded tokens per forward.
        rank: This process.
        world: Number of processes.
    """
    chunks = bucket_by_length([len(sequence.ids) for sequence in sequences], tokens)
    values = torch.zeros(len(sequences), dtype=torch.float64, device=device)
    for start in range(0, len(chunks), world):
        mine = start + rank
        chunk = chunks[min(mine, len(chunks) - 1)]  # a process without a chunk repeats the last and throws it away
        batch = stack([sequences[index] for index in chunk]).to(device)
        sums = row_sums(batch_token_logps(policy, batch), batch)
        if mine < len(chunks):
            values[torch.tensor(chunk, device=device)] = sums
    if world > 1:
        torch.distributed.all_reduce(values)  # each value was set by one process, the others add zero: exact
    return values.cpu().numpy()
