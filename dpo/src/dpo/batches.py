"""Token sequences to tensors, the pieces that fit into one forward, and the plans that say which sequences a step takes.

Two forms of a batch: packed, every prompt once and no padding (dpo.attention), or padded on the right, for models whose attention
cannot be replaced. Every model here is causal, so no token ever sees padding and no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo.attention import Layout, Part
from dpo.seeding import derive_seed
from dpo.tokenise import TokenSequence

# Grids of attention and of sums are padded to multiples of this: see dpo.attention.
_GRID = 32
# A packed row has at least so many tokens: a CPU multiplies smaller matrices in another order.
FEWEST_ROWS = 16


@dataclass(frozen=True)
class Batch:
    """Sequences for one forward, with the positions whose next token is a target.

    Attributes:
        input_ids: Token ids, zero where there is none. Shape: (rows, length); a packed batch has one row
        positions: Indices into the flattened (rows, length) of the positions that predict a target. Shape: (targets,)
        targets: The token ids that they predict. Shape: (targets,)
        places: Where each target stands in the flattened (sequences, width). Shape: (targets,)
        sequences, width: Number of sequences, and at least the targets of the longest.
        left_out: Targets that do not count where their sequence is the chosen, the rejected one; None: all count. Shape: (2, targets)
        position_ids: Of a packed batch: each token's position in its sequence. Shape: (1, length)
        layout: Of a packed batch: how attention takes it apart.
    """

    input_ids: Tensor
    positions: Tensor
    targets: Tensor
    places: Tensor
    sequences: int
    width: int
    left_out: Tensor | None = None
    position_ids: Tensor | None = None
    layout: Layout | None = None

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        parts: dict[str, Any] = {part.name: getattr(self, part.name) for part in fields(self)}
        return Batch(**{name: value.to(device) if isinstance(value, Tensor | Layout) else value for name, value in parts.items()})


@dataclass(frozen=True)
class Batching:
    """How sequences become batches.

    Attributes:
        packed: Packed, or padded.
        tokens: What one forward may hold: tokens, padding included; at least one sequence.
    """

    packed: bool
    tokens: int

    def split(self, sequences: Sequence[TokenSequence]) -> list[list[int]]:
        """Return indices of the sequences in pieces of one forward each; packed, responses to a prompt stay together."""
        if not self.packed:
            return bucket_by_length([len(sequence.ids) for sequence in sequences], self.tokens)
        families: dict[bytes, list[int]] = {}
        for index, sequence in enumerate(sequences):
            families.setdefault(_prompt(sequence), []).append(index)
        pieces: list[list[int]] = []
        held = self.tokens  # as if there were a full piece before
        for family in families.values():
            prompt = sequences[family[0]].prompt_length
            own = -1  # the piece that holds this prompt
            for index in family:
                more = sequences[index].targets - 1
                if held + more + (prompt if own != len(pieces) else 0) > self.tokens:
                    pieces.append([])
                    held = 0
                held += more + (prompt if own != len(pieces) else 0)
                own = len(pieces)
                pieces[-1].append(index)
        return pieces

    def collate(self, sequences: Sequence[TokenSequence]) -> Batch:
        """Return sequences as one batch."""
        return pack(sequences) if self.packed else pad(sequences)


def pad(sequences: Sequence[TokenSequence]) -> Batch:
    """Return the sequences side by side, padded on the right."""
    length = max(len(sequence.ids) for sequence in sequences)
    ids = np.zeros((len(sequences), length), dtype=np.int64)
    counted = np.zeros((len(sequences), length), dtype=bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = sequence.ids
        counted[row, sequence.prompt_length - 1 : len(sequence.ids) - 1] = True
    positions = np.flatnonzero(counted)  # never in the last column, so the target is the next element of the flat array
    return Batch(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(ids.reshape(-1)[positions + 1]), **_sums(sequences))


def pack(sequences: Sequence[TokenSequence]) -> Batch:
    """Return the sequences as one row: every distinct prompt, then every response without its last token, then zeros if that is very short."""
    prompts: dict[bytes, int] = {}
    parents = [prompts.setdefault(_prompt(sequence), len(prompts)) for sequence in sequences]
    first = [sequences[parents.index(number)] for number in range(len(prompts))]
    heads = [sequence.ids[: sequence.prompt_length] for sequence in first]
    tails = [sequence.ids[sequence.prompt_length : -1] for sequence in sequences]
    head_lengths, tail_lengths = [len(part) for part in heads], [len(part) for part in tails]
    ends = np.cumsum(head_lengths)
    starts = ends[-1] + np.cumsum([0, *tail_lengths])
    # A prompt's last token predicts the first of each of its responses.
    positions = [np.r_[ends[parent] - 1, start : start + length] for parent, start, length in zip(parents, starts, tail_lengths, strict=False)]
    order = [np.arange(length) for length in head_lengths]
    order += [np.arange(sequence.prompt_length, sequence.prompt_length + length) for sequence, length in zip(sequences, tail_lengths, strict=True)]
    responses, visible = None, None
    if any(tail_lengths):
        responses = _part(tail_lengths)
        own = responses.grid.shape[1]
        known = torch.zeros(len(prompts), _up(max(head_lengths)), dtype=torch.bool)
        for row, length in enumerate(head_lengths):
            known[row, :length] = True
        causal = torch.ones(own, own, dtype=torch.bool).tril()
        visible = torch.cat([known[parents][:, None].expand(-1, own, -1), causal.expand(len(sequences), -1, -1)], dim=2)[:, None]
    length = sum(head_lengths) + sum(tail_lengths)
    filled = max(0, FEWEST_ROWS - length)
    ids = np.concatenate([*heads, *tails, np.zeros(filled)]).astype(np.int64)
    return Batch(
        torch.from_numpy(ids)[None], torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate([sequence.ids[sequence.prompt_length :] for sequence in sequences]).astype(np.int64)), **_sums(sequences),
        position_ids=torch.from_numpy(np.concatenate([*order, np.zeros(filled, dtype=np.int64)]))[None],
        layout=Layout(_part(head_lengths), responses, torch.tensor(parents), visible),
    )  # fmt: skip


def _prompt(sequence: TokenSequence) -> bytes:
    return sequence.ids[: sequence.prompt_length].tobytes()


def _up(length: int) -> int:
    return -(-length // _GRID) * _GRID


def _part(lengths: Sequence[int]) -> Part:
    """Return the grid of rows of the given lengths, whose tokens follow each other."""
    length = _up(max(lengths))
    grid = np.zeros((len(lengths), length), dtype=np.int64)
    starts = np.cumsum([0, *lengths])
    for row, own in enumerate(lengths):
        grid[row, :own] = np.arange(starts[row], starts[row] + own)
    places = np.concatenate([np.arange(row * length, row * length + own) for row, own in enumerate(lengths)])
    return Part(torch.from_numpy(grid), torch.from_numpy(places))


def _sums(sequences: Sequence[TokenSequence]) -> dict[str, Any]:
    """Return the fields of a batch by which targets are summed per sequence."""
    width = _up(max(sequence.targets for sequence in sequences))
    places = np.concatenate([np.arange(row * width, row * width + sequence.targets) for row, sequence in enumerate(sequences)])
    left_out = None
    if any(sequence.left_out is not None for sequence in sequences):
        masks = [sequence.left_out or (np.zeros(sequence.targets, dtype=bool),) * 2 for sequence in sequences]
        left_out = torch.from_numpy(np.stack([np.concatenate([mask[role] for mask in masks]) for role in (0, 1)]))
    return {"places": torch.from_numpy(places), "sequences": len(sequences), "width": width, "left_out": left_out}


def bucket_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return indices in chunks of similar length whose padded size is at most ``tokens`` (or one sequence).

    Args:
        lengths: Tokens of each sequence.
        tokens: Size of a chunk: rows times the longest row.
    """
    chunks: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        # Ascending, so the newcomer is the longest of its chunk.
        if chunks and (len(chunks[-1]) + 1) * lengths[index] <= tokens:
            chunks[-1].append(index)
        else:
            chunks.append([index])
    return chunks


def plan_documents(lengths: Sequence[int], steps: int, tokens: int, seed: int) -> list[list[int]]:
    """Return, for each step, the documents of its batch: of one length as far as possible, one per row, never packed.

    Each epoch draws which documents of a length go together and the order of the batches anew. Packing documents into one
    row would let them attend to each other, which cost two thirds of what the small model learns.

    Args:
        lengths: Tokens of each document.
        steps: Number of batches; the documents are gone through as often as that takes.
        tokens: Size of a batch.
        seed: Seed of the order.

    Raises:
        ValueError: There are no documents.
    """
    if not lengths:
        raise ValueError("there are no documents to train on")
    plan: list[list[int]] = []
    epoch = 0
    while len(plan) < steps:
        draw = np.random.Generator(np.random.Philox(derive_seed(seed, "documents", epoch)))
        order = draw.permutation(len(lengths))
        chunks = bucket_by_length([lengths[index] for index in order], tokens)
        plan += [[int(order[place]) for place in chunks[chunk]] for chunk in draw.permutation(len(chunks))]
        epoch += 1
    return plan[:steps]
