"""Token sequences to tensors, and the plans that say which sequences a step takes.

Rows are padded on the right and every model here is causal, so no token ever sees padding and no attention mask is
needed: only positions that predict a target leave the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpo.seeding import derive_seed
from dpo.tokenise import TokenSequence


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences side by side, with the positions whose next token is a target.

    Attributes:
        input_ids: Token ids, zero where there is none. Shape: (rows, length)
        positions: Indices into the flattened (rows, length) of the positions that predict a target. Shape: (targets,)
        targets: The token ids that they predict. Shape: (targets,)
    """

    input_ids: Tensor
    positions: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> SequenceBatch:
        if device.type == "cpu":
            return self
        return SequenceBatch(*(part.to(device, non_blocking=True) for part in (self.input_ids, self.positions, self.targets)))


def stack(sequences: Sequence[TokenSequence]) -> SequenceBatch:
    """Return the sequences as one padded batch."""
    length = max(len(sequence.ids) for sequence in sequences)
    ids = np.zeros((len(sequences), length), dtype=np.int64)
    counted = np.zeros((len(sequences), length), dtype=bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = sequence.ids
        counted[row, sequence.prompt_length - 1 : len(sequence.ids) - 1] = True
    positions = np.flatnonzero(counted)  # never in the last column, so the target is the next element of the flat array
    return SequenceBatch(torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(ids.reshape(-1)[positions + 1]))


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
