"""Losses as pure functions of log-probabilities. No model, no device, no averaging over processes.

Summed response log-probabilities come from `dpo.logprobs`; what they are averaged over is the caller's business.
"""

from __future__ import annotations

import math
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
    gap_weight: float = 0.0,
    reward_gaps: Tensor | None = None,
    length_weight: float = 0.0,
    likelihood_weight: float = 0.0,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
) -> PreferenceLoss:
    """Return the loss of each preference pair.

    With every weight 0 it is the loss of the public trainer, in the same order of operations.

    Args:
        policy_chosen: log pi(y_w | x), summed over the response's tokens, nats. Shape: (pairs,), as of all that follow.
        policy_rejected: log pi(y_l | x).
        reference_chosen: log pi_ref(y_w | x), without gradient.
        reference_rejected: log pi_ref(y_l | x), without gradient.
        beta: Strength of the pull towards the reference; for IPO its regularisation tau.
        label_smoothing: Assumed probability that a preference is the wrong way round (conservative DPO). DPO only.
        loss: ``dpo`` or ``ipo``.
        reference_free: Take a uniform reference, that is, drop the reference's terms from the loss.
        gap_weight: How much more the chosen response is to win by, in nats of implicit reward per unit of its reward gap. DPO only.
        reward_gaps: Reward of the chosen response less that of the rejected one; read only by ``gap_weight``.
        length_weight: How much less it needs to win by, in nats of implicit reward per token that it is the longer one. DPO only.
        likelihood_weight: Weight of the chosen response's negative log-likelihood per token, which is added.
        chosen_tokens: Tokens that ``policy_chosen`` sums; read by ``likelihood_weight`` and ``length_weight``.
        rejected_tokens: Tokens that ``policy_rejected`` sums; read by ``length_weight``.

    Raises:
        ValueError: A setting out of its range, one that means nothing to the loss, or a weight without what it weighs.
    """
    _check(loss, beta, label_smoothing, {"gap_weight": gap_weight, "length_weight": length_weight, "likelihood_weight": likelihood_weight})
    gap = policy_chosen - policy_rejected
    if not reference_free:
        gap = gap - (reference_chosen - reference_rejected)
    if loss == "ipo":
        # arXiv 2310.12036, eq. 17: the gap of log-ratios is regressed on 1 / (2 tau).
        losses = (gap - 1.0 / (2.0 * beta)) ** 2
    else:
        # arXiv 2305.18290, eq. 7; with smoothing eps the mixture of both labels, eq. 3 of the cDPO note
        # (E. Mitchell, "A note on DPO with noisy preferences and relationship to IPO", 2023).
        logits = beta * gap
        if gap_weight:
            # DPO with an offset, arXiv 2402.10571: sigmoid(beta h - alpha f(r_w - r_l)), here with f the identity.
            logits = logits - gap_weight * _given("gap_weight", "reward_gaps", reward_gaps, gap)
        if length_weight:
            # R-DPO, arXiv 2403.19159: sigmoid(beta h + alpha (|y_w| - |y_l|)). If the reward that is maximised is r - alpha |y|,
            # then r = beta log(pi / pi_ref) + alpha |y|: a preference that length explains asks less of the policy.
            longer = _given("length_weight", "chosen_tokens", chosen_tokens, gap) - _given("length_weight", "rejected_tokens", rejected_tokens, gap)
            logits = logits + length_weight * longer
        losses = -(1.0 - label_smoothing) * F.logsigmoid(logits)
        if label_smoothing:  # the other label has the other sign everywhere, in the margins too
            losses = losses - label_smoothing * F.logsigmoid(-logits)
    if likelihood_weight:
        # arXiv 2404.19733: the preference loss and -log pi(y_w | x) / |y_w|; there the weight is at the preference loss.
        tokens = _given("likelihood_weight", "chosen_tokens", chosen_tokens, gap)
        losses = losses + likelihood_weight * (-policy_chosen / tokens.clamp(min=1))  # a response may be masked as a whole
    # The implicit rewards, arXiv 2305.18290 section 5; the reference stays in them even when the loss is reference-free.
    chosen = beta * (policy_chosen - reference_chosen).detach()
    rejected = beta * (policy_rejected - reference_rejected).detach()
    return PreferenceLoss(losses, chosen, rejected)


def _check(loss: str, beta: float, label_smoothing: float, weights: dict[str, float]) -> None:
    if loss not in ("dpo", "ipo"):
        raise ValueError(f"loss = {loss!r}: expected 'dpo' or 'ipo'")
    if beta <= 0:
        raise ValueError(f"beta = {beta}: expected more than 0")
    if not 0.0 <= label_smoothing <= 0.5:
        raise ValueError(f"label_smoothing = {label_smoothing}: expected a probability from 0 to 0.5")
    for name, weight in weights.items():
        if not 0.0 <= weight < math.inf:
            raise ValueError(f"{name} = {weight}: expected a finite number, 0 or more")
    # IPO regresses on a margin already, and none of these has been derived for it.
    for name, value in {"label_smoothing": label_smoothing, **{name: weights[name] for name in ("gap_weight", "length_weight")}}.items():
        if loss == "ipo" and value:
            raise ValueError(f"{name} = {value} means nothing to IPO, whose margin is 1 / (2 beta): set it to 0, or loss to 'dpo'")


def _given(weight: str, name: str, values: Tensor | None, like: Tensor) -> Tensor:
    """Return what a weight weighs, if it is there for every pair."""
    if values is None or values.shape != like.shape:
        given = "none" if values is None else f"shape {tuple(values.shape)}"
        raise ValueError(f"{weight} needs {name} of shape {tuple(like.shape)}, one for each pair: given {given}")
    return values


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
