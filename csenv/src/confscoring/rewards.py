"""Turns scored facts into one number per response and reward: the file that training reads.

    python -m confscoring.rewards --dataset synth --data-dir data --split train

Reads: responses, atomic questions and sampled answers of the split, entity samples where they are enabled, the file of one's
own rewards where there is one; for the equivalence `llm` the recorded calls.
Writes: rewards/rewards_{split}_{n}.json; rewards/pairs_count_{split}_{n}.txt, a line for every reward; and
rewards/confidences_{split}_{n}.jsonl, a line for every fact with its four confidence scores.

The rewards file keeps every response in its place; one without facts has null for a reward and takes part in no pair.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from confscoring.equivalence import AnswerClasses, Equivalence, WordsEquivalence
from confscoring.equivalence_llm import LlmEquivalence
from confscoring.equivalence_suffix import SuffixEquivalence
from confscoring.reward_functions import ResponseFacts, Reward, known_rewards
from confscoring.reward_inputs import ScoredText, describe, read_topic
from confscoring.reward_module import load_rewards
from confscoring.service import open_client
from volume.context import Context
from volume.errors import ItemError, RecordError, UsageError, VolumeError
from volume.files import write_text
from volume.records import Rewards, save
from volume.settings import RewardsSettings
from volume.stage import run_whole

DIGITS = 12  # rewards closer than this are equal: floating-point noise makes no preference


def produce(ctx: Context) -> list[Path]:
    """Score every topic of the split; write the rewards, the confidence of every fact and the pair counts.

    Raises:
        UsageError: A section of the definition is missing, or a reward of one's own is faulty.
        VolumeError: More topics cannot be scored than rewards.max_missing allows.
    """
    if ctx.split is None:
        raise UsageError("rewards needs --split.")
    if ctx.definition.answers is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [answers]: its confidence rewards need sampled answers. bio.toml shows the section.")
    functions = choose_rewards(ctx)
    missing: dict[str, str] = {}
    texts: dict[str, list[ScoredText]] = {}
    for name in dict.fromkeys(topic["topic"] for topic in ctx.topics):
        try:
            texts[name] = read_topic(ctx, name)
        except (UsageError, RecordError) as error:
            missing[name] = str(error)
    _refuse_missing(ctx, missing)  # before a service is paid for the rest
    responses = classify(ctx, texts, missing)
    _refuse_missing(ctx, missing)
    return _write(ctx, ctx.split, responses, functions, missing)


def _write(
    ctx: Context, split: str, responses: Mapping[str, list[ResponseFacts]], functions: Mapping[str, Reward], missing: Mapping[str, str]
) -> list[Path]:
    """Write the three files; count what they hold for the manifest."""
    rewards = {name: reward_responses(own, functions, ctx.definition.rewards) for name, own in responses.items()}
    pairs = count_pairs(rewards)
    path, counts = ctx.paths.rewards(split, len(rewards)), ctx.paths.pairs_count(split, len(rewards))
    confidences = path.with_name(f"confidences_{split}_{len(rewards)}.jsonl")
    save(path, rewards, Rewards)
    write_text(confidences, "".join(line for own in responses.values() for response in own for line in confidence_lines(response)))
    write_text(counts, "".join(f"{name}:\t{number}\n" for name, (number, _, _) in pairs.items()))
    facts = [fact for own in responses.values() for response in own for fact in response.facts]
    ctx.count("topics", len(rewards))
    ctx.count("missing", len(missing))
    ctx.count("responses", sum(map(len, responses.values())))
    ctx.count("facts", len(facts))
    ctx.count("without_question", sum(fact.question is None for fact in facts))
    ctx.count("without_answers", sum(fact.question is not None and not fact.answers for fact in facts))
    ctx.note("missing", dict(missing))
    ctx.note("pairs", {name: {"pairs": number, "ties": ties, "without_reward": null} for name, (number, ties, null) in pairs.items()})
    return [path, counts, confidences]


def choose_rewards(ctx: Context) -> dict[str, Reward]:
    """Return the rewards of a dataset by their names: those that come with the project, then its own."""
    module, flipped = ctx.definition.rewards.module, ctx.definition.rewards.flipped
    known = known_rewards(ctx.definition.entities.enabled, flipped)
    return known | load_rewards(ctx.data_dir / module, {"responses", *known_rewards(True, flipped)}) if module else known


def _refuse_missing(ctx: Context, missing: Mapping[str, str]) -> None:
    topics = len({topic["topic"] for topic in ctx.topics})
    if len(missing) <= ctx.definition.rewards.max_missing and len(missing) < topics:
        return
    shown = "\n  ".join(f"{name}: {why}" for name, why in itertools.islice(missing.items(), 5))
    raise VolumeError(
        f"{len(missing)} of {topics} topics of '{ctx.split}' cannot be scored:\n  {shown}\nRun what failed again (`make plan` says what), or allow it "
        f"with rewards.max_missing = {len(missing)} in the definition."
    )


def classify(ctx: Context, texts: Mapping[str, list[ScoredText]], missing: dict[str, str]) -> dict[str, list[ResponseFacts]]:
    """Return the responses of each topic with their answers classified; of a topic for which that failed, the reason goes to ``missing``."""
    assert ctx.definition.answers is not None
    groups = list(dict.fromkeys(group for items in texts.values() for item in items for group in item.answer_groups()))
    with open_equivalence(ctx) as equivalence:
        ctx.note("equivalence", equivalence.identity())
        found = dict(zip(groups, equivalence.classify(groups), strict=True))
    failed = {group: str(result) for group, result in found.items() if isinstance(result, ItemError)}
    classes = {group: result for group, result in found.items() if isinstance(result, AnswerClasses)}
    ctx.count("undecided", sum(result.undecided for result in classes.values()))
    responses: dict[str, list[ResponseFacts]] = {}
    for name, items in texts.items():
        faults = [failed[group] for item in items for group in item.answer_groups() if group in failed]
        if faults:
            missing[name] = faults[0]
        else:
            responses[name] = [describe(item, classes, ctx.definition.answers.n) for item in items]
    return responses


@contextlib.contextmanager
def open_equivalence(ctx: Context) -> Iterator[Equivalence]:
    """Yield the definition's equivalence; only `llm` opens the recorded calls, and what it asked goes into the manifest."""
    settings = ctx.definition.equivalence
    if settings.backend != "llm":
        yield WordsEquivalence() if settings.backend == "words" else SuffixEquivalence()
        return
    with open_client(ctx) as client:
        yield LlmEquivalence(client, settings)
        ctx.note("calls", client.usage.as_note())


