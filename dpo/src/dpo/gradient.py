"""The gradient of a step: each sequence run once, in one pass where the batch fits into a forward, else in two.

The loss of a batch is a function of its sequences' log-probabilities s alone, L(s_1, …, s_n). Where they do not fit into one
forward, a first pass without gradient finds s; then dL/dθ = Σ_i dL/ds_i · ds_i/dθ, piece by piece: the gradient of the whole
batch to rounding, whatever the pieces, for one more forward. A loss that is linear in s needs no first pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpo.batches import Batching
from dpo.logprobs import sequence_sums
from dpo.processes import Processes
from dpo.tokenise import TokenSequence


class StepLoss(NamedTuple):
    """What a step yields: the loss to differentiate (the mean over processes is the batch's), and sums to log.

    ``sums["weight"]`` is what the other sums are divided by.
    """

    loss: Tensor
    sums: dict[str, Tensor]


@dataclass(frozen=True)
class Share:
    """A process's part of a step's batch.

    Attributes:
        sequences: Its distinct sequences; at least one, since the other processes wait for every forward.
        weigh: From their log-probabilities, shape (sequences, 2) as `dpo.logprobs.sum_by_sequence` has them, to the loss.
        linear: Whether the loss is linear in them.
    """

    sequences: list[TokenSequence]
    weigh: Callable[[Tensor], StepLoss]
    linear: bool = False


def take_gradient(engine: Any, batching: Batching, share: Share, processes: Processes) -> StepLoss:
    """Add the gradient of a share's loss to the engine's parameters; return the loss.

    Args:
        engine: DeepSpeed's engine around a `Policy`.
        batching: How sequences become batches, and what a forward may hold.
        share: This process's part of the batch.
        processes: This process among the others; all make the same number of forwards.
    """
    pieces = batching.split(share.sequences)
    rounds = processes.most(len(pieces))
    if rounds == 1:
        result = share.weigh(_run(engine, batching, share, pieces[0], processes)[_inverse(pieces[0])])
        engine.set_gradient_accumulation_boundary(True)
        engine.backward(result.loss, scale_wrt_gas=False)
        return result
    values = torch.zeros(len(share.sequences), 2, dtype=torch.float64, device=processes.device)
    if not share.linear:
        with torch.no_grad():
            for number in range(rounds):
                piece = pieces[min(number, len(pieces) - 1)]
                values[piece] = _run(engine, batching, share, piece, processes)
    leaf = values.clone().requires_grad_()
    result = share.weigh(leaf)
    (weights,) = torch.autograd.grad(result.loss, leaf)
    for number in range(rounds):
        piece = pieces[min(number, len(pieces) - 1)]
        engine.set_gradient_accumulation_boundary(number == rounds - 1)
        sums = _run(engine, batching, share, piece, processes)
        values[piece] = sums.detach()
        weight = weights[piece] * float(number < len(pieces))  # a process with fewer pieces goes along at weight zero
        engine.backward((sums * weight).sum().float(), scale_wrt_gas=False)
    return share.weigh(values) if share.linear else result


def _run(engine: Any, batching: Batching, share: Share, piece: list[int], processes: Processes) -> Tensor:
    return sequence_sums(engine, batching, [share.sequences[index] for index in piece], processes.device)


def _inverse(order: list[int]) -> list[int]:
    """Return where each index stands in a permutation."""
    return sorted(range(len(order)), key=order.__getitem__)
