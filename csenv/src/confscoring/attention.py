"""Attention to a text that all rows share, without copying its keys and values: pure functions of tensors.

A softmax over two sets of keys is the softmax over their concatenation, so the scores are computed apart and put side by side:
for the shared text one matrix product per head over all rows (its keys are read once), for each row's own tokens one per row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attend(query: Tensor, keys: Tensor, values: Tensor, shared: tuple[Tensor, Tensor] | None = None, visible: Tensor | None = None) -> Tensor:
    """Return softmax(q k / sqrt(d)) v over the shared text and each row's own tokens, those up to the query's own position.

    As in Transformers, scores are in the model's type and the softmax is in float32. Query heads may share key heads
    (grouped-query attention, arXiv 2305.13245).

    Args:
        query: Shape (rows, heads, new, size): the newest tokens.
        keys, values: Shape (rows, key heads, own, size): each row's own tokens, the newest last.
        shared: Keys and values of the shared text, shape (key heads, length, size) each.
        visible: Shape (rows,), int64: how many tokens of the shared text a row sees; None: all of them.

    Returns:
        Shape (rows, heads, new, size).
    """
    rows, heads, new, size = query.shape
    groups, own = keys.shape[1], keys.shape[2]
    grouped = query.reshape(rows, groups, heads // groups * new, size) * (1 / math.sqrt(size))
    scores = grouped @ keys.transpose(2, 3)
    if new > 1:
        hidden = torch.ones(new, own, dtype=torch.bool, device=query.device).triu(own - new + 1)
        scores = scores.view(rows, groups, -1, new, own).masked_fill(hidden, -math.inf).view(scores.shape)
    if shared is None:
        out = _softmax(scores) @ values
        return out.view(rows, heads, new, size)
    length = shared[0].shape[1]
    by_group = grouped.transpose(0, 1).reshape(groups, -1, size)  # all rows' queries of a head are one matrix
    common = (by_group @ shared[0].transpose(1, 2)).view(groups, rows, -1, length)
    if visible is not None:
        unseen = torch.arange(length, device=query.device) >= visible.view(1, -1, 1, 1)
        common = common.masked_fill(unseen, -math.inf)
    weights = _softmax(torch.cat([common, scores.transpose(0, 1)], dim=-1))
    out = (weights[..., :length].reshape(groups, -1, length) @ shared[1]).view(groups, rows, -1, size).transpose(0, 1)
    out = out + weights[..., length:].transpose(0, 1) @ values
    return out.reshape(rows, heads, new, size)


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
