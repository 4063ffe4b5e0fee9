"""What the two benchmarks of the DPO step run on: a random Llama, and prompts with n responses and all their pairs.

Texts are words "w17" of a tokenizer that has one word per token, so a trainer that wants text ends up with these very ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpo.preferences import build_pairs, split_batches, visit_pairs
from dpo.tokenise import TokenSequence

BOS, EOS, FIRST_WORD = 1, 2, 3
RESPONSES, PAIRS = 10, 45  # of one prompt: n, and n (n - 1) / 2


@dataclass(frozen=True)
class Shape:
    """A Llama's sizes and the lengths of its texts.

    Attributes:
        hidden, layers, heads, inner, vocabulary: As in a Llama's configuration; ``inner`` is the feed-forward size.
        prompt: Tokens of every prompt, BOS included.
        shortest: Tokens of the shortest response, EOS included.
        longest: Tokens of the longest.
    """

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    prompt: int
    shortest: int
    longest: int

    def config(self) -> Any:
        """Return the Transformers configuration."""
        import transformers

        return transformers.LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=self.inner, num_hidden_layers=self.layers,
            num_attention_heads=self.heads, num_key_value_heads=self.heads, max_position_embeddings=2048, tie_word_embeddings=False,
            bos_token_id=BOS, eos_token_id=EOS, pad_token_id=0,
        )  # fmt: skip


@dataclass(frozen=True)
class Groups:
    """Pairs in the public code's order: a prompt's pairs together.

    Attributes:
        sequences: One per response, prompt and response joined.
        pairs: (chosen, rejected) as indices into ``sequences``, in visiting order.
    """

    sequences: Sequence[TokenSequence]
    pairs: Sequence[tuple[int, int]]

    def plan(self, batch: int, steps: int) -> list[list[tuple[int, int]]]:
        """Return the pairs of each step."""
        batches = split_batches([list(self.pairs)], batch, drop_last=True)[:steps]
        if len(batches) < steps:
            raise ValueError(f"{len(self.pairs)} pairs are too few for {steps} steps of {batch}")
        return batches

    def texts(self, pairs: Sequence[tuple[int, int]]) -> dict[str, list[str]]:
        """Return prompt, chosen and rejected as text, without BOS and EOS: tokenizer and trainer put them there."""
        columns: dict[str, list[str]] = {"prompt": [], "chosen": [], "rejected": []}
        for chosen, rejected in pairs:
            left, right = self.sequences[chosen], self.sequences[rejected]
            columns["prompt"].append(words(left.ids[1 : left.prompt_length]))
            columns["chosen"].append(" " + words(left.ids[left.prompt_length : -1]))
            columns["rejected"].append(" " + words(right.ids[right.prompt_length : -1]))
        return columns


def words(ids: Sequence[int] | np.ndarray[Any, Any]) -> str:
    """Return the text of token ids."""
    return " ".join(f"w{token}" for token in ids)


def make_groups(shape: Shape, prompts: int, seed: int = 0) -> Groups:
    """Return random prompts with 10 random responses each, of lengths uniform between the shape's, and all 45 pairs of each."""
    draw = np.random.default_rng(seed)
    sequences = []
    for _ in range(prompts):
        prompt = draw.integers(FIRST_WORD, shape.vocabulary, shape.prompt - 1)
        for _ in range(RESPONSES):
            response = draw.integers(FIRST_WORD, shape.vocabulary, int(draw.integers(shape.shortest, shape.longest + 1)) - 1)
            sequences.append(TokenSequence(np.concatenate([[BOS], prompt, response, [EOS]]).astype(np.int32), shape.prompt))
    names = [f"{index}" for index in range(RESPONSES)]
    rewards = {f"{prompt}": {"question": {"responses": names, "reward": draw.random(RESPONSES).tolist()}} for prompt in range(prompts)}
    found, _ = build_pairs(rewards, "reward")
    (visited,) = visit_pairs(found, "grouped", 1, seed)
    return Groups(sequences, [(prompt * RESPONSES + chosen, prompt * RESPONSES + rejected) for prompt, chosen, rejected in visited])


def write_model(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write a random float32 Llama with a tokenizer of whole words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    transformers.logging.disable_progress_bar()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    known = {name: index for index, name in enumerate(names.values())} | {f"w{index}": index for index in range(FIRST_WORD, shape.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(seed)
    transformers.LlamaForCausalLM(shape.config()).save_pretrained(folder)
