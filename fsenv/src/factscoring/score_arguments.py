"""The options of the stand-alone command, and the evaluator that they describe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from factscoring.backends import Calls, Evaluator, Model
from volume.errors import UsageError
from volume.files import FileHashes
from volume.settings import FactsSettings, LlmSettings, Mode, RetrievalSettings, VerifierSettings

Arguments = argparse.Namespace


def parse_arguments(argv: list[str] | None) -> Arguments:
    """Read the command line; a wrong one ends the process with status 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m factscoring.score", description="Score texts for truthfulness against a knowledge base.")
    add = parser.add_argument
    add("--input", required=True, type=Path, help="JSON lines: topic and text, or FActScore's labelled form")
    add("--output", required=True, type=Path, help="the scored rows, JSON lines")
    add("--knowledge", required=True, type=Path, help="SQLite file documents(title, text); python -m factscoring.build_knowledge makes one")
    add("--redirects", type=Path, help='JSON file {"other title": "title"}')
    add("--facts", choices=("given", "rules", "llm"), help="how facts are found; default: given where the rows have them, else rules")
    add("--facts-model", default="", help="the service's model, for --facts llm")
    add("--facts-temperature", type=float, default=FactsSettings.temperature)
    add("--retrieval", choices=("bm25", "gtr"), default="bm25", help="passages of the topic's page by words or by a dense model")
    add("--retrieval-model", type=Path, help="folder of a sentence-transformers model, for --retrieval gtr")
    add("--k", type=int, default=RetrievalSettings.k, help="passages per fact")
    add("--verifier", choices=("lexical", "local", "llm"), default="lexical", help="who judges: words, a local causal model, a service")
    add("--verifier-model", default="", help="folder of the local model, or the service's name of the model")
    add("--passage-order", choices=("rank", "page"), default="rank", help="of a local model's prompt: best last, or one order for all facts")
    add("--npm-model", type=Path, help="folder of a masked language model: supported facts need its consent too")
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of local models")
    add("--gamma", type=int, default=FactsSettings.gamma, help="facts below which the length penalty acts")
    add("--limit", type=int, help="only the first N rows")
    add("--base-url", default=LlmSettings.base_url, help="the OpenAI-compatible service; its key is read from OPENAI_API_KEY")
    add("--calls", type=Path, help="store of recorded calls; default: OUTPUT.calls.sqlite")
    add("--llm-mode", choices=get_args(Mode), default="record", help="record, replay (recorded replies only), refresh")
    add("--in-flight", type=int, default=LlmSettings.in_flight, help="calls at once")
    add("--requests-per-minute", type=float, default=0.0, help="0: no limit")
    add("--tokens-per-minute", type=float, default=0.0, help="0: no limit")
    add("--input-price", type=float, default=0.0, help="US dollars per million prompt tokens")
    add("--output-price", type=float, default=0.0, help="US dollars per million tokens of replies")
    add("--max-cost", type=float, metavar="USD", help="stop before all calls in the store cost more; needs the prices")
    return parser.parse_args(argv)


def evaluator_from(given: Arguments, annotated: bool) -> Evaluator:
    """Return the evaluator that the options describe.

    Args:
        annotated: Whether facts come with the rows.

    Raises:
        UsageError: Options that need each other are not all there (all of them are named).
    """
    facts = given.facts or ("given" if annotated else "rules")
    faults = []
    if facts == "given" and not annotated:
        faults.append("--facts given needs rows with 'annotations'")
    if facts == "llm" and not given.facts_model:
        faults.append("--facts llm needs --facts-model, the service's name of the model")
    if given.verifier in ("llm", "local") and not given.verifier_model:
        faults.append(f"--verifier {given.verifier} needs --verifier-model")
    if given.retrieval == "gtr" and given.retrieval_model is None:
        faults.append("--retrieval gtr needs --retrieval-model, a folder")
    if given.k < 1 or given.gamma < 1:
        faults.append("--k and --gamma must be at least 1")
    if faults:
        raise UsageError("; ".join(faults) + ".")
    llm = LlmSettings(
        base_url=given.base_url, in_flight=given.in_flight, requests_per_minute=given.requests_per_minute, tokens_per_minute=given.tokens_per_minute,
        input_price=given.input_price, output_price=given.output_price,
    )  # fmt: skip
    folders = {"retrieval": given.retrieval_model, "verifier": given.verifier_model if given.verifier == "local" else None, "npm": given.npm_model}
    calls = given.calls or given.output.with_name(f"{given.output.name}.calls.sqlite")
    return Evaluator(
        facts=FactsSettings("rules" if facts == "given" else facts, given.facts_model, given.facts_temperature, gamma=given.gamma),
        retrieval=RetrievalSettings(given.retrieval, "retrieval", given.k),
        verifier=VerifierSettings(
            given.verifier, "verifier" if given.verifier == "local" else given.verifier_model, passage_order=given.passage_order,
            npm=given.npm_model is not None, npm_model="npm",
        ),
        knowledge=given.knowledge,
        redirects=given.redirects,
        cache=given.output.with_name(f"{given.output.name}.embeddings"),
        hashes=FileHashes(given.output.with_name(f".{given.output.name}.hashes.json")),
        models={name: Model(Path(folder), given.dtype) for name, folder in folders.items() if folder},
        calls=Calls(calls, llm, given.llm_mode, given.max_cost),
        given=facts == "given",
    )  # fmt: skip
