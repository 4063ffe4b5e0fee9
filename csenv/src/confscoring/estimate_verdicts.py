"""What the stages would ask of a chat model that compare answers, or check what a policy was evaluated on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from confscoring.equivalence import AnswerGroup
from confscoring.equivalence_llm import Pair, compare_request, parse_same, sort_answers
from confscoring.estimate_parts import (
    COMPARE_REPLY,
    DIFFERENT,
    ENTITIES,
    FACT,
    FACTS,
    QUESTION,
    SENTENCES,
    TWICE,
    expected_questions,
    expected_responses,
    open_store,
    waiting,
)
from confscoring.relevance import read_facts, settings_of
from confscoring.relevance_prompt import Asked, relevance_request
from confscoring.reward_inputs import ScoredText, read_asked_back, read_topic
from volume.context import Context
from volume.costs import Estimate
from volume.errors import VolumeError
from volume.llm import CallStore
from volume.records import Topic


def estimate_rewards(ctx: Context) -> Estimate:
    """Return the comparisons of answers by a chat model, as many as there can be: every two different answers to a question."""

    def entities(topic: Topic) -> float:
        return expected_responses(ctx, topic) * ENTITIES if ctx.definition.entities.enabled else 0.0

    return _estimate_comparisons(ctx, lambda topic: read_topic(ctx, topic["topic"]), entities)


def estimate_calibrate(ctx: Context) -> Estimate:
    """Return the comparisons of a policy's answers about its own claims, likewise."""
    return _estimate_comparisons(ctx, lambda topic: read_asked_back(ctx, topic["topic"], list(dict.fromkeys(topic["questions"]))), lambda topic: 0.0)


def _estimate_comparisons(ctx: Context, read: Callable[[Topic], Iterable[ScoredText]], more: Callable[[Topic], float]) -> Estimate:
    """Return the comparisons of the answers of all topics.

    Args:
        read: Returns what was answered on a topic; raises VolumeError where it is not there yet.
        more: Returns how many texts beside the questions are answered on a topic of which nothing is there yet.
    """
    settings, answers = ctx.definition.equivalence, ctx.definition.answers
    assert answers is not None
    found = Estimate()
    groups: dict[AnswerGroup, None] = {}
    unknown = 0.0
    for topic in ctx.topics:
        try:
            groups |= dict.fromkeys(group for text in read(topic) for group in text.answer_groups())
        except VolumeError:  # not sampled yet
            unknown += expected_questions(ctx, found, topic) + more(topic)
    with open_store(ctx) as store:
        for group in groups:
            add_comparisons(ctx, found, store, group)
    if unknown:
        number = min(DIFFERENT, answers.n)
        found.assume(f"{number} different answers to a question where none are sampled yet")
        found.add(compare_request(Pair(QUESTION, "word", "word"), settings), unknown * math.comb(number + 1, 2), COMPARE_REPLY)
    found.assume("every two answers with different words are compared; each class that is found saves calls")
    found.assume(TWICE)
    return found


def estimate_relevance(ctx: Context) -> Estimate:
    """Return the questions whether facts have to do with what was asked: one for every different supported fact of a policy's responses."""
    settings = settings_of(ctx)
    found = Estimate()
    with open_store(ctx) as store:
        for topic in waiting(ctx):
            try:
                wanted = dict.fromkeys(one for row in read_facts(ctx, topic["topic"]) for one in row if one)
            except VolumeError:  # not scored yet
                each = ctx.definition.eval.n + ctx.definition.eval.greedy
                found.assume(f"{each} responses a question, {SENTENCES:g} sentences a response, {FACTS:g} facts a sentence, all supported, where they are not scored yet")
                typical = relevance_request(Asked(topic["topic"], QUESTION, "", FACT), settings)
                found.add(typical, len(topic["questions"]) * each * SENTENCES * FACTS, COMPARE_REPLY)
                continue
            for request in (relevance_request(one, settings) for one in wanted):
                if store and store.has(request):
                    found.recorded += 1
                else:
                    found.add(request, 1, COMPARE_REPLY)
    found.assume(TWICE)
    return found


def add_comparisons(ctx: Context, found: Estimate, store: CallStore | None, group: AnswerGroup) -> None:
    """Add the comparisons of a group: the recorded ones by their verdicts, the others as if no two answers said the same."""
    settings, comparing = ctx.definition.equivalence, sort_answers(group)
    pair, number = next(comparing, None), 0
    first: Pair | None = None
    while pair is not None:
        reply = store.get(compare_request(pair, settings)) if store and first is None else None
        found.recorded += reply is not None
        if reply is None:
            first, number = first or pair, number + 1
        try:
            pair = comparing.send(reply is not None and parse_same(reply.text) is True)
        except StopIteration:
            break
    if first is not None:
        found.add(compare_request(first, settings), number, COMPARE_REPLY)
