"""What the estimates of several stages have in common: what is recorded, what is still to do, and what is assumed of what is not there yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from confscoring.question_claims import Claim, Subject, claims_of
from confscoring.questions import read_rows
from volume.context import Context
from volume.costs import Estimate, waiting_topics
from volume.errors import VolumeError
from volume.llm import CallStore
from volume.records import Topic

# Assumed where nothing is known yet: a short biography, as in the paper's data.
SENTENCES, FACTS, ENTITIES = 6.0, 4.0, 12.0  # per response, per sentence, per response
FACT, QUESTION, HALF_RESPONSE = "word " * 9, "word " * 12, "word " * 65
DIFFERENT = 5  # different answers to a question
QUESTION_REPLY, COMPARE_REPLY, ENTITY_REPLY = 30, 2, 4  # tokens
TWICE = "a reply that is of no use is asked for once more, which is not counted"


@contextlib.contextmanager
def open_store(ctx: Context) -> Iterator[CallStore | None]:
    """Yield the recorded calls, None where there are none or all are asked for anew."""
    path = ctx.data_dir / "llm_calls.sqlite"
    if not path.exists() or ctx.llm_mode == "refresh":
        yield None
        return
    with CallStore(path) as store:
        yield store


def waiting(ctx: Context) -> Sequence[Topic]:
    """Return the topics that the stage would still work on."""
    waiting = set(waiting_topics(ctx))
    return [topic for topic in ctx.topics if topic["topic"] in waiting]


def claims_on(ctx: Context, topic: Topic, context: int) -> list[Claim] | None:
    """Return the different facts that a topic's responses state, None where they are not scored yet."""
    try:
        rows = read_rows(ctx, topic["topic"])
    except VolumeError:
        return None
    claims = [claim for row in rows for claim in claims_of(row, Subject.of(topic), context) if claim]
    return list({claim.key: claim for claim in reversed(claims)}.values())


def expected_questions(ctx: Context, found: Estimate, topic: Topic) -> float:
    """Return how many questions to expect of a topic: one for every different fact at most."""
    claims = claims_on(ctx, topic, 0)
    if claims is None:
        return assumed_facts(ctx, found, topic)
    found.assume("a question for every different fact where they are not asked yet")
    return len(claims)


def assumed_facts(ctx: Context, found: Estimate, topic: Topic) -> float:
    """Return how many facts to expect of a topic whose responses are not scored yet."""
    found.assume(f"{SENTENCES:g} sentences a response and {FACTS:g} facts a sentence, all different, where responses are not scored yet")
    return expected_responses(ctx, topic) * SENTENCES * FACTS


def expected_responses(ctx: Context, topic: Topic) -> int:
    """Return how many responses to a topic a stage is about: a policy is asked back about one to each question."""
    if ctx.run is not None:
        return len(topic["questions"])
    assert ctx.definition.responses is not None
    return len(topic["questions"]) * ctx.definition.responses.n
