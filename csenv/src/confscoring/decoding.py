"""From logits to tokens: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def token_probabilities(logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Return the sampling distribution.

    Temperature first, then the ``top_k`` likeliest tokens, then of these the fewest that hold ``top_p`` of the mass (nucleus
    sampling, arXiv 1904.09751, section 3.1; the token that crosses the threshold is kept).

    Args:
        logits: Shape (rows, vocabulary), float32.
        temperature: Above 0.
        top_k: 0 for all tokens.
        top_p: 1 for all tokens.

    Returns:
        Shape (rows, vocabulary), float64; every row sums to 1.
    """
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if 0 < top_k < probabilities.shape[-1]:
        smallest = probabilities.topk(top_k, dim=-1).values[:, -1:]
        probabilities = torch.where(probabilities >= smallest, probabilities, torch.zeros_like(probabilities))
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    if top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = torch.where(before < top_p, ordered, torch.zeros_like(ordered))
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def invert_cdf(probabilities: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Return, per row, the first token at which the cumulative probability exceeds the uniform.

    Args:
        probabilities: Shape (rows, vocabulary), float64.
        uniforms: Shape (rows,), float64 in [0, 1).

    Returns:
        Tokens, shape (rows,), int64; and margins |u - CDF| to the nearer end of the token's interval, shape (rows,): the
        numerical error that would flip the draw.
    """
    cumulative = probabilities.cumsum(dim=-1)
    draws = uniforms.unsqueeze(-1) * cumulative[:, -1:]  # rounding may leave the last sum a hair off 1
    tokens = torch.searchsorted(cumulative, draws, right=True)
    last = probabilities.shape[-1] - 1 - (probabilities > 0).flip(-1).to(torch.uint8).argmax(dim=-1, keepdim=True)
    tokens = torch.minimum(tokens, last)  # never a token of probability zero at the end of the vocabulary
    upper = cumulative.gather(-1, tokens)
    lower = upper - probabilities.gather(-1, tokens)
    margins = torch.minimum(draws - lower, upper - draws).clamp(min=0)
    return tokens.squeeze(-1), margins.squeeze(-1)


def choose_tokens(logits: Tensor, uniforms: Tensor | None, temperature: float, top_k: int, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the next token of every row and its margin; temperature 0 is greedy, its margin the lead in probability.

    Args:
        logits: Shape (rows, vocabulary).
        uniforms: Shape (rows,); None when greedy.
    """
    if temperature == 0 or uniforms is None:
        best = torch.softmax(logits.double(), dim=-1).topk(2, dim=-1)
        return logits.argmax(dim=-1), best.values[:, 0] - best.values[:, 1]
    return invert_cdf(token_probabilities(logits, temperature, top_k, top_p), uniforms)
