"""Rewards file to preference pairs, and the orders in which training visits them.

All pairs of a prompt's responses, the higher reward preferred, ties dropped (arXiv 2311.08401, section 3.3).
Reads the records of ``rewards_{split}_{n}.json``; writes nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dpo.seeding import shuffled_epochs
from volume.errors import RecordError, UsageError, suggest

# Equal scores summed in another order differ in the last bits; a difference below this is no preference.
_DECIMALS = 12


@dataclass(frozen=True)
class Prompt:
    """One question with its responses and its preference pairs.

    Attributes:
        topic: The topic that it belongs to.
        text: The question, as stored.
        responses: All responses, those without reward included.
        pairs: (index of the chosen response, index of the rejected one).
    """

    topic: str
    text: str
    responses: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] = ()


@dataclass
class PairCounts:
    """What became of the responses of a rewards file; ``ties`` counts pairs within the threshold."""

    prompts: int = 0
    prompts_without_pairs: int = 0
    responses: int = 0
    without_reward: int = 0
    ties: int = 0
    pairs: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


Rewards = Mapping[str, Mapping[str, Mapping[str, Sequence[Any]]]]


def read_prompts(rewards: Rewards) -> list[Prompt]:
    """Return the prompts and responses of a rewards file, without pairs, in its order."""
    return [
        Prompt(topic, question, tuple(record["responses"])) for topic, questions in rewards.items() for question, record in questions.items()
    ]


def build_pairs(rewards: Rewards, key: str, threshold: float = 0.0) -> tuple[list[Prompt], PairCounts]:
    """Return the prompts with their preference pairs, in the order of the file.

    The same question under two topics stays two prompts.

    Args:
        rewards: The rewards file's contents.
        key: The reward, e.g. ``factscore_avg``.
        threshold: A pair needs a reward gap greater than this.

    Raises:
        UsageError: No question of the file has that reward, or the threshold is negative.
        RecordError: A question's rewards do not run parallel to its responses, or only some questions have them.
    """
    if threshold < 0:
        raise UsageError(f"threshold = {threshold}: expected 0 or more")
    known = {name for questions in rewards.values() for record in questions.values() for name in record if name != "responses"}
    if key not in known:
        raise UsageError(f"the rewards file has no reward '{key}'.{suggest(key, known)}")
    prompts, counts = [], PairCounts()
    for topic, questions in rewards.items():
        for question, record in questions.items():
            responses, values = record["responses"], record.get(key)
            if values is None or len(values) != len(responses):
                given = "none" if values is None else len(values)
                raise RecordError(f"topic '{topic}', '{question}': {len(responses)} responses but {given} values of '{key}'. Run `make rewards` again.")
            pairs, ties = _pair_up([_clean(value) for value in values], threshold)
            prompts.append(Prompt(topic, question, tuple(responses), pairs))
            counts.prompts += 1
            counts.prompts_without_pairs += not pairs
            counts.responses += len(responses)
            counts.without_reward += sum(_clean(value) is None for value in values)
            counts.ties += ties
            counts.pairs += len(pairs)
    return prompts, counts


def _clean(value: float | None) -> float | None:
    """Return a reward rounded, or None for a missing one (the public code's files say NaN)."""
    return None if value is None or not math.isfinite(value) else round(float(value), _DECIMALS)


def _pair_up(values: Sequence[float | None], threshold: float) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return (chosen, rejected) for every pair i < j that differs enough, in the public code's order, and the number of ties."""
    pairs, ties = [], 0
    for (i, left), (j, right) in itertools.combinations(enumerate(values), 2):
        if left is None or right is None:
            continue
        gap = round(left - right, _DECIMALS)
        if abs(gap) > threshold:
            pairs.append((i, j) if gap > 0 else (j, i))
        else:
            ties += 1
    return tuple(pairs), ties


def visit_pairs(prompts: Sequence[Prompt], order: str, epochs: int, seed: int) -> list[list[tuple[int, int, int]]]:
    """Return, per epoch, the pairs in visiting order, each as (prompt, chosen response, rejected response), all indices.

    Args:
        prompts: From `build_pairs`.
        order: ``grouped``: prompts are shuffled and a prompt's pairs stay together, as in the public code, so that a
            batch holds few distinct responses; ``shuffled``: all pairs are shuffled.
        epochs: Passes over the pairs.
        seed: Seed of the order.

    Raises:
        UsageError: Unknown order.
    """
    groups = [[(index, chosen, rejected) for chosen, rejected in prompt.pairs] for index, prompt in enumerate(prompts)]
    if order == "grouped":
        return [list(itertools.chain.from_iterable(epoch)) for epoch in shuffled_epochs(groups, epochs, seed)]
    if order == "shuffled":
        return list(shuffled_epochs(list(itertools.chain.from_iterable(groups)), epochs, seed))
    raise UsageError(f"order = {order!r}: unknown.{suggest(order, ('grouped', 'shuffled'))}")


def visit_responses(prompts: Sequence[Prompt], epochs: int, seed: int) -> list[list[tuple[int, int]]]:
    """Return, per epoch, all responses in the public code's order for supervised tuning, as (prompt, response) indices."""
    items = [(index, response) for index, prompt in enumerate(prompts) for response in range(len(prompt.responses))]
    return list(shuffled_epochs(items, epochs, seed))


def split_batches(epochs: Sequence[Sequence[Any]], batch_size: int, drop_last: bool = False) -> list[list[Any]]:
    """Cut each epoch into batches; an epoch's last, smaller batch is used unless ``drop_last``."""
    batches = [list(epoch[start : start + batch_size]) for epoch in epochs for start in range(0, len(epoch), batch_size)]
    return [batch for batch in batches if len(batch) == batch_size or not drop_last]
