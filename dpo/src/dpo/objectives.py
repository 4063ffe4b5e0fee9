"""The two things that a step can minimise: the likelihood of targets, and the loss over preference pairs.

Pretraining and supervised tuning differ only in their targets (all of a document; a response) and in their plan. An
objective knows its data and its plan, so a step is a pure function of the weights and the step's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dpo.batches import stack
from dpo.deepspeed_engine import Processes
from dpo.logprobs import TokenLogps, batch_token_logps, response_logps, row_sums
from dpo.losses import PreferenceLoss, preference_loss, sft_loss
from dpo.tokenise import TokenSequence
from volume.settings import DpoSettings


class StepLoss(NamedTuple):
    """What a step yields: the loss to differentiate (the mean over processes is the batch's), and sums to log.

    ``sums["weight"]`` is what the other sums are divided by.
    """

    loss: Tensor
    sums: dict[str, Tensor]


class Objective(Protocol):
    """What the trainer asks of an objective."""

    unit: str  # what `examples` counts

    @property
    def steps(self) -> int: ...

    def examples(self, step: int) -> int:
        """Return the examples of a step's whole batch."""
        ...

    def loss(self, policy: TokenLogps, step: int, processes: Processes) -> StepLoss:
        """Return the loss of this process's share of the step's batch."""
        ...

    def evaluate(self, policy: TokenLogps, processes: Processes) -> dict[str, float] | None:
        """Return the figures of the held-out pairs, if there are any."""
        ...

    def describe(self, step: int) -> list[dict[str, Any]]:
        """Return the step's sequences as JSON, for the record of a failure."""
        ...


@dataclass
class LanguageModelling:
    """Next-token prediction on documents, or on responses with their prompts masked.

    Attributes:
        sequences: The data.
        plan: For each step, the indices of its sequences.
        unit: What one sequence is called.
    """

    sequences: Sequence[TokenSequence]
    plan: Sequence[Sequence[int]]
    unit: str = "responses"

    @property
    def steps(self) -> int:
        return len(self.plan)

    def examples(self, step: int) -> int:
        return len(self.plan[step])

    def loss(self, policy: TokenLogps, step: int, processes: Processes) -> StepLoss:
        chosen = self.plan[step]
        share = chosen[processes.rank :: processes.world]
        tokens = sum(self.sequences[index].targets for index in chosen)
        # A process without a share runs the first sequence at weight zero: the others wait for it in every collective call.
        batch = stack([self.sequences[index] for index in share or chosen[:1]]).to(processes.device)
        logps = batch_token_logps(policy, batch) * float(bool(share))
        weight = len(batch.targets) if share else 0
        sums = {"loss": -logps.detach().sum(dtype=torch.float64), "weight": torch.tensor(float(weight), device=processes.device)}
        return StepLoss(sft_loss(logps, tokens) * processes.world, sums)

    def evaluate(self, policy: TokenLogps, processes: Processes) -> dict[str, float] | None:
        return None

    def describe(self, step: int) -> list[dict[str, Any]]:
        return [describe_sequence(self.sequences[index]) for index in self.plan[step]]


@dataclass
class PairData:
    """Distinct sequences, their reference log-probabilities, and pairs as (chosen, rejected) indices into them."""

    sequences: Sequence[TokenSequence]
    reference: np.ndarray[Any, np.dtype[np.float64]]
    pairs: Sequence[tuple[int, int]] = field(default_factory=list)


@dataclass
class PreferenceOptimisation:
    """Direct Preference Optimization (arXiv 2305.18290), each distinct sequence of a batch run once.

    A response is in up to n - 1 pairs of its prompt. Its log-probability is computed once and serves all of them, which
    gives the same loss and the same gradient as running both sides of every pair.

    Attributes:
        train: Sequences and reference log-probabilities of the training pairs; its ``pairs`` are not used.
        plan: For each step, its pairs as indices into ``train.sequences``.
        settings: beta, loss, smoothing.
        held_out: The pairs of ``dpoval``.
        unit: What ``examples`` counts.
    """

    train: PairData
    plan: Sequence[Sequence[tuple[int, int]]]
    settings: DpoSettings
    held_out: PairData | None = None
    unit: str = "pairs"

    @property
    def steps(self) -> int:
        return len(self.plan)

    def examples(self, step: int) -> int:
        return len(self.plan[step])

    def loss(self, policy: TokenLogps, step: int, processes: Processes) -> StepLoss:
        pairs, device = self.plan[step], processes.device
        # Neighbours share responses in grouped order, so shares are contiguous.
        share = pairs[len(pairs) * processes.rank // processes.world : len(pairs) * (processes.rank + 1) // processes.world]
        weight = float(bool(share))
        share = share or pairs[:1]
        distinct = sorted({index for pair in share for index in pair})
        place = {index: row for row, index in enumerate(distinct)}
        batch = stack([self.train.sequences[index] for index in distinct]).to(device)
        logps = row_sums(batch_token_logps(policy, batch), batch)
        reference = torch.from_numpy(self.train.reference[distinct]).to(device)
        rows = torch.tensor([[place[chosen], place[rejected]] for chosen, rejected in share], device=device)
        result = self._pair_loss(logps, reference, rows)
        sums = {name: value * weight for name, value in pair_sums(result, logps, rows).items()}
        return StepLoss((result.losses.sum() * (weight * processes.world / len(pairs))).float(), sums)

    def evaluate(self, policy: TokenLogps, processes: Processes) -> dict[str, float] | None:
        held_out = self.held_out
        if held_out is None or not held_out.pairs:
            return None
        values = response_logps(policy, held_out.sequences, processes.device, rank=processes.rank, world=processes.world)
        logps, rows = torch.from_numpy(values), torch.tensor(held_out.pairs)
        sums = pair_sums(self._pair_loss(logps, torch.from_numpy(held_out.reference), rows), logps, rows)
        return {name: (value / sums["weight"]).item() for name, value in sums.items() if name != "weight"}

    def describe(self, step: int) -> list[dict[str, Any]]:
        return [
            {"chosen": describe_sequence(self.train.sequences[chosen]), "rejected": describe_sequence(self.train.sequences[rejected]),
             "reference_chosen_logp": float(self.train.reference[chosen]), "reference_rejected_logp": float(self.train.reference[rejected])}
            for chosen, rejected in self.plan[step]
        ]  # fmt: skip

    def _pair_loss(self, logps: Tensor, reference: Tensor, rows: Tensor) -> PreferenceLoss:
        chosen, rejected = rows[:, 0], rows[:, 1]
        return preference_loss(
            logps[chosen], logps[rejected], reference[chosen], reference[rejected],
            beta=self.settings.beta, label_smoothing=self.settings.label_smoothing, loss=self.settings.loss, reference_free=self.settings.reference_free,
        )  # fmt: skip


def pair_sums(result: PreferenceLoss, logps: Tensor, rows: Tensor) -> dict[str, Tensor]:
    """Return what is logged of pairs, summed over them: losses, both rewards apart, and log-probabilities in nats.

    Args:
        result: Loss and rewards of the pairs.
        logps: Log-probabilities of the sequences. Shape: (sequences,)
        rows: (chosen, rejected) indices into ``logps``. Shape: (pairs, 2)
    """
    chosen, rejected = result.chosen_rewards, result.rejected_rewards
    logps = logps.detach()
    return {
        "loss": result.losses.detach().sum(),
        "chosen_reward": chosen.sum(),
        "rejected_reward": rejected.sum(),
        "margin": (chosen - rejected).sum(),
        "accuracy": (chosen > rejected).double().sum(),
        "chosen_logp": logps[rows[:, 0]].sum(),
        "rejected_logp": logps[rows[:, 1]].sum(),
        "weight": torch.tensor(float(len(rows)), dtype=torch.float64, device=logps.device),
    }


def describe_sequence(sequence: TokenSequence) -> dict[str, Any]:
    """Return a sequence as JSON."""
    return {"prompt_length": sequence.prompt_length, "ids": [int(token) for token in sequence.ids]}
