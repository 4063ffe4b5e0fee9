"""The plain pairwise loop, as the public trainer runs it: both sides of every pair, padded to the longest, policy and reference
one after the other in every step, log-probabilities from whole logits in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpo.losses import preference_loss, sequence_logps
from dpo.tokenise import TokenSequence


def pad_rows(sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, attention mask and labels (-100 on prompts and padding), padded on the right. Shapes: (sequences, longest)"""
    shape = len(sequences), max(len(sequence.ids) for sequence in sequences)
    ids, mask, labels = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long), torch.full(shape, -100)
    for row, sequence in enumerate(sequences):
        length = len(sequence.ids)
        ids[row, :length] = torch.from_numpy(sequence.ids)
        mask[row, :length] = 1
        labels[row, sequence.prompt_length : length] = ids[row, sequence.prompt_length : length]
    return ids, mask, labels


def pairwise_loss(policy: Any, reference: Any, sequences: Sequence[TokenSequence], pairs: Sequence[tuple[int, int]], beta: float = 0.1) -> Tensor:
    """Return the mean DPO loss of a batch of pairs.

    Args:
        policy: The model that is trained.
        reference: The model that it started as, another copy.
        sequences: What the pairs index.
        pairs: (chosen, rejected).
        beta: As in `preference_loss`.
    """
    ids, mask, labels = pad_rows([sequences[chosen] for chosen, _ in pairs] + [sequences[rejected] for _, rejected in pairs])
    logps = sequence_logps(policy(input_ids=ids, attention_mask=mask, use_cache=False).logits.float(), labels)
    with torch.no_grad():
        expected = sequence_logps(reference(input_ids=ids, attention_mask=mask, use_cache=False).logits.float(), labels)
    return preference_loss(*logps.chunk(2), *expected.chunk(2), beta=beta).losses.mean()
