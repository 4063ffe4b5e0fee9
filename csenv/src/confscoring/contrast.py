"""DoLa: the last layer's distribution against that of an earlier one (Chuang et al. 2024, arXiv 2309.03883). Pure functions of tensors.

What a model knows of facts is said to come in with its later layers: a token that they have made likelier is preferred to one that
was likely all along. Of the candidate layers the one that differs most from the last is taken, per row and token. What is only
compared is in float32; the scores that tokens are drawn by are in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from volume.errors import UsageError


def candidate_layers(layers: str, number: int, tied: bool) -> tuple[int, ...]:
    """Return the layers to choose from: 0 is the output of the embedding, k that of the k-th layer.

    Args:
        layers: ``low``: every second one of the lower half; ``high``: every second one of the upper half, below the last; or
            numbers, as in "0,2,4". There is always one: of 2 layers 0 is low and 1 is high.
        number: Layers of the model.
        tied: The head is the embedding itself. What it makes of layer 0 is the token that was just read, so ``low`` leaves 0 out.

    Raises:
        UsageError: A number is none of the model's earlier layers.
    """
    half = number // 2
    if layers in ("low", "high"):
        found = range(2 if tied else 0, half, 2) if layers == "low" else range(half, number, 2)
        return tuple(found) or (min(1 if tied else 0, number - 1),)
    numbers = sorted({int(part) for part in layers.split(",")})
    if numbers[-1] >= number:
        raise UsageError(
            f"a decoder's layers = {layers!r}, but the model has {number} layers: the earlier ones are 0 (the embedding) to {number - 1}. "
            "Give some of these numbers, or low or high."
        )
    return tuple(numbers)


def contrast(logits: Tensor, earlier: Iterable[Tensor], alpha: float) -> tuple[Tensor, Tensor]:
    """Return log q_N(x) - log q_M(x) for the tokens that the last layer finds plausible, -inf for the others.

    M is the earlier layer of the largest Jensen-Shannon divergence from N, of equals the first. Plausible are the tokens with
    q_N(x) >= alpha max q_N.

    Args:
        logits: The last layer's, shape (rows, vocabulary), float32.
        earlier: Those of each candidate layer, made one after another: they are large.
        alpha: Above 0, at most 1.

    Returns:
        Scores, shape (rows, vocabulary), float64; and shape (rows,): the numerical error that would choose another layer (the lead
        in divergence) or other plausible tokens (the distance of the nearest probability from the bound).
    """
    total = logits.logsumexp(dim=-1, keepdim=True)
    log_last = logits - total
    last = log_last.exp()
    others = iter(earlier)
    chosen, best = next(others), None
    lead = torch.full_like(total[:, 0], math.inf)
    for other in others:
        best = js_divergence(last, log_last, chosen) if best is None else best  # a single layer needs no comparison
        divergence = js_divergence(last, log_last, other)
        lead = torch.where(divergence > best, divergence - best, torch.minimum(lead, best - divergence))
        chosen = torch.where((divergence > best).unsqueeze(-1), other, chosen)
        best = torch.maximum(divergence, best)
    bound = alpha * last.amax(dim=-1, keepdim=True)
    scores = logits.double() - chosen.double() - (total.double() - chosen.logsumexp(dim=-1, keepdim=True).double())
    scores = scores.masked_fill(last < bound, -math.inf)
    return scores, torch.minimum(lead, (last - bound).abs().amin(dim=-1)).double()


def js_divergence(last: Tensor, log_last: Tensor, other: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence, in nats: the mean of both distributions' divergences from their mean.

    Args:
        last, log_last: One distribution and its logarithm, shape (rows, tokens).
        other: Logits of the other one, of the same shape.
    """
    log_other = other.log_softmax(dim=-1)
    share = log_other.exp()
    log_mean = ((last + share) / 2).clamp(min=torch.finfo(share.dtype).tiny).log()  # where neither has mass nothing is added
    return (last * (log_last - log_mean) + share * (log_other - log_mean)).sum(dim=-1) / 2


def penalise(scores: Tensor, present: Tensor, penalty: float) -> Tensor:
    """Return the scores with those of tokens that are there already divided by the penalty, times it where negative (arXiv 1909.05858, section 4.1).

    Args:
        scores: Shape (rows, vocabulary).
        present: Of the same shape, bool: the tokens of a row's prompt and of its text so far.
    """
    return torch.where(present, torch.where(scores < 0, scores * penalty, scores / penalty), scores)
