"""Turns scored facts into one number per response and reward: the file that training reads.

    python -m confscoring.rewards --dataset synth --data-dir data --split train

Reads: responses, factscore outputs, atomic questions and sampled answers of the split (and entity samples where they are
switched on). Writes: rewards/rewards_{split}_{n}.json and rewards/pairs_count_{split}_{n}.txt.

The file keeps every response in its place; one without facts has null for a reward and takes part in no pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confscoring import confidence
from confscoring.draws import uniforms
from confscoring.entities import numbered
from confscoring.equivalence import Key, class_counts, class_key
from volume.context import Context
from volume.errors import RecordError, UsageError, VolumeError
from volume.files import write_text
from volume.records import AnswerSamples, EntitySamples, Generations, Rewards, ScoredResponse, ScoredResponses, Topic, load, save
from volume.stage import run_whole
from volume.steps import sampler_name

DIGITS = 12  # rewards closer than this are equal: floating-point noise makes no preference


def produce(ctx: Context) -> list[Path]:
    """Score every topic of the split; write the rewards and the pair counts."""
    if ctx.split is None:
        raise UsageError("rewards needs --split.")
    key = class_key(ctx.definition.equivalence.backend)
    rewards: Rewards = {}
    missing: dict[str, str] = {}
    for topic in ctx.topics:
        try:
            rewards[topic["topic"]] = topic_rewards(ctx, topic, key)
        except (UsageError, RecordError) as error:
            missing[topic["topic"]] = str(error)
    if len(missing) > ctx.definition.rewards.max_missing or not rewards:
        shown = "\n  ".join(f"{name}: {why}" for name, why in itertools.islice(missing.items(), 5))
        raise VolumeError(
            f"{len(missing)} of {len(ctx.topics)} topics of '{ctx.split}' cannot be scored:\n  {shown}\nRun the earlier stages again, or allow it "
            f"with rewards.max_missing = {len(missing)} in the definition."
        )
    path = ctx.paths.rewards(ctx.split, len(rewards))
    save(path, rewards, Rewards)
    pairs = count_pairs(rewards)
    counts = ctx.paths.pairs_count(ctx.split, len(rewards))
    write_text(counts, "".join(f"{name}:\t{number}\n" for name, (number, _, _) in pairs.items()))
    ctx.count("topics", len(rewards))
    ctx.count("missing", len(missing))
    ctx.count("responses", sum(len(row["responses"]) for questions in rewards.values() for row in questions.values()))
    ctx.note("missing", missing)
    ctx.note("pairs", {name: {"pairs": number, "ties": ties, "without_reward": null} for name, (number, ties, null) in pairs.items()})
    return [path, counts]


def topic_rewards(ctx: Context, topic: Topic, key: Key) -> dict[str, dict[str, list[Any]]]:
    """Return {question: {"responses": […], reward: [number or None per response]}} of one topic.

    Raises:
        UsageError: A file of the topic is missing.
        RecordError: The files do not fit together.
    """
    name = topic["topic"]
    sampler = sampler_name(ctx.definition)
    generations: Generations = load(ctx.paths.responses(name), Generations)
    rows: ScoredResponses = load(ctx.paths.atomic_qs(name), ScoredResponses)
    samples: AnswerSamples = load(ctx.paths.samples(sampler, name), AnswerSamples)
    n_responses = sum(len(generation["responses"]) for generation in generations.values())
    if not len(rows) == len(samples["samples"]) == n_responses:
        raise RecordError(
            f"{name} has {n_responses} responses, {len(rows)} scored ones and {len(samples['samples'])} with answers. Run the stages again (`make plan`)."
        )
    entities: EntitySamples = load(ctx.paths.ne_samples(sampler, name), EntitySamples) if ctx.definition.entities.enabled else {}
    assert ctx.definition.answers is not None
    result: dict[str, dict[str, list[Any]]] = {}
    place = 0
    for question, generation in generations.items():
        columns: dict[str, list[Any]] = {"responses": list(generation["responses"])}
        keys = numbered(generation["responses"])
        for index, response_key in enumerate(keys):
            row, answers = rows[place], samples["samples"][place]
            draw = uniforms(ctx.definition.seed, ctx.definition.name, f"random reward/{question}/{name}", index, 1)
            values: dict[str, float | None] = {"factscore_avg": row["init_score"], "factscore_lp_avg": row["score"]}
            values |= answer_rewards(row, answers, key, ctx.definition.answers.n)
            values["random"] = float(draw[0])
            if ctx.definition.entities.enabled:
                values |= entity_rewards(list(entities.get(question, {}).get(response_key, {}).values()), key)
            for reward, value in values.items():
                columns.setdefault(reward, []).append(value)
            place += 1
        result[question] = columns
    return result


def answer_rewards(row: ScoredResponse, answers: dict[str, list[str]], key: Key, n_samples: int) -> dict[str, float | None]:
    """Return the confidence rewards of a response: means over its atomic facts.

    A fact without a question (a sentence that the grammar cannot read, or that is about somebody else) has no confidence: 0,
    and for the entropy the worst value that ``n_samples`` answers can give, -ln n. Else what cannot be read would be safe.

    Args:
        row: The response with its decisions and their questions.
        answers: {question: sampled answers}.
        key: Names an answer's class.
        n_samples: Answers per question.
    """
    columns: dict[str, list[float]] = {"neg_ent": [], "max_conf": [], "exp_conf": [], "samp_conf": []}
    for decision in (decision for group in row["decisions"] for decision in group or []):
        question = decision.get("atomic_question")
        drawn = answers.get(question) if question else None
        if not drawn:
            scores = {"neg_ent": -math.log(n_samples), "max_conf": 0.0, "exp_conf": 0.0, "samp_conf": 0.0}
        else:
            scores = confidences(drawn, key, decision.get("claim_answer"))
        for name, column in columns.items():
            column.append(scores[name])
    return {f"aq_{name}_avg": confidence.mean_or_none(column) for name, column in columns.items()}


def entity_rewards(samples: Sequence[list[str]], key: Key) -> dict[str, float | None]:
    """Return the confidence rewards of a response by its resampled entities: means over them."""
    scored = [confidences(drawn, key, None) for drawn in samples if drawn]
    return {f"ne_{name}_avg": confidence.mean_or_none([scores[name] for scores in scored]) for name in ("neg_ent", "max_conf", "exp_conf")}


def confidences(answers: list[str], key: Key, claimed: str | None) -> dict[str, float]:
    """Return the four confidence scores of one question."""
    masses = {name: count / len(answers) for name, count in class_counts(answers, key).items()}
    shares = list(masses.values())
    return {
        "neg_ent": confidence.negative_entropy(shares),
        "max_conf": confidence.max_confidence(shares),
        "exp_conf": confidence.expected_confidence(shares),
        "samp_conf": confidence.claim_confidence(masses, key(claimed)) if claimed else 0.0,
    }


def count_pairs(rewards: Rewards) -> dict[str, tuple[int, int, int]]:
    """Return {reward: (pairs with a preference, ties, responses without a reward)}; pairs are within one prompt."""
    found: dict[str, tuple[int, int, int]] = {}
    for columns in (columns for questions in rewards.values() for columns in questions.values()):
        for name, values in columns.items():
            if name == "responses":
                continue
            known = [round(value, DIGITS) for value in values if value is not None]
            ties = sum(left == right for left, right in itertools.combinations(known, 2))
            pairs, before, null = found.get(name, (0, 0, 0))
            found[name] = (pairs + math.comb(len(known), 2) - ties, before + ties, null + len(values) - len(known))
    return found


if __name__ == "__main__":
    raise SystemExit(run_whole("rewards", produce))
