"""What scoring would ask of a service: calls, tokens and money, before anything is spent. `make plan` shows it.

    python -m factscoring.estimate --dataset bio --data-dir data --split train

Reads: what the stage would read, and the recorded calls; prints one JSON object, writes nothing.
Calls for facts are counted exactly where the responses are there, without those that are recorded. Calls for verdicts: one
for each different fact, at most; facts that are not extracted yet are taken from the average so far. Nothing is retrieved:
of a prompt's passages only the length counts, and that is known from the page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

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
from volume.context import Context, open_context
from volume.errors import COMPLETE, ItemError, VolumeError
from volume.files import FileHashes
from volume.journal import mark_topics, read_entries, still_holds
from volume.llm import CallStore, Request, estimate_tokens, price
from volume.manifest import fingerprint_of
from volume.records import ScoredResponses, load

# Assumed where nothing is known yet: a short biography, as in the paper's data.
SENTENCES, FACTS = 6.0, 4.0  # per response, per sentence
SENTENCE, PASSAGE, FACT = "word " * 22, "word " * 190, "word " * 9
FACTS_REPLY, VERDICT_REPLY = 80, 2  # tokens


@dataclass
class Estimate:
    """Calls still to make and what they would use; ``assumed`` says in words what is not known."""

    calls: int = 0
    recorded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    assumed: list[str] = field(default_factory=list)

    def add(self, request: Request, number: float, reply_tokens: int) -> None:
        """Add ``number`` calls of the length of a request."""
        self.calls += round(number)
        self.prompt_tokens += round(number * sum(estimate_tokens(text) for _, text in request.messages))
        self.completion_tokens += round(number * reply_tokens)

    def assume(self, what: str) -> None:
        """Note an assumption, once."""
        if what not in self.assumed:
            self.assumed.append(what)


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


def waiting_topics(ctx: Context) -> list[str]:
    """Return the topics that the stage would still work on, by the stage's own rule."""
    hashes = FileHashes(ctx.paths.manifests / ".hashes" / f"{ctx.step.id}.json")
    names = [topic["topic"] for topic in ctx.topics]
    marks = mark_topics(ctx, fingerprint_of(ctx.step, ctx.definition, names, hashes, ctx.data_dir, ctx.limit))
    entries = read_entries(ctx.paths.journal(ctx.step.id))
    return [name for name in names if name not in entries or not still_holds(ctx, hashes, entries[name], marks[name])]


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
    per_question = definition.eval.n + definition.eval.greedy if ctx.run else definition.responses.n
    sentences = len(questions) * per_question * SENTENCES
    found.assume(f"{SENTENCES:g} sentences a response and {FACTS:g} facts a sentence where responses are not sampled yet")
    if definition.facts.backend == "llm" and not ctx.judge:
        found.add(facts_request(topic, SENTENCE, definition.facts), sentences, FACTS_REPLY)
    return sentences * FACTS


def main(argv: list[str] | None = None) -> int:
    """Print the estimate of a step as one JSON object; return the exit status."""
    try:
        words = sys.argv[1:] if argv is None else argv
        ctx = open_context("rejudge" if "--judge" in words else "factscore", words)
        found = estimate(ctx)
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    print(json.dumps({**dataclasses.asdict(found), "usd": price(ctx.definition.llm, found.prompt_tokens, found.completion_tokens)}))
    return COMPLETE


if __name__ == "__main__":
    raise SystemExit(main())
