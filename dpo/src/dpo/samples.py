"""What a policy writes while it is trained: the length of its samples, and how far it has gone from the reference.

The reference is in memory only before the first step, so its own samples are drawn then and kept with their log-probabilities.
On them log pi_ref(y) - log pi(y) averages to the divergence KL(pi_ref || pi) of whole responses, in nats: no sample of the policy
and no second model is needed. (KL(pi || pi_ref), of the policy's own samples, would need the reference again.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo.logprobs import Policy
from dpo.processes import Processes
from dpo.seeding import derive_seed
from dpo.tokenise import TokenSequence

_ROWS = 64  # prompts side by side


@dataclass(frozen=True)
class Watch:
    """What is sampled, and what it is compared with.

    Attributes:
        prompts: Prompts as token ids.
        new_tokens: Tokens of a response at most.
        seed: Seed of the samples.
        end: The token that ends a response.
    """

    prompts: Sequence[np.ndarray[Any, np.dtype[np.int32]]]
    new_tokens: int
    seed: int
    end: int

    def sample(self, policy: Policy, processes: Processes, zero3: bool = False) -> list[TokenSequence]:
        """Draw one response to each prompt at temperature 1; every process ends with all of them.

        Args:
            policy: The policy itself, not the engine around it.
            processes: This process among the others.
            zero3: Whether each process holds a part of the weights only: then all run until the last has ended.
        """
        mine = range(processes.rank, len(self.prompts), processes.world)
        drawn: list[tuple[int, list[int]]] = []
        with policy.own_attention() as model:
            for start in range(0, -(-len(self.prompts) // processes.world), _ROWS):
                rows = mine[start : start + _ROWS]
                drawn += zip(rows, self._generate(model, rows or range(1), processes, zero3), strict=False)
        if processes.world > 1:
            gathered: list[list[tuple[int, list[int]]]] = [[] for _ in range(processes.world)]
            torch.distributed.all_gather_object(gathered, drawn)
            drawn = [item for part in gathered for item in part]
        return [
            TokenSequence(np.concatenate([self.prompts[row], np.array(tokens, dtype=np.int32)]), len(self.prompts[row])) for row, tokens in sorted(drawn)
        ]

    def _generate(self, model: Any, rows: Sequence[int], processes: Processes, zero3: bool) -> list[list[int]]:
        """Return the new tokens of each prompt, up to the end token and with it."""
        prompts = [self.prompts[row] for row in rows]
        length = max(len(prompt) for prompt in prompts)
        ids = np.full((len(prompts), length), self.end, dtype=np.int64)
        known = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = prompt
            known[row, length - len(prompt) :] = 1
        uniforms = np.stack([np.random.Generator(np.random.Philox(derive_seed(self.seed, "watch", row))).random(self.new_tokens) for row in rows])
        with torch.no_grad():
            out = model.generate(
                input_ids=torch.from_numpy(ids).to(processes.device), attention_mask=torch.from_numpy(known).to(processes.device),
                do_sample=False, max_new_tokens=self.new_tokens, pad_token_id=self.end, eos_token_id=self.end, synced_gpus=zero3 and processes.world > 1,
                logits_processor=[_Draw(torch.from_numpy(uniforms).to(processes.device), length)],
            )[:, length:].tolist()  # fmt: skip
        return [tokens[: tokens.index(self.end) + 1] if self.end in tokens else tokens for tokens in out]


class _Draw:
    """Draws tokens by uniform numbers that belong to prompt and position: what is batched together does not matter."""

    def __init__(self, uniforms: Tensor, start: int) -> None:
        self.uniforms, self.start = uniforms, start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores by which only the drawn token is possible: the first whose cumulative probability exceeds the number."""
        cumulative = scores.double().softmax(-1).cumsum(-1)
        level = self.uniforms[:, input_ids.shape[1] - self.start, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, level, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -math.inf).scatter(1, drawn, 0.0)


def watch_figures(drawn: Sequence[TokenSequence], end: int, reference: Tensor, policy: Tensor) -> dict[str, float]:
    """Return mean length and share of empty samples of the policy, and its divergence from the reference.

    Args:
        drawn: Samples of the policy.
        end: The token that ends a response, which is not counted.
        reference: log pi_ref of the reference's own samples. Shape: (samples,)
        policy: log pi of the same. Shape: (samples,)
    """
    lengths = [int((sequence.ids[sequence.prompt_length :] != end).sum()) for sequence in drawn]
    return {
        "kl": float((reference - policy).mean()),
        "sampled_tokens": sum(lengths) / len(lengths),
        "sampled_empty": sum(length == 0 for length in lengths) / len(lengths),
    }
