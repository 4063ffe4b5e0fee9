"""Asks whether a policy's confidence in its own claims means something: does it tell correct from incorrect ones, and is it as high as it is right?

    python -m confscoring.calibrate --dataset synth --data-dir data --split test --run factscore

A policy was asked back about the claims of one response to each question (the greedy one). Its confidence in a claim is the share of
its sampled answers that agree with it (samp_conf). Tuning can make a policy state fewer falsehoods and still leave it surer than it is
right, or the other way round.

Reads: eval/{run}/atomic_qs, eval/{run}/atomic_qs_samples/own, world/ where the dataset has one; for the equivalence `llm` recorded calls.
Writes: eval/{run}/calibration.json: by the verifier, and by the truth of a made world, AUROC, expected calibration error and Brier
score with 95 % intervals over topics, and the reliability bins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from confscoring.calibration import BINS, Claim, auroc, auroc_within, brier, calibration_errors, reliability
from confscoring.judge import World
from confscoring.reward_functions import Fact, ResponseFacts
from confscoring.reward_inputs import ScoredText, read_asked_back
from confscoring.rewards import classify
from confscoring.statistics import UNIT, Counts, draw_people, ratio
from volume.context import Context
from volume.errors import RecordError, UsageError, VolumeError
from volume.files import write_json
from volume.records import Decision
from volume.stage import run_whole

Judge = Callable[[str, Fact], bool]  # of a topic's fact: is it correct?


def produce(ctx: Context) -> list[Path]:
    """Set confidence against correctness; write one file.

    Raises:
        UsageError: No topic has answers, or the definition has no [answers].
        VolumeError: The service did not compare the answers on a topic.
    """
    run = str(ctx.run)
    if ctx.definition.answers is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [answers]; bio.toml shows the section.")
    missing: dict[str, str] = {}
    texts: dict[str, list[ScoredText]] = {}
    for topic in ctx.topics:
        try:
            texts[topic["topic"]] = read_asked_back(ctx, topic["topic"], list(dict.fromkeys(topic["questions"])))
        except (UsageError, RecordError) as error:
            missing[topic["topic"]] = str(error)
    if not texts:
        first = next(iter(missing.values()), "there are no topics.")
        raise UsageError(f"run '{run}' has no topic whose claims were asked back about: {first}")
    lost: dict[str, str] = {}
    responses = classify(ctx, texts, lost)
    if lost:  # a call failed: those that did not are recorded, and another attempt pays for this one alone
        raise VolumeError(f"the answers on {len(lost)} of {len(texts)} topics could not be compared: {next(iter(lost.values()))}. Run the same command again.")
    world = World.from_file(ctx.paths.world / "world.json") if ctx.definition.world else None
    draws = draw_people(len(responses), ctx.definition.eval.bootstrap, ctx.definition.seed)
    facts = [fact for own in responses.values() for response in own for fact in response.facts]
    path = ctx.paths.calibration(run)
    write_json(path, {
        "format": 1, "dataset": ctx.definition.name, "seed": ctx.definition.seed, "run": run, "answers": ctx.definition.answers.n, "bins": BINS,
        "topics": len(responses), "missing": [topic["topic"] for topic in ctx.topics if topic["topic"] in missing],
        "no_claims": dict(Counter(fact.kind for fact in facts if fact.kind != "claim")),
        "judges": {name: measure_claims(responses, judge, draws) for name, judge in judges_of(world).items()},
    })  # fmt: skip
    ctx.count("topics", len(responses))
    ctx.count("missing", len(missing))
    ctx.count("claims", sum(fact.kind == "claim" for fact in facts))
    ctx.note("missing", missing)
    return [path]


def judges_of(world: World | None) -> dict[str, Judge]:
    """Return who says whether a claim is correct: the truth of a made world first, then the verifier."""
    by_verifier: dict[str, Judge] = {"verifier": lambda _, fact: fact.supported}
    if world is None:
        return by_verifier
    return {"truth": lambda topic, fact: world.supports(topic, cast(Decision, {"kind": fact.kind, "attribute": fact.attribute, "value": fact.value})), **by_verifier}


def measure_claims(responses: Mapping[str, Sequence[ResponseFacts]], judge: Judge, draws: Counts) -> dict[str, Any]:
    """Return how a policy's confidence goes with correctness; what is no claim is left out, and a claim without a question or answers is counted.

    Args:
        responses: {topic: its responses}, in the order of ``draws``.
        judge: Says whether a claim is correct.
        draws: From ``statistics.draw_people``. Shape (resamples, topics).
    """
    prompts: list[list[list[Claim]]] = []
    without = 0
    for topic, own in responses.items():
        claims = [[fact for fact in response.facts if fact.kind == "claim"] for response in own]
        prompts.append([[(fact.samp_conf, judge(topic, fact)) for fact in facts if fact.samp_conf is not None] for facts in claims])
        without += sum(fact.samp_conf is None for facts in claims for fact in facts)
    topics = [[claim for prompt in own for claim in prompt] for own in prompts]
    number = [len(own) for own in topics]
    within, pairs = auroc_within(prompts, draws)
    return {
        "claims": sum(number), "without": without,
        "percent_correct": ratio([sum(correct for _, correct in own) for own in topics], number, draws, 100.0),
        "confidence": ratio([sum(round(score * UNIT) for score, _ in own) for own in topics], number, draws, 100.0 / UNIT),
        "auroc": auroc(topics, draws), "auroc_within_responses": within, "pairs_within_responses": pairs,
        "calibration_error": calibration_errors(topics, draws), "brier": brier(topics, draws), "reliability": reliability(topics, draws),
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run_whole("calibrate", produce))
