"""Text to token ids: BOS once, EOS once, the prompt marked off.

Prompt and response are tokenised together and split where the prompt ends, so that training sees the very tokens that
generation produces. (The public trainer tokenises ``' ' + response`` alone, which gives SentencePiece models an extra
space token, and adds no BOS although sampling does.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from volume.errors import UsageError

Ids: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
# Parts of a response as (start, end) in characters: those left out where it is the chosen one, and where it is the rejected one.
RoleSpans = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """Token ids of a prompt and its response.

    Attributes:
        ids: All token ids, BOS and EOS included. Shape: (length,), int32.
        prompt_length: Leading ids that are no target, BOS included; at least 1, since nothing predicts the first token.
        left_out: Targets that count in no log-probability where this is a pair's chosen, and where it is its rejected response;
            None: all count in both. Two of shape (targets,).
    """

    ids: Ids
    prompt_length: int
    left_out: tuple[Mask, Mask] | None = None

    @property
    def targets(self) -> int:
        """Tokens that count in losses and log-probabilities, those left out in one role or the other included."""
        return len(self.ids) - self.prompt_length

    @property
    def key(self) -> str:
        """Hash of the content: equal keys mean equal log-probabilities under the same weights."""
        content = self.prompt_length.to_bytes(4, "little") + self.ids.tobytes()
        if self.left_out is not None:
            content += b"left out" + b"".join(mask.tobytes() for mask in self.left_out)
        return hashlib.sha256(content).hexdigest()[:32]


class Tokenizer(Protocol):
    """What is asked of a Transformers tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...

    def convert_tokens_to_ids(self, tokens: str) -> Any: ...


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
        tokenizer: A Transformers tokenizer. It says whether BOS stands before a text; special tokens are put here.
        max_length: Tokens of prompt and response together.
        max_prompt_length: Tokens that the prompt may keep when both do not fit.
        separator: What stands between prompt and response; None: one space unless there is white space already.
        ending: The token that ends a response, "" for the tokenizer's EOS: some chat models end a turn with another.
        counts: What was truncated so far.
    """

    tokenizer: Tokenizer
    max_length: int
    max_prompt_length: int
    separator: str | None = None
    ending: str = ""
    counts: TruncationCounts = field(default_factory=TruncationCounts)

    def __post_init__(self) -> None:
        end = self.tokenizer.convert_tokens_to_ids(self.ending) if self.ending else self.tokenizer.eos_token_id
        if end is None:
            raise UsageError("the tokenizer has no EOS token; set eos_token in its tokenizer_config.json")
        if not 1 <= self.max_prompt_length < self.max_length:
            raise UsageError(f"max_prompt_length = {self.max_prompt_length}: expected 1 to max_length - 1 = {self.max_length - 1}")
        self._bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        self._eos = [end]

    def responses(self, texts: Sequence[tuple[str, str]], spans: Sequence[RoleSpans | None] | None = None) -> list[TokenSequence]:
        """Tokenise (prompt, response) pairs.

        BOS stands before a prompt where the tokenizer puts it itself, since the prompts were sampled from so.

        Args:
            texts: The pairs.
            spans: For each pair the parts of its response that are left out; None for none.

        Raises:
            UsageError: There are parts to leave out, and the tokenizer does not say which characters a token stands for.
        """
        prompts = sorted({prompt for prompt, _ in texts})
        prompt_ids = dict(zip(prompts, self._encode(prompts), strict=True))
        joint = [join(prompt, response, self.separator) for prompt, response in texts]
        bos = self._bos if puts_bos(self.tokenizer) else []
        sequences = [self._assemble(prompt_ids[prompt], ids, bos) for (prompt, _), ids in zip(texts, self._encode(joint), strict=True)]
        for index, parts in enumerate(spans or ()):
            if parts is not None and any(parts):
                sequences[index] = self._leave_out(sequences[index], joint[index], len(joint[index]) - len(texts[index][1]), parts)
        return [sequence for sequence, _ in sequences]

    def documents(self, texts: Sequence[str]) -> list[TokenSequence]:
        """Tokenise whole documents: every token after the first, which is BOS where the tokenizer knows one, is a target."""
        return [self._assemble([], ids, self._bos)[0] for ids in self._encode(texts)]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is not None:  # the same ids as the call below at a fraction of its time
            return [encoding.ids for encoding in fast.encode_batch(list(texts), add_special_tokens=False)]
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def _assemble(self, prompt: list[int], joint: list[int], bos: list[int]) -> tuple[TokenSequence, int]:
        """Split at the prompt's end, cut to the limits, add BOS and EOS; return also which of the joint ids is the first target."""
        first = split = common_prefix(prompt, joint)
        self.counts.boundaries_moved += split < len(prompt)
        prompt, response = joint[:split], joint[split:]
        if bos and (prompt or response)[:1] != bos:  # a chat form may bring its own
            prompt = bos + prompt
        if response[-1:] != self._eos:
            response = response + self._eos
        if not prompt:  # no BOS, no prompt: the first token has no predecessor
            prompt, response, first = response[:1], response[1:], 1
        if len(prompt) + len(response) > self.max_length:
            prompt, response = self._cut(prompt, response)
        return TokenSequence(np.array(prompt + response, dtype=np.int32), len(prompt)), first

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

    def _leave_out(self, assembled: tuple[TokenSequence, int], joint: str, start: int, parts: RoleSpans) -> tuple[TokenSequence, int]:
        """Mark the targets that overlap parts of the response, which starts at the character ``start``. The last target, EOS, never does."""
        sequence, first = assembled
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise UsageError("masked_spans: this tokenizer does not say which characters a token stands for; a tokenizer.json among its files would")
        offsets = fast.encode(joint, add_special_tokens=False).offsets[first : first + max(0, sequence.targets - 1)]
        masks = [overlapping(joint, offsets, [(start + begin, start + end) for begin, end in part]) for part in parts]
        if not any(mask.any() for mask in masks):  # all of it cut off
            return assembled
        chosen, rejected = (np.append(mask, np.zeros(sequence.targets - len(mask), dtype=bool)) for mask in masks)
        return TokenSequence(sequence.ids, sequence.prompt_length, (chosen, rejected)), first


def puts_bos(tokenizer: Tokenizer) -> bool:
    """Return whether a tokenizer puts BOS before a text by itself. Many know a BOS token that their models never saw there."""
    ids: list[int] = tokenizer([""], add_special_tokens=True)["input_ids"][0]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def join(prompt: str, response: str, separator: str | None = None) -> str:
    """Return prompt and response as one text.

    Args:
        prompt: The prompt.
        response: The response.
        separator: What stands between them; None: one space unless there is white space already.
    """
    if separator is None:
        separator = "" if not prompt or prompt[-1].isspace() or response[:1].isspace() else " "
    return f"{prompt}{separator}{response}" if response else prompt


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading ids are the same; the prompt's length unless a merge crosses its end."""
    if list(second[: len(first)]) == list(first):
        return len(first)
    return next((index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


def overlapping(text: str, tokens: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Mask:
    """Return which tokens share a character with a span.

    White space at a token's ends is not counted: a word's token has the space before it, which belongs to no sentence.

    Args:
        text: The text.
        tokens: (start, end) of each token in characters.
        spans: (start, end) in characters.
    """
    mask = np.zeros(len(tokens), dtype=bool)
    for index, (start, end) in enumerate(tokens):
        part = text[start:end]
        if part.strip():
            start, end = end - len(part.lstrip()), start + len(part.rstrip())
        mask[index] = any(start < stop and begin < end for begin, stop in spans)
    return mask
