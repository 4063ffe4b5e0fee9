"""What the earlier stages left about a topic's responses, read and fitted together for the rewards."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confscoring.confidence import score_classes
from confscoring.draws import uniforms
from confscoring.equivalence import AnswerClasses, AnswerGroup
from confscoring.repeats import numbered
from confscoring.reward_functions import Fact, ResponseFacts
from volume.context import Context
from volume.errors import RecordError
from volume.records import AnswerSamples, Decision, EntitySamples, Generations, ScoredResponse, ScoredResponses, load
from volume.steps import sampler_name


@dataclass(frozen=True)
class ScoredText:
    """A response as the stages left it: nothing of it is classified yet.

    Attributes:
        groups: The answers to the question of each decision, None where there are none.
        entities: The resampled texts of each entity.
        draw, flips: Numbers in [0, 1): one of its own, and where a reward needs them one for each of its facts.
    """

    topic: str
    question: str
    index: int
    text: str
    row: ScoredResponse
    groups: tuple[AnswerGroup | None, ...]
    entities: tuple[AnswerGroup, ...]
    draw: float = 0.0
    flips: tuple[float, ...] = ()

    def answer_groups(self) -> Iterator[AnswerGroup]:
        """Yield all that has to be classified."""
        yield from (group for group in self.groups if group is not None)
        yield from self.entities


def read_topic(ctx: Context, topic: str) -> list[ScoredText]:
    """Return a topic's responses, question by question.

    Raises:
        UsageError: A file of the topic is missing.
        RecordError: One of them cannot be read, or they do not fit together.
    """
    sampler = sampler_name(ctx.definition)
    generations: Generations = load(ctx.paths.responses(topic), Generations)
    rows: ScoredResponses = load(ctx.paths.atomic_qs(topic), ScoredResponses)
    samples: AnswerSamples = load(ctx.paths.samples(sampler, topic), AnswerSamples)
    texts = [(question, index, text) for question, generation in generations.items() for index, text in enumerate(generation["responses"])]
    if not len(rows) == len(samples["samples"]) == len(texts):
        raise RecordError(
            f"{topic} has {len(texts)} responses, {len(rows)} scored ones and {len(samples['samples'])} with answers. Run the stages again (`make plan`)."
        )
    resampled: EntitySamples = load(ctx.paths.ne_samples(sampler, topic), EntitySamples) if ctx.definition.entities.enabled else {}
    keys = [key for generation in generations.values() for key in numbered(generation["responses"])]
    return [
        ScoredText(
            topic, question, index, text, row,
            tuple(_answers_to(decision, answers, topic) for decision in decisions_of(row)),
            _entities_of(question, key, text, resampled),
            float(uniforms(ctx.definition.seed, ctx.definition.name, f"random reward/{question}/{topic}", index, 1)[0]),
            draw_flips(ctx, topic, question, index, row),
        )
        for (question, index, text), row, answers, key in zip(texts, rows, samples["samples"], keys, strict=True)
    ]  # fmt: skip


def draw_flips(ctx: Context, topic: str, question: str, index: int, row: ScoredResponse) -> tuple[float, ...]:
    """Return a number in [0, 1) for every fact of a response, which decides at which rates its verdict is flipped; none where rewards.flipped is empty."""
    if not ctx.definition.rewards.flipped:
        return ()
    return tuple(uniforms(ctx.definition.seed, ctx.definition.name, f"flip/{question}/{topic}", index, len(decisions_of(row))).tolist())


def read_asked_back(ctx: Context, topic: str, questions: Sequence[str]) -> list[ScoredText]:
    """Return a policy's responses on a topic, one to every question, with what it answered when it was asked back about them.

    Raises:
        UsageError: A file of the topic is missing.
        RecordError: One of them cannot be read, or they do not fit together.
    """
    rows: ScoredResponses = load(ctx.paths.atomic_qs(topic, ctx.run), ScoredResponses)
    samples: AnswerSamples = load(ctx.paths.samples("own", topic, ctx.run), AnswerSamples)
    if not len(questions) == len(rows) == len(samples["samples"]):
        raise RecordError(
            f"{topic} has {len(questions)} questions, {len(rows)} responses to ask about and {len(samples['samples'])} with answers. "
            "Run `make eval` again (`make plan`)."
        )
    return [
        ScoredText(topic, question, 0, row["generation"], row, tuple(_answers_to(decision, answers, topic) for decision in decisions_of(row)), ())
        for question, row, answers in zip(questions, rows, samples["samples"], strict=True)
    ]


def decisions_of(row: ScoredResponse) -> list[Decision]:
    """Return a response's atomic facts; the public code writes [None] where there are none."""
    return [decision for group in row["decisions"] for decision in group or []]


def _answers_to(decision: Decision, answers: Mapping[str, list[str]], topic: str) -> AnswerGroup | None:
    question = decision.get("atomic_question")
    if not question:
        return None
    if question not in answers:
        raise RecordError(f"{topic} has the question '{question}' but no answers to it: they were sampled for other questions. Run `make answers` again.")
    return AnswerGroup(question, tuple(answers[question]), _claim_of(decision)) if answers[question] else None


def _claim_of(decision: Decision) -> str | None:
    """Return the answer that the fact itself gives; a blank one is none."""
    claim = decision.get("claim_answer")
    return claim if claim and claim.strip() else None


def _entities_of(question: str, key: str, text: str, resampled: EntitySamples) -> tuple[AnswerGroup, ...]:
    """Return the resampled texts of a response's entities; files of the public code keep a repeated response once, under its text."""
    by_response = resampled.get(question, {})
    found = by_response.get(key, by_response.get(text, {}))
    name = re.compile(r"#[0-9]+$")
    return tuple(AnswerGroup(f'{question} What stands in place of "{name.sub("", entity)}"?', tuple(drawn)) for entity, drawn in found.items() if drawn)


def describe(item: ScoredText, classes: Mapping[AnswerGroup, AnswerClasses], samples: int) -> ResponseFacts:
    """Return all that is known of a response, its answers classified.

    Args:
        item: The response.
        classes: The classes of each of its groups.
        samples: Answers sampled per question.
    """
    facts = []
    for decision, group in zip(decisions_of(item.row), item.groups, strict=True):
        scores = score_classes(classes[group].sizes, classes[group].claimed) if group is not None else None
        facts.append(Fact(
            decision["atom"], decision["is_supported"], decision.get("kind", "claim"), decision.get("attribute"), decision.get("value"),
            decision.get("atomic_question") or None, _claim_of(decision), group.answers if group is not None else (),
            *((scores.neg_ent, scores.max_conf, scores.exp_conf, scores.samp_conf) if scores is not None else ()),
        ))  # fmt: skip
    return ResponseFacts(
        item.topic, item.question, item.index, item.text, tuple(facts), _finite(item.row["init_score"]), _finite(item.row["score"]), samples,
        tuple(score_classes(classes[group].sizes, None) for group in item.entities), item.draw, item.flips,
    )  # fmt: skip


def _finite(score: float | None) -> float | None:
    """Return a score, None for the NaN that the public code writes where a response has no facts."""
    return score if score is not None and math.isfinite(score) else None
