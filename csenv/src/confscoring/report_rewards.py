"""What the rewards made of the training responses: how many pairs, how well each ranks by the truth, its values, who agrees with whom."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from confscoring.judge import World, decisions_of
from confscoring.statistics import correlation_within
from volume.paths import DatasetPaths
from volume.records import Rewards, ScoredResponses, load

_DECIMALS = 12  # as the trainer rounds: rewards that differ by floating-point noise are a tie
HISTOGRAM_BINS = 20


def count_pairs(rewards: Rewards, threshold: float) -> list[dict[str, Any]]:
    """Return one row of pair accounting per reward, in the order of the file.

    Two responses to one prompt are a pair when their rewards differ by more than ``threshold``; equal ones are a tie.

    Args:
        rewards: {topic: {question: {"responses": [...], reward: [number or None, ...]}}}.
        threshold: Smallest gap that does not yet make a pair.
    """
    rows = []
    for key in reward_keys(rewards):
        prompts = responses = without = pairs = ties = longer = length_gaps = 0
        gaps: list[float] = []
        for question in _questions(rewards):
            kept = {index: value for index, value in enumerate(_values(question[key])) if value is not None}
            words = [len(text.split()) for text in question["responses"]]
            prompts += 1
            responses += len(words)
            without += len(words) - len(kept)
            for i in kept:
                for j in (j for j in kept if j > i):
                    gap = round(kept[i] - kept[j], _DECIMALS)
                    if abs(gap) <= threshold:
                        ties += 1
                        continue
                    chosen, rejected = (i, j) if gap > 0 else (j, i)
                    pairs += 1
                    gaps.append(abs(gap))
                    length_gaps += words[chosen] - words[rejected]
                    longer += words[chosen] > words[rejected]
        rows.append({
            "reward": key, "prompts": prompts, "responses": responses, "without_reward": without, "pairs": pairs, "ties": ties,
            "ties_percent": round(100 * ties / (pairs + ties), 6) if pairs + ties else None,
            "mean_gap": round(math.fsum(gaps) / pairs, 6) if pairs else None,
            "chosen_longer": round(100 * longer / pairs, 6) if pairs else None,
            "words_chosen_minus_rejected": round(length_gaps / pairs, 6) if pairs else None,
        })  # fmt: skip
    return rows


def rank_by_truth(paths: DatasetPaths, world: World, rewards: Rewards) -> list[dict[str, Any]]:
    """Return, for each reward, how it goes with the truth among the responses to one prompt.

    The truth of a response is the share of its facts that the world holds; responses without facts have none. Topics
    whose scores are not on the volume any more are left out.
    """
    truths: dict[str, list[float | None]] = {}
    for topic in rewards:
        path = paths.factscore(topic)
        if topic not in world.people or not path.exists():
            continue
        scored: ScoredResponses = load(path, ScoredResponses)
        truths[topic] = []
        for response in scored:
            decisions = decisions_of(response)
            right = sum(world.supports(topic, decision) for decision in decisions)
            truths[topic].append(right / len(decisions) if decisions else None)
    rows = []
    for key in reward_keys(rewards):
        groups = [group for topic, truth in truths.items() for group in _groups(rewards[topic], key, truth)]
        compared = sum(len(group) for group in groups if len(group) > 1)
        rows.append({"reward": key, "r": correlation_within(groups), "prompts": len(groups), "responses": compared})
    return rows


def spread_values(rewards: Rewards, bins: int = HISTOGRAM_BINS) -> list[dict[str, Any]]:
    """Return the distribution of each reward over all responses, as a histogram of equal bins from its lowest to its highest value.

    Few distinct values mean many ties, and a tie is no preference.
    """
    rows = []
    for key in reward_keys(rewards):
        values = [value for question in _questions(rewards) for value in _values(question[key])]
        kept = [value for value in values if value is not None]
        low, high = (min(kept), max(kept)) if kept else (0.0, 0.0)
        counts = [0] * bins
        for value in kept:
            counts[min(int((value - low) / (high - low) * bins), bins - 1) if high > low else 0] += 1
        rows.append({
            "reward": key, "responses": len(values), "without_reward": len(values) - len(kept), "distinct": len(set(kept)),
            "low": low if kept else None, "high": high if kept else None,
            "mean": round(math.fsum(kept) / len(kept), 6) if kept else None, "counts": counts,
        })  # fmt: skip
    return rows


def agree(rewards: Rewards, threshold: float) -> dict[str, Any]:
    """Return how often two rewards order a pair of responses to one prompt the same way.

    Only pairs that both order count, so a reward with many ties is not blamed for them; 50 % is what a coin would agree.

    Args:
        rewards: As for ``count_pairs``.
        threshold: Smallest gap that does not yet order a pair.

    Returns:
        {"rewards": names, "pairs": [[…]] that both order, "same": [[…]] per cent of them}; rows and columns are the rewards.
    """
    keys = reward_keys(rewards)
    orders = [[sign for question in _questions(rewards) for sign in _order(_values(question[key]), threshold)] for key in keys]
    signs = np.asarray(orders, dtype=np.int64).reshape(len(keys), len(orders[0]) if orders else 0)
    both = np.abs(signs) @ np.abs(signs).T
    same = (both + signs @ signs.T) // 2  # the product counts +1 where they agree, -1 where they differ
    return {
        "rewards": keys, "pairs": both.tolist(),
        "same": [[round(100 * int(a) / int(n), 6) if n else None for a, n in zip(*row, strict=True)] for row in zip(same, both, strict=True)],
    }  # fmt: skip


def _order(values: Sequence[float | None], threshold: float) -> list[int]:
    """Return, for each two responses to a prompt, 1 where the first is better, -1 where the second is, 0 where neither."""
    signs = []
    for first, second in itertools.combinations(values, 2):
        gap = 0.0 if first is None or second is None else round(first - second, _DECIMALS)
        signs.append(0 if abs(gap) <= threshold else 1 if gap > 0 else -1)
    return signs


def _values(column: Sequence[float | None]) -> list[float | None]:
    """Return a reward's values as the trainer takes them: rounded, None for the public code's NaN."""
    return [None if value is None or not math.isfinite(value) else round(float(value), _DECIMALS) for value in column]


def reward_keys(rewards: Rewards) -> list[str]:
    """Return the names of the rewards in a rewards file."""
    first = next(_questions(rewards), {})
    return [key for key, values in first.items() if key != "responses" and isinstance(values, list) and len(values) == len(first["responses"])]


def _questions(rewards: Rewards) -> Iterator[dict[str, list[Any]]]:
    for questions in rewards.values():
        yield from questions.values()


def _groups(questions: dict[str, dict[str, list[Any]]], key: str, truth: list[float | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield (reward, truth) of the responses to each question that have both; scores are question-major."""
    place = 0
    for question in questions.values():
        values = question[key]
        part = truth[place : place + len(values)]
        yield [(float(x), y) for x, y in zip(values, part, strict=True) if x is not None and y is not None]
        place += len(values)
