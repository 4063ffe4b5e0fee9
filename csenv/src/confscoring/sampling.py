"""What a sampler is: prompts in, texts out, whether the model is in a folder or behind a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from volume.errors import ItemError
from volume.settings import SamplingSettings


@dataclass(frozen=True)
class Prompt:
    """One prompt to sample from.

    Attributes:
        item: Identifies its draws; no two prompts of a dataset may share one.
        text: The prompt; the settings' few-shot prefix goes before it.
        max_new_tokens: At most so many tokens, where it is less than the settings'.
    """

    item: str
    text: str
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Sample:
    """A sampled text.

    Attributes:
        text: Cut before the stop string, and stripped.
        tokens: Its length in tokens; the token of the end is not counted.
        margin: Its smallest margin |u - CDF|, the numerical error that could have changed it; None where a server sampled it.
        raw: The text as the model wrote it, stop string and all; None where the settings have no stop string.
    """

    text: str
    tokens: int
    margin: float | None
    raw: str | None = None


class TextSampler(Protocol):
    """Samples texts after prompts."""

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, without those of its beginning and end."""

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings, shared: str | None = None) -> list[list[Sample] | ItemError]:
        """Return ``settings.n`` samples of every prompt, in the prompts' order; an ItemError for one that could not be had.

        Args:
            shared: A text that the prompts begin with, whole or in part: what they have in common with it is run once. None: the settings' prefix.
                Prompts with one break off inside a response, and take no chat form.
        """


def margins_of(samples: Iterable[Sample]) -> list[float] | None:
    """Return the samples' margins as they are kept, six digits; None where a server sampled one of them."""
    margins = [sample.margin for sample in samples]
    known = [float(f"{margin:.6g}") for margin in margins if margin is not None]
    return known if len(known) == len(margins) else None
