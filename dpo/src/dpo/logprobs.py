"""Response log-probabilities: one function for policy and reference, so that their first difference is nothing.

The model runs to its last hidden states; the output head is applied only where a response token is predicted, in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dpo import attention
from dpo.attention import Layout
from dpo.batches import FEWEST_ROWS, Batch, Batching
from dpo.processes import Processes
from dpo.tokenise import TokenSequence
from volume.errors import UsageError

# Logits computed in one piece: on a CPU what its cache holds (a third off the head's time), on a GPU enough to fill it.
_LOGITS_AT_ONCE_CPU, _LOGITS_AT_ONCE_GPU = 1 << 18, 1 << 28
# Logits that a step keeps for its backward pass; of more, each piece is computed again there: 1 % of a 7B model's work.
LOGITS_KEPT = 1 << 28

TokenLogps = Callable[[Tensor, Tensor, Tensor, "Tensor | None", "Layout | None"], Tensor]


class Policy(nn.Module):
    """A causal language model that answers with the log-probabilities of given target tokens.

    DeepSpeed wraps this module as a whole: gathering under ZeRO-3 happens in the hooks of the parts that it calls.

    Attributes:
        packed: Whether its batches are packed; else they are padded.
    """

    def __init__(self, model: Any, pack: bool = False) -> None:
        """Take a model; with ``pack`` its attention is replaced, where that can be done."""
        super().__init__()
        # Models that change the logits after the head would be wrong here, silently.
        for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
            if getattr(model.config, name, None) not in (None, 1, 1.0):
                raise UsageError(f"the model's config sets {name}: such output heads are not supported; use a Llama-like model")
        self.packed = pack and attention.can_pack(model)
        if self.packed:
            attention.register()
            model.set_attn_implementation(attention.NAME)
        self.model = model

    def forward(self, input_ids: Tensor, positions: Tensor, targets: Tensor, position_ids: Tensor | None = None, layout: Layout | None = None) -> Tensor:
        """Return log p(target) at each position, float32, nats. Arguments as in `Batch`. Shape: (targets,)"""
        more = {} if layout is None else {"position_ids": position_ids, "layout": layout}
        hidden = self.model.base_model(input_ids=input_ids, use_cache=False, **more).last_hidden_state
        fewer = max(0, FEWEST_ROWS - len(targets))
        hidden = hidden.flatten(0, 1)[F.pad(positions, (0, fewer))]
        targets = F.pad(targets, (0, fewer))
        head = self.model.get_output_embeddings()
        at_once = _LOGITS_AT_ONCE_CPU if hidden.device.type == "cpu" else _LOGITS_AT_ONCE_GPU
        size = len(targets) * self.model.config.vocab_size

        def losses(part: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(head(part).float(), target, reduction="none")

        pieces = zip(hidden.chunk(-(-size // at_once)), targets.chunk(-(-size // at_once)), strict=True)
        if size <= LOGITS_KEPT or not torch.is_grad_enabled():
            found = [losses(*piece) for piece in pieces]
        else:
            found = [checkpoint(losses, *piece, use_reentrant=False) for piece in pieces]
        return -torch.cat(found)[: len(positions)]

    @contextlib.contextmanager
    def own_attention(self) -> Iterator[Any]:
        """Give the model with the attention that it came with, for `generate`."""
        if self.packed:
            self.model.set_attn_implementation("sdpa")
        try:
            yield self.model
        finally:
            if self.packed:
                self.model.set_attn_implementation(attention.NAME)


def batch_token_logps(policy: TokenLogps, batch: Batch) -> Tensor:
    """Return the log-probability of every target of a batch. Shape: (targets,)"""
    return policy(batch.input_ids, batch.positions, batch.targets, batch.position_ids, batch.layout)


def sum_by_sequence(token_logps: Tensor, batch: Batch) -> Tensor:
    """Return the summed log-probability of each sequence, as the chosen and as the rejected one, float64.

    The two differ only where spans are left out. By way of a dense grid rather than `index_add`, whose order of summation on
    a GPU changes from run to run.

    Args:
        token_logps: Shape: (targets,)
        batch: The batch that they belong to.

    Returns:
        Shape: (sequences, 2)
    """

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(batch.sequences * batch.width).scatter(0, batch.places, values).view(batch.sequences, batch.width).sum(1)

    values = token_logps.double()
    if batch.left_out is None:
        return total(values)[:, None].expand(-1, 2)
    return torch.stack([total(values.masked_fill(left_out, 0.0)) for left_out in batch.left_out], dim=1)


def sequence_sums(policy: TokenLogps, batching: Batching, sequences: Sequence[TokenSequence], device: torch.device) -> Tensor:
    """Return `sum_by_sequence` of sequences that one forward holds."""
    batch = batching.collate(sequences).to(device)
    return sum_by_sequence(batch_token_logps(policy, batch), batch)


@torch.no_grad()
def response_logps(policy: TokenLogps, batching: Batching, sequences: Sequence[TokenSequence], processes: Processes) -> Tensor:
    """Return `sum_by_sequence` of any number of sequences, without gradient, on the CPU.

    Several processes take a share of the pieces each, and all end with all values. Every process makes the same number of
    calls, as ZeRO-3's gathering demands.

    Args:
        policy: `Policy` or a DeepSpeed engine around one.
        batching: How sequences become batches.
        sequences: The sequences, the same in every process.
        processes: This process among the others.
    """
    pieces = batching.split(sequences)
    values = torch.zeros(len(sequences), 2, dtype=torch.float64, device=processes.device)
    for start in range(0, len(pieces), processes.world):
        mine = start + processes.rank
        piece = pieces[min(mine, len(pieces) - 1)]  # a process without a piece repeats the last and throws it away
        sums = sequence_sums(policy, batching, [sequences[index] for index in piece], processes.device)
        if mine < len(pieces):
            values[torch.tensor(piece, device=processes.device)] = sums
    if processes.world > 1:
        torch.distributed.all_reduce(values)  # each value was set by one process, the others add zero: exact
    return values.cpu()
