"""Keys and values while texts are sampled: those of a shared text once, those of each row in a buffer that is allocated once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from confscoring.attention import attend


@dataclass
class LayerCache:
    """One layer's keys and values.

    Attributes:
        room: How many tokens a row may have of its own.
        shared: Keys and values of the shared text, shape (key heads, length, size) each.
        visible: Shape (rows,): how many tokens of the shared text a row sees; None: all.
        keys, values: Each row's own, shape (rows, key heads, room, size); made when the first tokens come.
        rows, filled: How much of the buffers is in use.
    """

    room: int
    shared: tuple[Tensor, Tensor] | None = None
    visible: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None
    rows: int = 0
    filled: int = 0

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Take the keys and values of the newest tokens, shape (rows, key heads, new, size)."""
        if self.keys is None or self.values is None:
            self.rows = keys.shape[0]
            shape = (self.rows, keys.shape[1], self.room, keys.shape[3])
            self.keys, self.values = keys.new_empty(shape), values.new_empty(shape)
        new = slice(self.filled, self.filled + keys.shape[2])
        self.keys[: self.rows, :, new], self.values[: self.rows, :, new] = keys, values
        self.filled = new.stop

    def attend(self, query: Tensor) -> Tensor:
        """Return the attention of the newest tokens, shape (rows, heads, new, size)."""
        keys, values = self.own()
        visible = self.visible
        if visible is not None and visible.device != query.device:  # a model shared out over several cards
            visible = self.visible = visible.to(query.device)
        return attend(query, keys, values, self.shared, visible[: self.rows] if visible is not None else None)

    def own(self) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the rows' own tokens so far."""
        assert self.keys is not None and self.values is not None
        return self.keys[: self.rows, :, : self.filled], self.values[: self.rows, :, : self.filled]

    def repeat(self, times: int, room: int) -> LayerCache:
        """Return a cache in which every row stands ``times`` times, with room for so many tokens."""
        keys, values = self.own()
        visible = self.visible.repeat_interleave(times) if self.visible is not None else None
        child = LayerCache(room, self.shared, visible)
        child.append(keys.repeat_interleave(times, dim=0), values.repeat_interleave(times, dim=0))
        return child

    def fill(self, holes: Tensor, movers: Tensor, rows: int) -> None:
        """Keep ``rows`` rows: those at ``movers`` go to the places ``holes``. Only they are copied, nothing is allocated anew."""
        assert self.keys is not None and self.values is not None
        if len(holes):
            here, there = holes.to(self.keys.device), movers.to(self.keys.device)
            self.keys[here, :, : self.filled] = self.keys[there, :, : self.filled]
            self.values[here, :, : self.filled] = self.values[there, :, : self.filled]
            if self.visible is not None:
                here, there = holes.to(self.visible.device), movers.to(self.visible.device)
                self.visible[here] = self.visible[there]
        self.rows = rows


@dataclass
class RowCache:
    """All layers' keys and values. It has what the models of Transformers 5 ask of a cache."""

    layers: list[LayerCache] = field(default_factory=list)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[LayerCache, LayerCache]:
        """Take a layer's newest keys and values; return the layer's cache in place of both: our attention reads it."""
        self.layers[layer].append(keys, values)
        return self.layers[layer], self.layers[layer]

    def get_seq_length(self, layer: int = 0) -> int:
        """Return how many own tokens every row has."""
        return self.layers[layer].filled

    def shared(self) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values of its only row, layer by layer: a text that others share."""
        return [(keys[0], values[0]) for keys, values in (layer.own() for layer in self.layers)]

    def repeat(self, times: int, room: int) -> RowCache:
        """Return a cache in which every row stands ``times`` times; the layers of this one are given up one by one."""
        children = []
        for index, layer in enumerate(self.layers):
            children.append(layer.repeat(times, room))
            self.layers[index] = LayerCache(0)
        return RowCache(children)

    def fill(self, holes: Tensor, movers: Tensor, rows: int) -> None:
        """Keep ``rows`` rows, see LayerCache.fill."""
        for layer in self.layers:
            layer.fill(holes, movers, rows)
