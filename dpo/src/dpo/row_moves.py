"""Moving tokens between a packed row and a grid of rows, with gradients that are the same from run to run.

PyTorch's own backward of an indexed read adds with atomics on a GPU, in no fixed order. Here every move is one-to-one, or a
repetition whose gradient is a matrix product, so that both directions only read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class _ToRows(Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, grid: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return tokens.index_select(0, grid.flatten()).view(*grid.shape, *tokens.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradient.flatten(0, 1).index_select(0, places), None, None


class _FromRows(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, grid: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(grid, places)
        return rows.flatten(0, 1).index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        grid, places = ctx.saved_tensors
        out = gradient.new_zeros(grid.numel(), *gradient.shape[1:])
        out[places] = gradient  # each place once
        return out.view(*grid.shape, *gradient.shape[1:]), None, None


class _RepeatRows(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, parents: Tensor) -> Tensor:
        ctx.save_for_backward(parents)
        ctx.rows = len(rows)
        return rows.index_select(0, parents)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (parents,) = ctx.saved_tensors
        family = (torch.arange(ctx.rows, device=parents.device)[:, None] == parents).to(gradient.dtype)
        return (family @ gradient.flatten(1)).view(ctx.rows, *gradient.shape[1:]), None


def to_rows(tokens: Tensor, grid: Tensor, places: Tensor) -> Tensor:
    """Return the tokens as rows; places without a token hold the first one, and nobody may look at them.

    Args:
        tokens: Shape: (tokens, ...)
        grid: The token at each place. Shape: (rows, length)
        places: The place of each token in the flattened grid. Shape: (tokens,)

    Returns:
        Shape: (rows, length, ...)
    """
    result: Tensor = _ToRows.apply(tokens, grid, places)
    return result


def from_rows(rows: Tensor, grid: Tensor, places: Tensor) -> Tensor:
    """Return the tokens of rows, shape (tokens, ...); the inverse of `to_rows`."""
    result: Tensor = _FromRows.apply(rows, grid, places)
    return result


def repeat_rows(rows: Tensor, parents: Tensor) -> Tensor:
    """Return row ``parents[i]`` as row i. Shape: (len(parents), ...)"""
    result: Tensor = _RepeatRows.apply(rows, parents)
    return result
