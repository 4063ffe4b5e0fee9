"""What confidence scoring would ask of services: calls, tokens and money, before anything is spent. `make plan` shows it.

    python -m confscoring.estimate questions --dataset bio --data-dir data --split train

The stage (responses, questions, answers, entities, rewards) comes first, then its own arguments. Reads: what the stage would
read, and the recorded calls; prints one JSON object, writes nothing. Calls are counted exactly where the stage's inputs are
there, without those that are recorded; where they are not there yet they are assumed, and what was assumed is said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence

from confscoring.answers import answer_prompt, questions_of
from confscoring.chat import open_chat
from confscoring.entities import list_entities, sampling_of
from confscoring.equivalence import AnswerGroup
from confscoring.equivalence_llm import Pair, compare_request, parse_same, sort_answers
from confscoring.question_claims import Claim, Subject, claims_of
from confscoring.question_llm import question_request
from confscoring.reward_inputs import read_topic
from confscoring.samplers import served_name
from confscoring.sampling import Prompt
from confscoring.service_sampler import request_for
from confscoring.span_finders import open_finder
from volume.context import Context
from volume.costs import Estimate, tell_estimate, waiting_topics
from volume.errors import VolumeError
from volume.evidence import model_folder
from volume.llm import CallStore, estimate_tokens
from volume.records import Generations, ScoredResponses, Topic, load
from volume.settings import SamplingSettings

# Assumed where nothing is known yet: a short biography, as in the paper's data.
SENTENCES, FACTS, ENTITIES = 6.0, 4.0, 12.0  # per response, per sentence, per response
FACT, QUESTION, HALF_RESPONSE = "word " * 9, "word " * 12, "word " * 65
DIFFERENT = 5  # different answers to a question
QUESTION_REPLY, COMPARE_REPLY, ENTITY_REPLY = 30, 2, 4  # tokens
_TWICE = "a reply that is of no use is asked for once more, which is not counted"


def estimate_responses(ctx: Context) -> Estimate:
    """Return the calls for responses by a server."""
    settings = ctx.definition.responses
    assert settings is not None
    found, written = Estimate(), _writer(ctx, settings)
    with _open_store(ctx) as store:
        for topic in _waiting(ctx):
            for question in topic["questions"]:
                prompt = Prompt(f"responses/{topic['topic']}/{question}", settings.prompt.format(question=question, topic=topic["topic"]))
                _add_samples(ctx, found, store, *written(prompt))
    return found


def estimate_questions(ctx: Context) -> Estimate:
    """Return the calls for questions by a chat model: one for every different fact."""
    settings = ctx.definition.questions
    assert settings is not None
    found = Estimate()
    with _open_store(ctx) as store:
        for topic in _waiting(ctx):
            claims = _claims(ctx, topic, settings.context)
            if claims is None:
                typical = Claim(Subject.of(topic), FACT, (FACT,) * settings.context)
                found.add(question_request(typical, settings), _assumed_facts(ctx, found, topic), QUESTION_REPLY)
            for claim in claims or ():
                request = question_request(claim, settings)
                if store and store.has(request):
                    found.recorded += 1
                else:
                    found.add(request, 1, QUESTION_REPLY)
    found.assume(_TWICE)
    return found


def estimate_answers(ctx: Context) -> Estimate:
    """Return the calls for sampled answers by a server: those to every different question."""
    settings = ctx.definition.answers
    assert settings is not None
    found, written = Estimate(), _writer(ctx, settings)
    with _open_store(ctx) as store:
        for topic in _waiting(ctx):
            name = topic["topic"]
            try:
                rows: ScoredResponses = load(ctx.paths.atomic_qs(name), ScoredResponses)
            except VolumeError:  # not asked yet
                number = _expected_questions(ctx, found, topic)
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
    with _open_store(ctx) as store:
        for topic in _waiting(ctx):
            try:
                generations: Generations = load(ctx.paths.responses(topic["topic"]), Generations)
            except VolumeError:  # not sampled yet
                found.assume(f"{ENTITIES:g} entities a response where responses are not sampled yet")
                _add_typical(ctx, found, Prompt("", HALF_RESPONSE, ENTITY_REPLY), how, _responses(ctx, topic) * ENTITIES)
                continue
            for entity in list_entities(topic["topic"], generations, finder, estimate_tokens):
                most = entity.prompt.max_new_tokens or ENTITY_REPLY
                _add_samples(ctx, found, store, entity.prompt, dataclasses.replace(how, max_new_tokens=most))
    return found


def estimate_rewards(ctx: Context) -> Estimate:
    """Return the comparisons of answers by a chat model, as many as there can be: every two different answers to a question."""
    settings, answers = ctx.definition.equivalence, ctx.definition.answers
    assert answers is not None
    found = Estimate()
    groups: dict[AnswerGroup, None] = {}
    unknown = 0.0
    for topic in ctx.topics:
        try:
            groups |= dict.fromkeys(group for text in read_topic(ctx, topic["topic"]) for group in text.answer_groups())
        except VolumeError:  # not sampled yet
            entities = _responses(ctx, topic) * ENTITIES if ctx.definition.entities.enabled else 0.0
            unknown += _expected_questions(ctx, found, topic) + entities
    with _open_store(ctx) as store:
        for group in groups:
            _add_comparisons(ctx, found, store, group)
    if unknown:
        number = min(DIFFERENT, answers.n)
        found.assume(f"{number} different answers to a question where none are sampled yet")
        found.add(compare_request(Pair(QUESTION, "word", "word"), settings), unknown * math.comb(number + 1, 2), COMPARE_REPLY)
    found.assume("every two answers with different words are compared; each class that is found saves calls")
    found.assume(_TWICE)
    return found


def _writer(ctx: Context, settings: SamplingSettings) -> Callable[[Prompt], tuple[Prompt, SamplingSettings]]:
    """Return what gives prompts the form in which the stage samples after them: of a chat model that of its template."""
    if not ctx.definition.models[settings.model].chat:
        return lambda prompt: (prompt, settings)
    form = open_chat(model_folder(ctx.definition, ctx.paths, ctx.data_dir, settings.model), settings.model)
    return lambda prompt: (form.write(prompt, settings), dataclasses.replace(settings, prefix=""))


def _add_comparisons(ctx: Context, found: Estimate, store: CallStore | None, group: AnswerGroup) -> None:
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


@contextlib.contextmanager
def _open_store(ctx: Context) -> Iterator[CallStore | None]:
    """Yield the recorded calls, None where there are none or all are asked for anew."""
    path = ctx.data_dir / "llm_calls.sqlite"
    if not path.exists() or ctx.llm_mode == "refresh":
        yield None
        return
    with CallStore(path) as store:
        yield store


def _waiting(ctx: Context) -> Sequence[Topic]:
    """Return the topics that the stage would still work on."""
    waiting = set(waiting_topics(ctx))
    return [topic for topic in ctx.topics if topic["topic"] in waiting]


def _claims(ctx: Context, topic: Topic, context: int) -> list[Claim] | None:
    """Return the different facts that a topic's responses state, None where they are not scored yet."""
    try:
        rows: ScoredResponses = load(ctx.paths.factscore(topic["topic"]), ScoredResponses)
    except VolumeError:
        return None
    claims = [claim for row in rows for claim in claims_of(row, Subject.of(topic), context) if claim]
    return list({claim.key: claim for claim in reversed(claims)}.values())


def _expected_questions(ctx: Context, found: Estimate, topic: Topic) -> float:
    """Return how many questions to expect of a topic: one for every different fact at most."""
    claims = _claims(ctx, topic, 0)
    if claims is None:
        return _assumed_facts(ctx, found, topic)
    found.assume("a question for every different fact where they are not asked yet")
    return len(claims)


def _assumed_facts(ctx: Context, found: Estimate, topic: Topic) -> float:
    found.assume(f"{SENTENCES:g} sentences a response and {FACTS:g} facts a sentence, all different, where responses are not scored yet")
    return _responses(ctx, topic) * SENTENCES * FACTS


def _responses(ctx: Context, topic: Topic) -> int:
    assert ctx.definition.responses is not None
    return len(topic["questions"]) * ctx.definition.responses.n


ESTIMATORS = {
    "responses": estimate_responses,
    "questions": estimate_questions,
    "answers": estimate_answers,
    "entities": estimate_entities,
    "rewards": estimate_rewards,
}

if __name__ == "__main__":
    raise SystemExit(tell_estimate(sys.argv[1:], ESTIMATORS))
