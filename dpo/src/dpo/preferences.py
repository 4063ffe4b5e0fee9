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
        rewards: The rewards that made the pairs, rounded; None for a missing one. Empty where none were read.
    """

    topic: str
    text: str
    responses: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    rewards: tuple[float | None, ...] = ()

    def reward_gap(self, chosen: int, rejected: int) -> float:
        """Return by how much the reward of a pair's chosen response is greater: the number that made it a pair."""
        higher, lower = self.rewards[chosen], self.rewards[rejected]
        assert higher is not None and lower is not None, "only responses with a reward are in pairs"
        return round(higher - lower, _DECIMALS)


@dataclass
class PairCounts:
    """What became of the responses of a rewards file.

    ``ties`` counts pairs within the threshold. ``same_text`` counts those of the pairs whose two responses read the same, which
    teach nothing: rewards that are drawn or resampled can differ where texts do not. They stay, as in the public code.
    """

    prompts: int = 0
    prompts_without_pairs: int = 0
    responses: int = 0
    without_reward: int = 0
    ties: int = 0
    pairs: int = 0
    same_text: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


Rewards = Mapping[str, Mapping[str, Mapping[str, Sequence[Any]]]]


def read_prompts(rewards: Rewards) -> list[Prompt]:
    """Return the prompts and responses of a rewards file, without pairs, in its order.

    Raises:
        RecordError: A question has no responses, or one that is no text.
    """
    return [
        Prompt(topic, question, _responses(topic, question, record)) for topic, questions in rewards.items() for question, record in questions.items()
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
        RecordError: A question's rewards do not run parallel to its responses, are no numbers, or only some questions have them.
    """
    if threshold < 0:
        raise UsageError(f"threshold = {threshold}: expected 0 or more")
    known = {name for questions in rewards.values() for record in questions.values() for name in record if name != "responses"}
    if key not in known:
        raise UsageError(f"the rewards file has no reward '{key}'.{suggest(key, known)}")
    prompts, counts = [], PairCounts()
    for topic, questions in rewards.items():
        for question, record in questions.items():
            responses, values = _responses(topic, question, record), record.get(key)
            if values is None or len(values) != len(responses):
                given = "none" if values is None else len(values)
                raise RecordError(f"topic '{topic}', '{question}': {len(responses)} responses but {given} values of '{key}'. Run `make rewards` again.")
            cleaned = tuple(_clean(value, f"topic '{topic}', '{question}', '{key}'") for value in values)
            pairs, ties = _pair_up(cleaned, threshold)
            prompts.append(Prompt(topic, question, responses, pairs, cleaned))
            counts.prompts += 1
            counts.prompts_without_pairs += not pairs
            counts.responses += len(responses)
            counts.without_reward += cleaned.count(None)
            counts.ties += ties
            counts.pairs += len(pairs)
            counts.same_text += sum(responses[chosen] == responses[rejected] for chosen, rejected in pairs)
    return prompts, counts


def _responses(topic: str, question: str, record: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    responses = record.get("responses")
    if responses is None or not all(isinstance(response, str) for response in responses):
        given = "none" if responses is None else f"one that is no text, {next(item for item in responses if not isinstance(item, str))!r}"
        raise RecordError(f"topic '{topic}', '{question}': expected a list 'responses' of texts, found {given}. Run `make rewards` again.")
    return tuple(responses)


def _clean(value: Any, place: str) -> float | None:
    """Return a reward rounded, or None for a missing one (the public code's files say NaN)."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"{place}: {value!r} is no reward; expected a number, or null for a missing one. Run `make rewards` again.")
    return round(float(value), _DECIMALS) + 0.0 if math.isfinite(value) else None  # -0.0 becomes 0.0


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
