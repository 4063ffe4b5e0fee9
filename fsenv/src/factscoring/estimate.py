"""What scoring would ask of a service: calls, tokens and money, before anything is spent. `make plan` shows it.

    python -m factscoring.estimate factscore --dataset bio --data-dir data --split train

The stage (factscore, rejudge) comes first, then its own arguments. Reads: what the stage would read, and the recorded calls; prints one JSON object, writes nothing.
Calls for facts are counted exactly where the responses are there, without those that are recorded. Calls for verdicts: one
for each different fact, at most; facts that are not extracted yet are taken from the average so far. Nothing is retrieved:
of a prompt's passages only the length counts, and that is known from the page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence

from factscoring.backends import Evaluator, build_extractor
from factscoring.extraction import facts_request, sentences_of
from factscoring.fact_list import parse_facts
from factscoring.facts import Extraction, Fact
from factscoring.factscore import evaluator_of, responses_of
from factscoring.grammar import Grammar
from factscoring.judgements import Question
from factscoring.knowledge import Knowledge
from factscoring.llm_verdict import verdict_request
from factscoring.rejudge import as_response
from factscoring.splitter import find_splitter
from volume.context import Context
from volume.costs import Estimate, tell_estimate, waiting_topics
from volume.errors import ItemError, VolumeError
from volume.llm import CallStore, Request
from volume.records import ScoredResponses, load

# Assumed where nothing is known yet: a short biography, as in the paper's data.
SENTENCES, FACTS = 6.0, 4.0  # per response, per sentence
SENTENCE, PASSAGE, FACT = "word " * 22, "word " * 190, "word " * 9
FACTS_REPLY, VERDICT_REPLY = 80, 2  # tokens


def estimate(ctx: Context) -> Estimate:
    """Return what the step of a context would still ask for.

    Raises:
        VolumeError: The definition, or a file that it names, cannot be used.
    """
    found = Estimate()
    evaluator = evaluator_of(ctx)
    if ctx.judge:
        evaluator = dataclasses.replace(evaluator, verifier=ctx.definition.judges[ctx.judge], given=True)
    knowledge = Knowledge(evaluator.knowledge, evaluator.redirects) if evaluator.knowledge.exists() else None
    with contextlib.ExitStack() as stack:
        count_facts = _fact_counter(ctx, evaluator, found, stack)
        for name in waiting_topics(ctx):
            try:
                page = knowledge.passages(name) if knowledge else [PASSAGE] * evaluator.retrieval.k
            except ItemError:  # it will be recorded as failed, and costs nothing
                continue
            try:
                facts = count_facts(name)
            except VolumeError:  # not sampled yet
                facts = _assumed_facts(ctx, found, name)
            if evaluator.verifier.backend == "llm":
                found.add(_typical_question(name, page, evaluator), facts, VERDICT_REPLY)
                found.assume("a verdict for every different fact; recorded ones cost nothing")
    if not ctx.topics:
        found.assume("the questions file is not there yet: nothing is counted")
    return found


def _typical_question(topic: str, page: Sequence[str], evaluator: Evaluator) -> Request:
    """Return a call about a fact whose passages are as long as the page's are on average."""
    length = round(statistics.mean(map(len, page))) if page else 0
    passages = ("x" * length,) * min(evaluator.retrieval.k, len(page))
    return verdict_request(Question(topic, Fact(FACT, "claim", ""), passages), evaluator.verifier)


def _fact_counter(ctx: Context, evaluator: Evaluator, found: Estimate, stack: contextlib.ExitStack) -> Callable[[str], float]:
    """Return the function that counts the calls for the facts of a topic's responses and returns its number of different facts."""
    if evaluator.given:
        return lambda topic: _different(fact for scored in load(ctx.paths.factscore(topic, ctx.run), ScoredResponses) for fact in as_response(scored).facts or ())
    if evaluator.facts.backend != "llm":
        extractor = build_extractor(evaluator, Grammar.from_file(evaluator.grammar) if evaluator.grammar else None, None)

        def count_local(topic: str) -> float:
            extractions = extractor.extract(responses_of(ctx, topic))
            return _different(fact for extraction in extractions if isinstance(extraction, Extraction) for fact in extraction.facts)

        return count_local

    splitter = find_splitter()
    path = ctx.data_dir / "llm_calls.sqlite"
    store = stack.enter_context(CallStore(path)) if path.exists() and ctx.llm_mode != "refresh" else None

    def count_calls(topic: str) -> float:
        sentences = {sentence for response in responses_of(ctx, topic) for sentence in sentences_of(response, splitter)}
        atoms: set[str] = set()
        unknown = 0
        for sentence in sorted(sentences):
            request = facts_request(topic, sentence, evaluator.facts)
            reply = store.get(request) if store else None
            if reply is None:
                found.add(request, 1, FACTS_REPLY)
                unknown += 1
            else:
                found.recorded += 1
                atoms |= set(parse_facts(reply.text).facts)
        if unknown:
            found.assume(f"{FACTS:g} facts a sentence where they are not extracted yet")
        return len(atoms) + unknown * FACTS

    return count_calls


def _different(facts: Iterable[Fact]) -> int:
    return len({fact.atom for fact in facts if fact.kind == "claim"})


def _assumed_facts(ctx: Context, found: Estimate, topic: str) -> float:
    """Count the calls for a topic whose responses are not sampled yet; return the facts to expect."""
    definition = ctx.definition
    assert definition.facts and definition.responses
    questions = next(entry["questions"] for entry in ctx.topics if entry["topic"] == topic)
    greedy = definition.eval.greedy and ctx.split == definition.eval.split  # candidates are chosen by what is sampled alone
    per_question = definition.eval.n + greedy if ctx.run else definition.responses.n
    sentences = len(questions) * per_question * SENTENCES
    found.assume(f"{SENTENCES:g} sentences a response and {FACTS:g} facts a sentence where responses are not sampled yet")
    if definition.facts.backend == "llm" and not ctx.judge:
        found.add(facts_request(topic, SENTENCE, definition.facts), sentences, FACTS_REPLY)
    return sentences * FACTS


ESTIMATORS = {"factscore": estimate, "rejudge": estimate}

if __name__ == "__main__":
    raise SystemExit(tell_estimate(sys.argv[1:], ESTIMATORS))
