"""Scores responses for truthfulness against a knowledge base.

    python -m factscoring.factscore --dataset synth --data-dir data --split train
    python -m factscoring.factscore --dataset synth --data-dir data --split test --run factscore

Reads: responses/{topic}_generations.json (of a policy: eval/{run}/responses/...), the knowledge base, world/grammar.json.
Writes: factscore_outputs/{topic}_fs_out.json (eval/{run}/factscore_outputs/...), every response of every question in order.
Counted in the manifest: responses, empty ones, sentences, facts and supported facts, unparsed, off_topic, vague, repeats.
Not covered yet: facts `llm` and `rules`, retrieval `gtr`, verifiers `llm` and `local`, the nonparametric model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from factscoring.facts import Extraction
from factscoring.grammar import Grammar
from factscoring.knowledge import Knowledge
from factscoring.retrieval import PageRetriever
from factscoring.scores import compute_init_score, compute_respond_ratio, compute_score
from factscoring.sentences import SPLITTER
from factscoring.verdict import LexicalVerifier
from volume.context import Context
from volume.errors import ItemError, RecordError, UsageError
from volume.files import FileHashes
from volume.records import Decision, Generations, ScoredResponse, ScoredResponses, Topic, load
from volume.settings import Definition
from volume.stage import run_topics

_AVAILABLE = {"facts": "grammar", "retrieval": "bm25", "verifier": "lexical"}


def prepare(ctx: Context) -> Callable[[list[Topic]], dict[str, list[Any] | ItemError]]:
    """Open what scoring needs and return the function that scores topics.

    Raises:
        UsageError: A backend is not available, or the grammar or the knowledge base is missing.
        RecordError: One of them cannot be read.
    """
    check_backends(ctx.definition)
    assert ctx.definition.facts and ctx.definition.retrieval and ctx.definition.knowledge
    gamma, k = ctx.definition.facts.gamma, ctx.definition.retrieval.k
    grammar_path = ctx.paths.world / "grammar.json"
    root = ctx.paths.root if ctx.definition.world else ctx.data_dir
    knowledge_path = root / ctx.definition.knowledge.path
    grammar = Grammar.from_file(grammar_path)
    knowledge = Knowledge(knowledge_path)
    verifier = LexicalVerifier(grammar.cues)
    ctx.note("evaluator", describe_evaluator(ctx, grammar_path, knowledge_path))

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        results: dict[str, list[Any] | ItemError] = {}
        scored: dict[str, ScoredResponses] = {}
        for topic in topics:
            name = topic["topic"]
            try:
                retriever = PageRetriever(name, knowledge.passages(name), k)
                generations: Generations = load(ctx.paths.responses(name, ctx.run), Generations)
            except ItemError as error:
                results[name] = error
            except RecordError as error:
                results[name] = ItemError(str(error))
            else:
                scored[name] = score_topic(name, generations, grammar, retriever, verifier, gamma)
                results[name] = [scored[name]]
        for name, responses in scored.items():  # last: the loop repeats a group in which something was raised
            count_responses(ctx, name, responses)
        return results

    return work


def check_backends(definition: Definition) -> None:
    """Refuse what is not built yet, all at once.

    Raises:
        UsageError: A section is missing or names a backend that does not exist yet.
    """
    faults = []
    for section, available in _AVAILABLE.items():
        settings = getattr(definition, section)
        if settings is None:
            faults.append(f"[{section}] is missing from dataset '{definition.name}'; available: backend = '{available}'")
        elif settings.backend != available:
            faults.append(f"{section}.backend = {settings.backend!r} is not available yet; available: {available}")
    if definition.verifier and definition.verifier.npm:
        faults.append("verifier.npm = true is not available yet; available: false")
    if definition.knowledge is None:
        faults.append(f"[knowledge] is missing from dataset '{definition.name}'; expected path = the SQLite file")
    if faults:
        raise UsageError("; ".join(faults))


def describe_evaluator(ctx: Context, grammar: Path, knowledge: Path) -> dict[str, Any]:
    """Return what a score depends on beside the response: scores of different evaluators are not comparable."""
    hashes = FileHashes(ctx.paths.manifests / ".hashes" / f"{ctx.step.id}.json")  # already holds the hash of a large file
    assert ctx.definition.facts and ctx.definition.retrieval and ctx.definition.verifier
    return {
        "facts": ctx.definition.facts.backend,
        "grammar_sha256": hashes.of(grammar),
        "splitter": SPLITTER,
        "retrieval": ctx.definition.retrieval.backend,
        "k": ctx.definition.retrieval.k,
        "knowledge": knowledge.name,
        "knowledge_sha256": hashes.of(knowledge),
        "verifier": ctx.definition.verifier.backend,
        "npm": False,
        "gamma": ctx.definition.facts.gamma,
    }


def score_topic(
    topic: str, generations: Generations, grammar: Grammar, retriever: PageRetriever, verifier: LexicalVerifier, gamma: int
) -> ScoredResponses:
    """Return the scored responses of a topic, question by question; a fact that returns is looked up once."""
    evidence: dict[str, str | None] = {}
    scored: ScoredResponses = []
    for generation in generations.values():
        for response in generation["responses"]:
            found = grammar.extract(topic, response)
            for fact in found.facts:
                if fact.kind == "claim" and fact.atom not in evidence:
                    evidence[fact.atom] = verifier.find_evidence(topic, fact, retriever.find(fact.atom))
            scored.append(build_record(topic, response, found, evidence, gamma))
    return scored


def build_record(topic: str, response: str, found: Extraction, evidence: dict[str, str | None], gamma: int) -> ScoredResponse:
    """Return one scored response in the public code's form plus our own fields.

    Args:
        evidence: The supporting sentence of each claim by its atom; None where there is none.
    """
    decisions: list[Decision] = [
        {
            "atom": fact.atom,
            "is_supported": fact.kind == "claim" and evidence[fact.atom] is not None,
            "kind": fact.kind,
            "sentence": fact.sentence,
            "attribute": fact.attribute,
            "value": fact.value,
            "evidence": evidence[fact.atom] if fact.kind == "claim" else None,
        }
        for fact in found.facts
    ]
    facts, supported = len(decisions), sum(decision["is_supported"] for decision in decisions)
    return {
        "topic": topic,
        "generation": response,
        "score": compute_score(supported, facts, gamma),
        "respond_ratio": compute_respond_ratio(facts),
        "decisions": [decisions],
        "num_facts_per_response": facts,
        "init_score": compute_init_score(supported, facts),
        "sentences": found.sentences,
        "vague": found.vague,
        "unparsed": found.number("unparsed"),
        "off_topic": found.number("off_topic"),
        "repeats": found.repeats,
    }


def count_responses(ctx: Context, topic: str, responses: ScoredResponses) -> None:
    """Add a topic's scored responses to the manifest's counts."""
    decisions = [decision for response in responses for decision in response["decisions"][0] or []]
    counts = {
        "responses": len(responses),
        "empty": sum(not response["generation"].strip() for response in responses),
        "without_facts": sum(not response["decisions"][0] for response in responses),
        "facts": len(decisions),
        "supported": sum(decision["is_supported"] for decision in decisions),
        "sentences": sum(response["sentences"] for response in responses),
        "vague": sum(response["vague"] for response in responses),
        "unparsed": sum(response["unparsed"] for response in responses),
        "off_topic": sum(response["off_topic"] for response in responses),
        "repeats": sum(response["repeats"] for response in responses),
    }
    for name, number in counts.items():
        ctx.count(name, number, topic=topic)


if __name__ == "__main__":
    raise SystemExit(run_topics("factscore", prepare, group=16))
