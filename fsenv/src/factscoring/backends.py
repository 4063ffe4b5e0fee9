"""Puts an evaluator together from settings: the one place that knows which class stands behind which backend's name.

What needs a large package (torch, spaCy) is imported only when its backend is chosen, so that scoring `synth` starts at
once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factscoring.extraction import Extractor, GivenFacts, GrammarExtractor, LlmExtractor, RulesExtractor
from factscoring.grammar import Grammar
from factscoring.judgements import Verifier
from factscoring.knowledge import Knowledge
from factscoring.llm_verdict import LlmVerifier
from factscoring.retrieval import PageRetriever
from factscoring.scorer import Nonparametric, Retriever, Scorer
from factscoring.verdict import LexicalVerifier
from volume.errors import UsageError
from volume.files import FileHashes, sha256_value
from volume.llm import Client, Mode
from volume.settings import FactsSettings, LlmSettings, RetrievalSettings, VerifierSettings

API_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Model:
    """A local model: its folder and the type of its weights."""

    folder: Path
    dtype: str = "float32"


@dataclass(frozen=True)
class Calls:
    """How a service is asked: where replies are recorded, in which mode, at what cost at most (US dollars), for whom."""

    store: Path
    settings: LlmSettings = LlmSettings()
    mode: Mode = "record"
    max_cost: float | None = None
    dataset: str = ""


@dataclass(frozen=True)
class Evaluator:
    """All that an evaluator is made of, resolved.

    Attributes:
        models: Local models by the names that the settings use.
        grammar: The synthetic world's grammar.json, where there is one.
        cache: Folder for page embeddings.
        calls: None where no backend asks a service.
        hashes: Remembers the hashes of large files.
    """

    facts: FactsSettings
    retrieval: RetrievalSettings
    verifier: VerifierSettings
    knowledge: Path
    redirects: Path | None
    cache: Path
    hashes: FileHashes
    models: Mapping[str, Model] = field(default_factory=dict)
    grammar: Path | None = None
    calls: Calls | None = None
    given: bool = False  # facts come with the responses


def build_scorer(evaluator: Evaluator, log: Callable[[str], None]) -> Scorer:
    """Return the scorer of an evaluator.

    Raises:
        UsageError: A file, a model or a setting is missing.
        RecordError: A file cannot be read.
    """
    grammar = Grammar.from_file(evaluator.grammar) if evaluator.grammar else None
    knowledge = Knowledge(evaluator.knowledge, evaluator.redirects)
    client = _build_client(evaluator, log)
    extractor = build_extractor(evaluator, grammar, client)
    retriever, retrieval = _build_retrieval(evaluator)
    verifier, judging = _build_verifier(evaluator, grammar, client)
    npm, confirming = _build_npm(evaluator)
    describe = {
        **retrieval,
        "k": evaluator.retrieval.k,
        "knowledge": evaluator.knowledge.name,
        "knowledge_sha256": evaluator.hashes.of(evaluator.knowledge),
        **({"redirects_sha256": evaluator.hashes.of(evaluator.redirects)} if evaluator.redirects else {}),
        **judging,
        **confirming,
    }
    return Scorer(extractor, verifier, knowledge, retriever, evaluator.facts.gamma, npm, describe, client)


def _build_client(evaluator: Evaluator, log: Callable[[str], None]) -> Client | None:
    asks = (evaluator.facts.backend == "llm" and not evaluator.given) or evaluator.verifier.backend == "llm"
    if not asks:
        return None
    if evaluator.calls is None:
        raise UsageError("a backend `llm` needs a store of recorded calls; none was named.")
    calls = evaluator.calls
    key = os.environ.get(API_KEY) or None
    return Client(calls.store, calls.settings, calls.mode, dataset=calls.dataset, max_cost=calls.max_cost, key=key, log=log)


def build_extractor(evaluator: Evaluator, grammar: Grammar | None, client: Client | None) -> Extractor:
    """Return the extractor of an evaluator; ``client`` is needed for the backend `llm` alone."""
    if evaluator.given:
        return GivenFacts()
    backend = evaluator.facts.backend
    if backend == "grammar":
        assert grammar is not None and evaluator.grammar is not None
        return GrammarExtractor(grammar, evaluator.hashes.of(evaluator.grammar))
    from factscoring.splitter import find_splitter

    if backend == "rules":
        return RulesExtractor(find_splitter())
    assert client is not None
    return LlmExtractor(find_splitter(), client, evaluator.facts)


def _build_retrieval(evaluator: Evaluator) -> tuple[Callable[[str, Sequence[str]], Retriever], dict[str, Any]]:
    k = evaluator.retrieval.k
    if evaluator.retrieval.backend == "bm25":
        return lambda topic, passages: PageRetriever(topic, passages, k), {"retrieval": "bm25"}
    from factscoring.dense import DenseRetriever, Encoder

    model = evaluator.models[evaluator.retrieval.model]
    encoder = Encoder(model.folder, evaluator.cache)
    described = {"retrieval": "gtr", "retrieval_model_sha256": hash_folder(model.folder, evaluator.hashes)}
    return lambda topic, passages: DenseRetriever(encoder, topic, passages, k), described


def _build_verifier(evaluator: Evaluator, grammar: Grammar | None, client: Client | None) -> tuple[Verifier, dict[str, Any]]:
    settings = evaluator.verifier
    if settings.backend == "lexical":
        return LexicalVerifier(grammar.cues if grammar else {}), {}
    if settings.backend == "llm":
        assert client is not None
        return LlmVerifier(client, settings), {}
    from factscoring.local import LocalVerifier

    model = evaluator.models[settings.model]
    return LocalVerifier(model.folder, model.dtype, settings.passage_order), {"verifier_model_sha256": hash_folder(model.folder, evaluator.hashes)}


def _build_npm(evaluator: Evaluator) -> tuple[Nonparametric | None, dict[str, Any]]:
    if not evaluator.verifier.npm:
        return None, {"npm": False}
    from factscoring.npm import Npm

    model = evaluator.models[evaluator.verifier.npm_model]
    npm = Npm(model.folder, model.dtype)
    return npm, {"npm": True, "npm_threshold": npm.threshold, "npm_model_sha256": hash_folder(model.folder, evaluator.hashes)}


def hash_folder(folder: Path, hashes: FileHashes) -> str:
    """Return the SHA-256 over a model folder's files and their names; the bytes of large ones are hashed once and remembered."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sha256_value({str(path.relative_to(folder)): hashes.of(path) for path in files})
