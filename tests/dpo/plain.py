"""The definitions that training is compared with: both sides of every pair run, whole logits, no packing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo.batches import pad
from dpo.losses import preference_loss, sequence_logps
from dpo.objectives import Pair
from dpo.processes import Processes
from dpo.tokenise import TokenSequence

CPU = Processes(0, 1, torch.device("cpu"))


class PlainEngine:
    """What `take_gradient` asks of DeepSpeed's engine, without DeepSpeed; counts forwards and tokens."""

    def __init__(self, module: Any) -> None:
        self.module, self.forwards, self.tokens = module, 0, 0
        self.boundaries: list[bool] = []

    def __call__(self, input_ids: Tensor, *more: Any) -> Tensor:
        self.forwards += 1
        self.tokens += input_ids.numel()
        result: Tensor = self.module(input_ids, *more)
        return result

    def set_gradient_accumulation_boundary(self, last: bool) -> None:
        self.boundaries.append(last)

    def backward(self, loss: Tensor, scale_wrt_gas: bool) -> None:
        assert not scale_wrt_gas
        loss.backward()


def random_group(draw: np.random.Generator, responses: int, words: int = 20) -> list[TokenSequence]:
    """Return responses of 1 to 10 tokens to one prompt of 2 to 6."""
    prompt = draw.integers(4, words, int(draw.integers(2, 7))).astype(np.int32)
    return [
        TokenSequence(np.concatenate([prompt, draw.integers(4, words, int(draw.integers(0, 10))), [2]]).astype(np.int32), len(prompt))
        for _ in range(responses)
    ]


def random_pairs(draw: np.random.Generator, sequences: Sequence[TokenSequence], start: int = 0) -> list[Pair]:
    """Return all pairs of responses whose rewards, whole numbers up to 3, differ."""
    rewards = draw.integers(0, 4, len(sequences))
    return [
        Pair(start + i, start + j, float(rewards[i] - rewards[j])) for i in range(len(sequences)) for j in range(len(sequences)) if rewards[i] > rewards[j]
    ]


def plain_logps(model: Any, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the log-probability of each response from whole logits, in the model's own type."""
    batch = pad(sequences)
    labels = batch.input_ids.clone()
    for row, item in enumerate(sequences):
        labels[row, : item.prompt_length] = -100
        labels[row, len(item.ids) :] = -100
    return sequence_logps(model(input_ids=batch.input_ids).logits, labels)


def plain_loss(model: Any, sequences: Sequence[TokenSequence], pairs: Sequence[Pair], reference: Tensor, beta: float) -> Tensor:
    """Return the mean DPO loss, both sides of every pair run anew."""
    losses = []
    for pair in pairs:
        chosen, rejected = plain_logps(model, [sequences[pair.chosen], sequences[pair.rejected]])
        losses.append(preference_loss(chosen, rejected, reference[pair.chosen, 0], reference[pair.rejected, 1], beta=beta).losses)
    return torch.stack(losses).mean()


def gradient_of(model: Any) -> Tensor:
    """Return the gradient as one vector, float64."""
    return torch.cat([parameter.grad.flatten().double() for parameter in model.parameters() if parameter.grad is not None])
