"""From prompts with preference pairs to distinct token sequences and pairs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpo.objectives import Pair
from dpo.preferences import Prompt
from dpo.spans import MaskedSpans
from dpo.tokenise import ResponseTokeniser, TokenSequence

# (topic, question) -> the text that a model is given.
Form = Callable[[str, str], str]


class DistinctSequences:
    """The distinct token sequences of prompts; equal responses to a prompt are one.

    Attributes:
        sequences: In the order of the prompts, so that responses to one prompt are neighbours.
    """

    def __init__(
        self, tokeniser: ResponseTokeniser, form: Form, prompts: Sequence[Prompt], used: Sequence[tuple[int, int]], spans: MaskedSpans | None = None
    ) -> None:
        """Tokenise responses.

        Args:
            tokeniser: Tokenises and counts.
            form: Makes the prompt's text.
            prompts: The prompts.
            used: Which responses are needed, as (prompt, response) indices.
            spans: Parts of responses that do not count.
        """
        texts = [(form(prompts[p].topic, prompts[p].text), prompts[p].responses[r]) for p, r in used]
        tokenised = tokeniser.responses(texts, [spans.of(prompts[p], r) for p, r in used] if spans else None)
        by_key: dict[str, int] = {}
        self.sequences: list[TokenSequence] = []
        self._index: dict[tuple[int, int], int] = {}
        for item, sequence in zip(used, tokenised, strict=True):
            if sequence.key not in by_key:
                by_key[sequence.key] = len(self.sequences)
                self.sequences.append(sequence)
            self._index[item] = by_key[sequence.key]
        self._prompts = prompts

    def index(self, prompt: int, response: int) -> int:
        """Return which sequence a response is."""
        return self._index[prompt, response]

    def pair(self, prompt: int, chosen: int, rejected: int) -> Pair:
        """Return a preference pair of sequences."""
        gap = self._prompts[prompt].reward_gap(chosen, rejected)
        return Pair(self._index[prompt, chosen], self._index[prompt, rejected], gap)


def in_pairs(prompts: Sequence[Prompt]) -> list[tuple[int, int]]:
    """Return the responses that stand in some pair, as (prompt, response) indices in the prompts' order."""
    return [(p, r) for p, prompt in enumerate(prompts) for r in sorted({r for pair in prompt.pairs for r in pair})]
