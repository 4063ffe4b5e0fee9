"""Losses as pure functions of log-probabilities. No model, no device, no averaging over processes.

Summed response log-probabilities come from `dpo.logprobs`; what they are averaged over is the caller's business.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class PreferenceLoss(NamedTuple):
    """Per-pair values, each of shape (pairs,); the rewards carry no gradient."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def preference_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    loss: str = "dpo",
    reference_free: bool = False,
) -> PreferenceLoss:
    """Return the loss of each preference pair.

    Args:
        policy_chosen: log pi(y_w | x), summed over the response's tokens, nats. Shape: (pairs,), as the next three.
        policy_rejected: log pi(y_l | x).
        reference_chosen: log pi_ref(y_w | x), without gradient.
        reference_rejected: log pi_ref(y_l | x), without gradient.
        beta: Strength of the pull towards the reference; for IPO its regularisation tau.
        label_smoothing: Assumed probability that a preference is the wrong way round (conservative DPO). DPO only.
        loss: ``dpo`` or ``ipo``.
        reference_free: Take a uniform reference, that is, drop the reference's terms from the loss.

    Raises:
        ValueError: Unknown loss, smoothing outside [0, 0.5], or smoothing with IPO.
    """
    if loss not in ("dpo", "ipo"):
        raise ValueError(f"loss = {loss!r}: expected 'dpo' or 'ipo'")
    if not 0.0 <= label_smoothing <= 0.5:
        raise ValueError(f"label_smoothing = {label_smoothing}: expected a probability from 0 to 0.5")
    if loss == "ipo" and label_smoothing:
        raise ValueError(f"label_smoothing = {label_smoothing} means nothing to IPO: set it to 0, or loss to 'dpo'")
    gap = policy_chosen - policy_rejected
    if not reference_free:
        gap = gap - (reference_chosen - reference_rejected)
    if loss == "ipo":
        # arXiv 2310.12036, eq. 17: the gap of log-ratios is regressed on 1 / (2 tau).
        losses = (gap - 1.0 / (2.0 * beta)) ** 2
    else:
        # arXiv 2305.18290, eq. 7; with smoothing eps the mixture of both labels, eq. 3 of the cDPO note
        # (E. Mitchell, "A note on DPO with noisy preferences and relationship to IPO", 2023).
        losses = -(1.0 - label_smoothing) * F.logsigmoid(beta * gap)
        if label_smoothing:
            losses = losses - label_smoothing * F.logsigmoid(-beta * gap)
    # The implicit rewards, arXiv 2305.18290 section 5; the reference stays in them even when the loss is reference-free.
    chosen = beta * (policy_chosen - reference_chosen).detach()
    rejected = beta * (policy_rejected - reference_rejected).detach()
    return PreferenceLoss(losses, chosen, rejected)


def sft_loss(token_logps: Tensor, tokens: int | float) -> Tensor:
    """Return the negative log-likelihood per token of the targets.

    The public trainer averages each response's sum over the batch: the same direction within a batch, scaled by the
    batch's mean length, which neither AdamW nor RMSprop sees.

    Args:
        token_logps: log-probabilities of the target tokens, nats. Shape: (targets,)
        tokens: What the sum is divided by: the targets of the whole batch, other processes' included.
    """
    return -token_logps.sum() / max(tokens, 1)


def sequence_logps(logits: Tensor, labels: Tensor, average: bool = False) -> Tensor:
    """Return the log-probability of the labelled tokens of each sequence, from whole logits.

    This is the definition, in the arguments' own precision; training takes `dpo.logprobs`, which never holds whole logits.

    Args:
        logits: Shape: (sequences, length, vocabulary)
        labels: Token ids; -100 marks what does not count. Shape: (sequences, length)
        average: Mean over the labelled tokens in place of their sum.

    Raises:
        ValueError: The shapes do not fit together.
    """
    if logits.shape[:-1] != labels.shape:
        raise ValueError(f"logits {tuple(logits.shape)} do not fit labels {tuple(labels.shape)}")
    logits, labels = logits[:, :-1], labels[:, 1:]  # position t predicts token t + 1
    counted = labels != -100
    chosen = logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    total = torch.where(counted, chosen, 0.0).sum(-1)
    return total / counted.sum(-1) if average else total
