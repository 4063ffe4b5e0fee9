"""What the rewards made of the training responses: how many pairs, and how well each reward ranks by the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from confscoring.judge import World, decisions_of
from confscoring.statistics import correlation_within
from volume.paths import DatasetPaths
from volume.records import Rewards, ScoredResponses, load


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
            # Rounded as the trainer does: rewards that differ by floating-point noise are a tie.
            kept = {index: round(float(value), 12) for index, value in enumerate(question[key]) if value is not None}
            words = [len(text.split()) for text in question["responses"]]
            prompts += 1
            responses += len(words)
            without += len(words) - len(kept)
            for i in kept:
                for j in (j for j in kept if j > i):
                    gap = round(kept[i] - kept[j], 12)
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
