"""Text to token ids: BOS once, EOS once, the prompt marked off.

Prompt and response are tokenised together and split where the prompt ends, so that training sees the very tokens that
generation produces. (The public trainer tokenises ``' ' + response`` alone, which gives SentencePiece models an extra
space token, and adds no BOS although sampling does.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from volume.errors import UsageError


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """Token ids of a prompt and its response.

    Attributes:
        ids: All token ids, BOS and EOS included. Shape: (length,), int32.
        prompt_length: Leading ids that are no target, BOS included; at least 1, since nothing predicts the first token.
    """

    ids: np.ndarray[Any, np.dtype[np.int32]]
    prompt_length: int

    @property
    def targets(self) -> int:
        """Tokens that count in losses and log-probabilities."""
        return len(self.ids) - self.prompt_length

    @property
    def key(self) -> str:
        """Hash of the content: equal keys mean equal log-probabilities under the same weights."""
        return hashlib.sha256(self.prompt_length.to_bytes(4, "little") + self.ids.tobytes()).hexdigest()[:32]


class Tokenizer(Protocol):
    """What is asked of a Transformers tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...


@dataclass
class TruncationCounts:
    """How many texts lost tokens, and how many prompts did not end on a token boundary."""

    responses_truncated: int = 0
    prompts_truncated: int = 0
    boundaries_moved: int = 0


@dataclass
class ResponseTokeniser:
    """Tokenises prompts with their responses.

    Attributes:
        tokenizer: A Transformers tokenizer; its own adding of special tokens is not used.
        max_length: Tokens of prompt and response together.
        max_prompt_length: Tokens that the prompt may keep when both do not fit.
        counts: What was truncated so far.
    """

    tokenizer: Tokenizer
    max_length: int
    max_prompt_length: int
    counts: TruncationCounts = field(default_factory=TruncationCounts)

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise UsageError("the tokenizer has no EOS token; set eos_token in its tokenizer_config.json")
        if not 1 <= self.max_prompt_length < self.max_length:
            raise UsageError(f"max_prompt_length = {self.max_prompt_length}: expected 1 to max_length - 1 = {self.max_length - 1}")
        self._bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        self._eos = [self.tokenizer.eos_token_id]

    def responses(self, texts: Sequence[tuple[str, str]]) -> list[TokenSequence]:
        """Tokenise (prompt, response) pairs."""
        prompts = sorted({prompt for prompt, _ in texts})
        prompt_ids = dict(zip(prompts, self._encode(prompts), strict=True))
        joint = self._encode([join(prompt, response) for prompt, response in texts])
        return [self._assemble(prompt_ids[prompt], ids) for (prompt, _), ids in zip(texts, joint, strict=True)]

    def documents(self, texts: Sequence[str]) -> list[TokenSequence]:
        """Tokenise whole documents: every token after the first is a target."""
        return [self._assemble([], ids) for ids in self._encode(texts)]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is not None:  # the same ids as the call below at a fraction of its time
            return [encoding.ids for encoding in fast.encode_batch(list(texts), add_special_tokens=False)]
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def _assemble(self, prompt: list[int], joint: list[int]) -> TokenSequence:
        """Split at the prompt's end, cut to the limits, add BOS and EOS."""
        split = common_prefix(prompt, joint)
        self.counts.boundaries_moved += split < len(prompt)
        prompt, response = joint[:split], joint[split:]
        if self._bos and (prompt or response)[:1] != self._bos:  # a chat form brings its own
            prompt = self._bos + prompt
        if response[-1:] != self._eos:
            response = response + self._eos
        if not prompt:  # no BOS, no prompt: the first token has no predecessor
            prompt, response = response[:1], response[1:]
        if len(prompt) + len(response) > self.max_length:
            prompt, response = self._cut(prompt, response)
        return TokenSequence(np.array(prompt + response, dtype=np.int32), len(prompt))

    def _cut(self, prompt: list[int], response: list[int]) -> tuple[list[int], list[int]]:
        """Shorten the prompt to its limit from the left (its end asks the question), then the response, keeping EOS."""
        if len(prompt) > self.max_prompt_length:
            self.counts.prompts_truncated += 1
            kept_bos = self._bos if prompt[:1] == self._bos else []
            prompt = kept_bos + prompt[len(prompt) - self.max_prompt_length + len(kept_bos) :]
        room = self.max_length - len(prompt)
        if len(response) > room:
            self.counts.responses_truncated += 1
            response = response[: room - 1] + self._eos
        return prompt, response


def join(prompt: str, response: str) -> str:
    """Return prompt and response as one text, with one space between unless there is white space already."""
    if not response or not prompt or prompt[-1].isspace() or response[0].isspace():
        return prompt + response
    return f"{prompt} {response}"


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading ids are the same; the prompt's length unless a merge crosses its end."""
    if list(second[: len(first)]) == list(first):
        return len(first)
    return next((index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
