"""How prompts are put into batches, and how a batch closes the gaps of rows that are finished. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from confscoring.sampling import Prompt

WORTH_SHARING = 16  # tokens; fewer are cheaper to copy than to attend to apart


@dataclass(frozen=True)
class Work:
    """A prompt to sample from, or some of its samples where one batch does not hold all.

    Attributes:
        index: Its place among the prompts.
        prompt: The prompt.
        own: Its own tokens, after those that it shares.
        seen: How many tokens of the shared text it begins with.
        samples: Which of its samples.
    """

    index: int
    prompt: Prompt
    own: tuple[int, ...]
    seen: int
    samples: range


def count_shared(common: Sequence[int], ids: Sequence[int]) -> int:
    """Return how many tokens a prompt shares with a text: not its last one, after which sampling goes on; 0 if they are not worth it."""
    most = min(len(common), len(ids) - 1)
    shared = next((place for place in range(most) if common[place] != ids[place]), most)
    return shared if shared >= WORTH_SHARING else 0


def take_batch(waiting: list[Work], rows: int) -> list[Work]:
    """Take works of equally many samples off the end of ``waiting``, up to ``rows`` samples; one that is larger is split."""
    n = len(waiting[-1].samples)
    if n > rows:
        work = waiting.pop()
        waiting.append(replace(work, samples=work.samples[rows:]))
        return [replace(work, samples=work.samples[:rows])]
    batch: list[Work] = []
    while waiting and len(waiting[-1].samples) == n and (len(batch) + 1) * n <= rows:
        batch.append(waiting.pop())
    return batch


def close_gaps(going: Sequence[bool]) -> list[int]:
    """Return which row stands at each place when those that go on move together: the last ones into the gaps, no other row moves.

    Args:
        going: Per place, whether its row goes on.
    """
    rows = sum(going)
    movers = iter([place for place in range(rows, len(going)) if going[place]])
    return [place if going[place] else next(movers) for place in range(rows)]
