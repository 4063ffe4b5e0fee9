"""The two things that a step can minimise: the likelihood of targets, and the loss over preference pairs.

Pretraining and supervised tuning differ only in their targets (all of a document; a response) and in their plan. An
objective knows its data and its plan, so a step is a pure function of the weights and the step's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dpo.gradient import Share, StepLoss
from dpo.losses import PreferenceLoss, preference_loss, sft_loss
from dpo.processes import Processes
from dpo.tokenise import TokenSequence
from volume.training_settings import DpoSettings


class Pair(NamedTuple):
    """Indices of two sequences, and by how much the reward of the first is greater."""

    chosen: int
    rejected: int
    gap: float = 1.0


class Objective(Protocol):
    """What the trainer asks of an objective."""

    unit: str  # what `examples` counts

    @property
    def steps(self) -> int: ...

    def examples(self, step: int) -> int:
        """Return the examples of a step's whole batch."""
        ...

    def share(self, step: int, processes: Processes) -> Share:
        """Return this process's part of the step's batch."""
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

    def share(self, step: int, processes: Processes) -> Share:
        chosen = self.plan[step]
        mine = chosen[processes.rank :: processes.world]
        tokens = sum(self.sequences[index].targets for index in chosen)
        own = sum(self.sequences[index].targets for index in mine)
        here = float(bool(mine))  # a process without a share runs the first sequence at weight zero

        def weigh(logps: Tensor) -> StepLoss:
            logps = logps[:, 0] * here
            sums = {"loss": -logps.detach().sum(), "weight": logps.new_tensor(float(own))}
            return StepLoss((sft_loss(logps, tokens) * processes.world).float(), sums)

        return Share([self.sequences[index] for index in mine or chosen[:1]], weigh, linear=True)

    def describe(self, step: int) -> list[dict[str, Any]]:
        return [describe_sequence(self.sequences[index]) for index in self.plan[step]]


@dataclass
class PairData:
    """Distinct sequences, their log-probabilities under the reference, shape (sequences, 2), and pairs of them."""

    sequences: Sequence[TokenSequence]
    reference: Tensor
    pairs: Sequence[Pair] = field(default_factory=list)


@dataclass
class PreferenceOptimisation:
    """Direct Preference Optimization (arXiv 2305.18290), each distinct sequence of a batch run once.

    A response is in up to n - 1 pairs of its prompt. Its log-probability is computed once and serves all of them, which
    gives the same loss and the same gradient as running both sides of every pair.

    Attributes:
        data: Sequences and reference log-probabilities of the training pairs; its ``pairs`` are not used.
        plan: For each step, its pairs as indices into ``data.sequences``.
        settings: beta, loss and its options.
        unit: What ``examples`` counts.
    """

    data: PairData
    plan: Sequence[Sequence[Pair]]
    settings: DpoSettings
    unit: str = "pairs"

    @property
    def steps(self) -> int:
        return len(self.plan)

    def examples(self, step: int) -> int:
        return len(self.plan[step])

    def share(self, step: int, processes: Processes) -> Share:
        pairs, device = self.plan[step], processes.device
        # Neighbours share responses in grouped order, so shares are contiguous.
        mine = pairs[len(pairs) * processes.rank // processes.world : len(pairs) * (processes.rank + 1) // processes.world]
        here = float(bool(mine))
        mine = mine or pairs[:1]
        distinct = sorted({index for pair in mine for index in (pair.chosen, pair.rejected)})
        place = {index: row for row, index in enumerate(distinct)}
        data = PairData(
            [self.data.sequences[index] for index in distinct], self.data.reference[distinct].to(device),
            [Pair(place[pair.chosen], place[pair.rejected], pair.gap) for pair in mine],
        )  # fmt: skip

        def weigh(logps: Tensor) -> StepLoss:
            result = pair_losses(logps, data, self.settings)
            sums = {name: value * here for name, value in pair_sums(result, logps, data.pairs).items()}
            return StepLoss((result.losses.sum() * (here * processes.world / len(pairs))).float(), sums)

        return Share(list(data.sequences), weigh)

    def describe(self, step: int) -> list[dict[str, Any]]:
        return [
            {"chosen": describe_sequence(self.data.sequences[pair.chosen]), "rejected": describe_sequence(self.data.sequences[pair.rejected]),
             "reference_chosen_logp": float(self.data.reference[pair.chosen, 0]), "reference_rejected_logp": float(self.data.reference[pair.rejected, 1])}
            for pair in self.plan[step]
        ]  # fmt: skip


def pair_losses(logps: Tensor, data: PairData, settings: DpoSettings) -> PreferenceLoss:
    """Return loss and rewards of pairs.

    Args:
        logps: Log-probabilities under the policy, as the chosen and as the rejected one. Shape: (sequences, 2)
        data: The sequences, their reference and the pairs.
        settings: beta, loss and its options.
    """
    chosen, rejected = rows_of(data.pairs, logps.device)
    lengths = torch.tensor([sequence.targets for sequence in data.sequences], dtype=torch.float64, device=logps.device)
    return preference_loss(
        logps[chosen, 0], logps[rejected, 1], data.reference[chosen, 0], data.reference[rejected, 1],
        beta=settings.beta, label_smoothing=settings.label_smoothing, loss=settings.loss, reference_free=settings.reference_free,
        likelihood_weight=settings.likelihood_weight, gap_weight=settings.gap_weight, length_weight=settings.length_weight,
        chosen_tokens=lengths[chosen], rejected_tokens=lengths[rejected],
        reward_gaps=torch.tensor([pair.gap for pair in data.pairs], dtype=torch.float64, device=logps.device),
    )  # fmt: skip


def pair_sums(result: PreferenceLoss, logps: Tensor, pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """Return what is logged of pairs, summed over them: losses, both rewards apart, and log-probabilities in nats.

    Args:
        result: Loss and rewards of the pairs.
        logps: As for `pair_losses`.
        pairs: The pairs.
    """
    chosen, rejected = result.chosen_rewards, result.rejected_rewards
    logps = logps.detach()
    first, second = rows_of(pairs, logps.device)
    return {
        "loss": result.losses.detach().sum(),
        "chosen_reward": chosen.sum(),
        "rejected_reward": rejected.sum(),
        "margin": (chosen - rejected).sum(),
        "accuracy": (chosen > rejected).double().sum(),
        "chosen_logp": logps[first, 0].sum(),
        "rejected_logp": logps[second, 1].sum(),
        "weight": logps.new_tensor(float(len(pairs))),
    }


def rows_of(pairs: Sequence[Pair], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the chosen and the rejected sequences of pairs. Shape: (pairs,) each"""
    return torch.tensor([pair.chosen for pair in pairs], device=device), torch.tensor([pair.rejected for pair in pairs], device=device)


def describe_sequence(sequence: TokenSequence) -> dict[str, Any]:
    """Return a sequence as JSON."""
    return {"prompt_length": sequence.prompt_length, "ids": [int(token) for token in sequence.ids]}
