"""Attention over packed sequences in which responses share the tokens of their prompt.

A packed row holds every distinct prompt once, then every response, with no padding between: all layers but attention see each
token once. Attention itself takes the row apart again: a prompt attends to itself, a response to its prompt and itself.

Its grids are padded to multiples of 32. On a CPU this makes the result of a sequence independent of what it is packed with, to
the bit (measured in float32 and bfloat16), so that log-probabilities may be stored and compared across batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dpo.row_moves import from_rows, repeat_rows, to_rows

NAME = "facttune_packed"

# Models with plain softmax attention over all keys, computed by Transformers' registered attention function.
_KNOWN = ("llama", "mistral", "qwen2", "qwen3", "olmo2", "gpt_neox")


@dataclass(frozen=True)
class Part:
    """Sequences of a packed row as a grid of rows.

    Attributes:
        grid: For each place of the grid the token of the part; 0 where there is none. Shape: (rows, length)
        places: For each token of the part its place in the flattened grid. Shape: (tokens,)
    """

    grid: Tensor
    places: Tensor

    def to(self, device: torch.device) -> Part:
        return Part(self.grid.to(device), self.places.to(device))


@dataclass(frozen=True)
class Layout:
    """How a packed row is taken apart: its prompts, then its responses without their last token, which predicts nothing.

    Attributes:
        prompts, responses: The two parts; there may be no response longer than one token, and then no second part.
        parents: The prompt of each response. Shape: (responses,)
        visible: Which keys a response's tokens see: its prompt's, then its own up to themselves.
            Shape: (responses, 1, response length, prompt length + response length), bool
    """

    prompts: Part
    responses: Part | None
    parents: Tensor
    visible: Tensor | None

    def to(self, device: torch.device) -> Layout:
        return Layout(
            self.prompts.to(device), self.responses.to(device) if self.responses else None, self.parents.to(device),
            None if self.visible is None else self.visible.to(device),
        )  # fmt: skip


def attend(query: Tensor, keys: Tensor, values: Tensor, layout: Layout, scale: float | None = None) -> Tensor:
    """Return softmax(q k * scale) v of a packed row.

    Args:
        query: Shape: (tokens, heads, size)
        keys, values: Shape: (tokens, key heads, size); query heads may share them (grouped-query attention, arXiv 2305.13245).
        layout: How the row is taken apart.
        scale: 1 / sqrt(size) if None.

    Returns:
        Shape: (tokens, heads, size)
    """
    heads = query.shape[1]
    split = len(layout.prompts.places)
    end = split + (len(layout.responses.places) if layout.responses is not None else 0)
    asked, own_keys, own_values = (_rows(part[:split], layout.prompts, heads) for part in (query, keys, values))
    out = [_tokens(F.scaled_dot_product_attention(asked, own_keys, own_values, is_causal=True, scale=scale), layout.prompts)]
    if layout.responses is not None:
        asked, more_keys, more_values = (_rows(part[split:end], layout.responses, heads) for part in (query, keys, values))
        seen = [torch.cat([repeat_rows(own, layout.parents), more], dim=2) for own, more in ((own_keys, more_keys), (own_values, more_values))]
        out.append(_tokens(F.scaled_dot_product_attention(asked, *seen, attn_mask=layout.visible, scale=scale), layout.responses))
    return F.pad(torch.cat(out), (0, 0, 0, 0, 0, len(query) - end))


def _rows(tokens: Tensor, part: Part, heads: int) -> Tensor:
    """Return (tokens, heads or key heads, size) as (rows, heads, length, size)."""
    rows = to_rows(tokens, part.grid, part.places).transpose(1, 2)
    return rows if rows.shape[1] == heads else rows.repeat_interleave(heads // rows.shape[1], dim=1)


def _tokens(rows: Tensor, part: Part) -> Tensor:
    return from_rows(rows.transpose(1, 2), part.grid, part.places)


def can_pack(model: Any) -> bool:
    """Return whether a model's attention can be replaced by `attend`: no sliding window, no softcap, no bias by position."""
    config = model.config
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return config.model_type in _KNOWN and window is None and hasattr(model, "set_attn_implementation")


def register() -> None:
    """Make the attention known to Transformers; it makes no mask for a name that it has no mask function for."""
    from transformers import AttentionInterface

    def forward(
        _module: Any, query: Tensor, keys: Tensor, values: Tensor, _mask: None, scaling: float | None = None, *, layout: Layout, **_: Any
    ) -> tuple[Tensor, None]:
        query, keys, values = (part[0].transpose(0, 1) for part in (query, keys, values))  # a packed row is a batch of one
        return attend(query, keys, values, layout, scaling).unsqueeze(0), None

    AttentionInterface.register(NAME, forward)