def reward_responses(
    responses: list[ResponseFacts], functions: Mapping[str, Reward], settings: RewardsSettings
) -> dict[str, dict[str, list[Any]]]:
    """Return {question: {"responses": […], reward: [number or None per response]}} of one topic's responses."""
    result: dict[str, dict[str, list[Any]]] = {}
    for response in responses:
        columns = result.setdefault(response.question, {"responses": [], **{name: [] for name in functions}})
        columns["responses"].append(response.text)
        for name, function in functions.items():
            columns[name].append(function(response, settings))
    return result


def confidence_lines(response: ResponseFacts) -> Iterator[str]:
    """Yield a JSON line for every fact of a response."""
    for place, fact in enumerate(response.facts):
        yield json.dumps({
            "topic": response.topic, "question": response.question, "response": response.index, "fact": place,
            "atom": fact.atom, "kind": fact.kind, "attribute": fact.attribute, "value": fact.value, "is_supported": fact.supported,
            "atomic_question": fact.question, "claim_answer": fact.claimed,
            "neg_ent": fact.neg_ent, "max_conf": fact.max_conf, "exp_conf": fact.exp_conf, "samp_conf": fact.samp_conf,
        }, ensure_ascii=False, allow_nan=False) + "\n"  # fmt: skip


def count_pairs(rewards: Rewards) -> dict[str, tuple[int, int, int]]:
    """Return {reward: (pairs with a preference, ties, responses without a reward)}; pairs are within one prompt, at threshold 0."""
    found: dict[str, tuple[int, int, int]] = {}
    for columns in (columns for questions in rewards.values() for columns in questions.values()):
        for name, values in columns.items():
            if name == "responses":
                continue
            known = [round(value, DIGITS) for value in values if value is not None]
            gaps = [round(left - right, DIGITS) for left, right in itertools.combinations(known, 2)]
            pairs, ties, null = found.get(name, (0, 0, 0))
            found[name] = (pairs + sum(gap != 0 for gap in gaps), ties + gaps.count(0), null + len(values) - len(known))
    return found


if __name__ == "__main__":
    raise SystemExit(run_whole("rewards", produce))
