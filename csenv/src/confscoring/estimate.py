"""What confidence scoring would ask of services: calls, tokens and money, before anything is spent. `make plan` shows it.

    python -m confscoring.estimate questions --dataset bio --data-dir data --split train

The stage (topics, responses, questions, answers, entities, rewards, relevance, calibrate) comes first, then its own arguments. Reads: what the stage would
read, and the recorded calls; prints one JSON object, writes nothing. Calls are counted exactly where the stage's inputs are
there, without those that are recorded; where they are not there yet they are assumed, and what was assumed is said.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable

from confscoring.answers import answer_prompt, questions_of
from confscoring.chat import open_chat
from confscoring.entities import list_entities, sampling_of
from confscoring.estimate_parts import (
    ENTITIES,
    ENTITY_REPLY,
    FACT,
    HALF_RESPONSE,
    QUESTION,
    QUESTION_REPLY,
    TWICE,
    assumed_facts,
    claims_on,
    expected_questions,
    expected_responses,
    open_store,
    waiting,
)
from confscoring.estimate_verdicts import estimate_calibrate, estimate_relevance, estimate_rewards
from confscoring.question_claims import Claim, Subject
from confscoring.question_llm import question_request
from confscoring.questions import public_prompt
from confscoring.samplers import served_name
from confscoring.sampling import Prompt
from confscoring.service_sampler import request_for
from confscoring.span_finders import open_finder
from confscoring.topic_questions import question_request as topic_request
from volume.context import Context
from volume.costs import Estimate, tell_estimate
from volume.errors import VolumeError
from volume.evidence import model_folder
from volume.llm import CallStore, estimate_tokens
from volume.records import Generations, ScoredResponses, load
from volume.settings import SamplingSettings
from volume.topics import find_list, read_topics


def estimate_topics(ctx: Context) -> Estimate:
    """Return the calls for questions about topics that have none: one for each of them."""
    settings = ctx.definition.topics
    assert settings is not None
    found = Estimate()
    with open_store(ctx) as store:
        for row in read_topics(find_list(ctx.definition, ctx.data_dir)):
            if row.questions or settings.prompt:
                continue
            request = topic_request(row, settings)
            if store and store.has(request):
                found.recorded += 1
            else:
                found.add(request, 1, settings.questions * QUESTION_REPLY)
    return found


def estimate_responses(ctx: Context) -> Estimate:
    """Return the calls for responses by a server."""
    settings = ctx.definition.responses
    assert settings is not None
    found, written = Estimate(), _writer(ctx, settings)
    with open_store(ctx) as store:
        for topic in waiting(ctx):
            for question in topic["questions"]:
                prompt = Prompt(f"responses/{topic['topic']}/{question}", settings.prompt.format(question=question, topic=topic["topic"]))
                _add_samples(ctx, found, store, *written(prompt))
    return found


def estimate_questions(ctx: Context) -> Estimate:
    """Return the calls for questions by a chat model: one for every different fact."""
    settings = ctx.definition.questions
    assert settings is not None
    found, public = Estimate(), public_prompt(ctx, settings)
    with open_store(ctx) as store:
        for topic in waiting(ctx):
            claims = claims_on(ctx, topic, settings.context)
            if claims is None:
                typical = Claim(Subject.of(topic), FACT, (FACT,) * settings.context)
                found.add(question_request(typical, settings, public), assumed_facts(ctx, found, topic), QUESTION_REPLY)
            for claim in claims or ():
                request = question_request(claim, settings, public)
                if store and store.has(request):
                    found.recorded += 1
                else:
                    found.add(request, 1, QUESTION_REPLY)
    found.assume(TWICE)
    return found


def estimate_answers(ctx: Context) -> Estimate:
    """Return the calls for sampled answers by a server: those to every different question."""
    settings = ctx.definition.answers
    assert settings is not None
    found, written = Estimate(), _writer(ctx, settings)
    with open_store(ctx) as store:
        for topic in waiting(ctx):
            name = topic["topic"]
            try:
                rows: ScoredResponses = load(ctx.paths.atomic_qs(name), ScoredResponses)
            except VolumeError:  # not asked yet
                number = expected_questions(ctx, found, topic)
                _add_typical(ctx, found, *written(answer_prompt(name, QUESTION, settings)), number)
                continue
            for question in dict.fromkeys(question for row in rows for question in questions_of(row)):
                _add_samples(ctx, found, store, *written(answer_prompt(name, question, settings)))
    return found


def estimate_entities(ctx: Context) -> Estimate:
    """Return the calls for resampled entities by a server."""
    settings, answers = ctx.definition.entities, ctx.definition.answers
    assert answers is not None
    how = sampling_of(settings, answers)
    found = Estimate()
    finder = open_finder(settings, ctx.data_dir, ctx.paths.world / "grammar.json")
    with open_store(ctx) as store:
        for topic in waiting(ctx):
            try:
                generations: Generations = load(ctx.paths.responses(topic["topic"]), Generations)
            except VolumeError:  # not sampled yet
                found.assume(f"{ENTITIES:g} entities a response where responses are not sampled yet")
                _add_typical(ctx, found, Prompt("", HALF_RESPONSE, ENTITY_REPLY), how, expected_responses(ctx, topic) * ENTITIES)
                continue
            for entity in list_entities(topic["topic"], generations, finder, estimate_tokens):
                most = entity.prompt.max_new_tokens or ENTITY_REPLY
                _add_samples(ctx, found, store, entity.prompt, dataclasses.replace(how, max_new_tokens=most))
    return found


def _writer(ctx: Context, settings: SamplingSettings) -> Callable[[Prompt], tuple[Prompt, SamplingSettings]]:
    """Return what gives prompts the form in which the stage samples after them: of a chat model that of its template."""
    if not ctx.definition.models[settings.model].chat:
        return lambda prompt: (prompt, settings)
    form = open_chat(model_folder(ctx.definition, ctx.paths, ctx.data_dir, settings.model), settings.model)
    return lambda prompt: (form.write(prompt, settings), dataclasses.replace(settings, prefix=""))


def _add_samples(ctx: Context, found: Estimate, store: CallStore | None, prompt: Prompt, settings: SamplingSettings) -> None:
    """Add the calls for the samples of a prompt, unless the first and the last of them are recorded."""
    request = request_for(prompt, settings, served_name(ctx, settings), ctx.definition.seed, ctx.definition.name)
    if store:
        draws = request.draws(settings.n)
        if store.has(draws[0]) and store.has(draws[-1]):
            found.recorded += settings.n
            return
    _add_typical(ctx, found, prompt, settings, 1)


def _add_typical(ctx: Context, found: Estimate, prompt: Prompt, settings: SamplingSettings, number: float) -> None:
    """Add the calls for the samples of ``number`` prompts like this one."""
    request = request_for(prompt, settings, served_name(ctx, settings), ctx.definition.seed, ctx.definition.name)
    calls = math.ceil(settings.n / settings.samples_per_call)
    found.assume("samples of the greatest length")
    found.add(request, number * calls, settings.n / calls * request.parameters["max_tokens"])


ESTIMATORS = {
    "topics": estimate_topics,
    "responses": estimate_responses,
    "questions": estimate_questions,
    "answers": estimate_answers,
    "entities": estimate_entities,
    "rewards": estimate_rewards,
    "relevance": estimate_relevance,
    "calibrate": estimate_calibrate,
}

if __name__ == "__main__":
    raise SystemExit(tell_estimate(sys.argv[1:], ESTIMATORS))
