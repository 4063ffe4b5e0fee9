"""Where a sampled text ends: at a stop string, which is cut off with all that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Stops:
    """Finds stop strings in texts that grow token by token.

    Args:
        tokenizer: A Hugging Face tokenizer.
        vocabulary: Number of token ids that the model may yield.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = max(len(tokenizer), vocabulary)
        self._tables: dict[tuple[str, ...], list[bool]] = {}

    def ended(self, tokens: Sequence[int], stop: tuple[str, ...]) -> bool:
        """Return whether the newest token has completed a stop string; a text is decoded only where it can have."""
        if not stop or not self._table(stop)[tokens[-1]]:
            return False
        text = self._decode(tokens)
        return any(string in text for string in stop)

    def cut(self, tokens: Sequence[int], stop: tuple[str, ...]) -> str:
        """Return the text before the first stop string, without white space around it."""
        text = self._decode(tokens)
        for string in stop:
            text = text.split(string, 1)[0]
        return text.strip()

    def raw(self, tokens: Sequence[int], stop: tuple[str, ...]) -> str | None:
        """Return the text uncut, None where there is no stop string: then nothing is cut."""
        return self._decode(tokens) if stop else None

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _table(self, stop: tuple[str, ...]) -> list[bool]:
        """Return, per token id, whether it can complete one of the strings."""
        if stop not in self._tables:
            ends = {string[-1] for string in stop}
            # A token's own decoding may lack its space, so a string that ends in white space may end anywhere.
            spaces = any(end.isspace() and end != "\n" for end in ends)
            self._tables[stop] = [spaces or bool(ends & set(self._tokenizer.decode([token]))) for token in range(self._vocabulary)]
        return self._tables[stop]
