"""From logits to tokens: pure functions of tensors.

Draws are in float64 over float32 logits, or over the float64 scores of a contrast (confscoring.contrast). With top-k or top-p
only a few tokens of a vocabulary can be drawn, so only those are raised to float64 and sorted; the distribution is the same as
over all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SPARE = 8  # candidates beyond top-k, so that a tie with the last of them is seen
_NUCLEUS = (256, 4096)  # candidates that top-p looks at before it looks at all


def token_probabilities(logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Return the sampling distribution.

    Temperature first, then the ``top_k`` likeliest tokens (and what ties with the last of them), then of these the fewest
    that hold ``top_p`` of the mass (nucleus sampling, arXiv 1904.09751, section 3.1; the token that crosses the threshold is
    kept; of equals the one with the lower id comes first).

    Args:
        logits: Shape (rows, tokens), float32; -inf for what is no candidate.
        temperature: Above 0.
        top_k: 0 for all tokens.
        top_p: 1 for all tokens.

    Returns:
        Shape (rows, tokens), float64; every row sums to 1.
    """
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if 0 < top_k < probabilities.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[:, -1:]
        probabilities = torch.where(logits >= smallest, probabilities, torch.zeros_like(probabilities))
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    if top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = torch.where(before < top_p, ordered, torch.zeros_like(ordered))
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def candidates(logits: Tensor, temperature: float, top_k: int, top_p: float) -> tuple[Tensor, Tensor] | None:
    """Return the tokens that top-k and top-p leave, in the order of their ids, and their probabilities; None where all are left.

    Equal to ``token_probabilities`` without its zeros, up to the rounding of a normalising sum.

    Args:
        logits: Shape (rows, vocabulary), float32.

    Returns:
        Tokens, shape (rows, some), int64, and float64 probabilities of the same shape; some of them may be zero.
    """
    vocabulary = logits.shape[-1]
    if 0 < top_k < vocabulary:
        size = min(top_k + _SPARE, vocabulary)
        values, tokens = logits.topk(size, dim=-1)
        if size < vocabulary and bool((values[:, -1] == values[:, top_k - 1]).any()):
            return None  # a tie that goes on beyond the candidates
        tokens, order = tokens.sort(dim=-1)
        return tokens, token_probabilities(values.gather(-1, order), temperature, top_k, top_p)
    if top_p >= 1:
        return None
    total = (logits.double() / temperature).logsumexp(dim=-1, keepdim=True)
    for size in (size for size in _NUCLEUS if size < vocabulary):
        values, tokens = logits.topk(size, dim=-1)
        mass = (values.double() / temperature - total).exp()
        outside = mass.cumsum(dim=-1) - mass >= top_p
        # What ranks after the candidates is outside if some candidate is that is likelier than the last of them.
        if bool((outside & (values > values[:, -1:])).any(dim=-1).all()):
            tokens, order = tokens.sort(dim=-1)
            mass = mass.gather(-1, order)
            ordered, places = mass.sort(dim=-1, descending=True, stable=True)
            ordered = torch.where(ordered.cumsum(dim=-1) - ordered < top_p, ordered, torch.zeros_like(ordered))
            kept = torch.zeros_like(mass).scatter(-1, places, ordered)
            return tokens, kept / kept.sum(dim=-1, keepdim=True)
    return None


def invert_cdf(probabilities: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Return, per row, the first place at which the cumulative probability exceeds the uniform.

    Args:
        probabilities: Shape (rows, tokens), float64.
        uniforms: Shape (rows,), float64 in [0, 1).

    Returns:
        Places, shape (rows,), int64; and margins |u - CDF| to the nearer end of the place's interval, shape (rows,): the
        numerical error that would flip the draw.
    """
    cumulative = probabilities.cumsum(dim=-1)
    draws = uniforms.unsqueeze(-1) * cumulative[:, -1:]  # rounding may leave the last sum a hair off 1
    places = torch.searchsorted(cumulative, draws, right=True).clamp(max=probabilities.shape[-1] - 1)
    if bool((probabilities.gather(-1, places) == 0).any()):  # never a token of probability zero at the end of the vocabulary
        last = probabilities.shape[-1] - 1 - (probabilities > 0).flip(-1).to(torch.uint8).argmax(dim=-1, keepdim=True)
        places = torch.minimum(places, last)
    upper = cumulative.gather(-1, places)
    lower = upper - probabilities.gather(-1, places)
    margins = torch.minimum(draws - lower, upper - draws).clamp(min=0)
    return places.squeeze(-1), margins.squeeze(-1)


def choose_tokens(logits: Tensor, uniforms: Tensor | None, temperature: float, top_k: int, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the next token of every row and its margin; temperature 0 is greedy, its margin the lead in probability.

    Args:
        logits: Shape (rows, vocabulary), float32.
        uniforms: Shape (rows,), float64; None when greedy.
    """
    if temperature == 0 or uniforms is None:
        best, tokens = logits.topk(2, dim=-1)
        total = logits.double().logsumexp(dim=-1, keepdim=True)
        lead = (best.double() - total).exp()
        return torch.where(best[:, 0] == best[:, 1], logits.argmax(dim=-1), tokens[:, 0]), lead[:, 0] - lead[:, 1]
    few = candidates(logits, temperature, top_k, top_p)
    if few is None:
        return invert_cdf(token_probabilities(logits, temperature, top_k, top_p), uniforms)
    places, margins = invert_cdf(few[1], uniforms)
    return few[0].gather(-1, places.unsqueeze(-1)).squeeze(-1), margins
