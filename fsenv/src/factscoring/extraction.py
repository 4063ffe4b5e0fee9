"""Atomic facts of responses by each of the backends: `grammar`, `rules`, `llm`, and facts that are given.

An extractor takes many responses at once, so that a service can be asked side by side, and returns one extraction for
each, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factscoring.abstention import is_abstention
from factscoring.clauses import extract_clauses
from factscoring.fact_list import parse_facts
from factscoring.facts import Extraction, Fact
from factscoring.grammar import Grammar
from factscoring.prompts import FACTS_VERSION, facts_messages
from factscoring.sentences import SPLITTER
from factscoring.splitter import Splitter
from volume.errors import ItemError
from volume.files import sha256_value
from volume.llm import CallFailed, Client, Request
from volume.settings import FactsSettings


@dataclass(frozen=True)
class Response:
    """A text about a topic; ``facts`` where somebody has extracted them already."""

    topic: str
    text: str
    facts: tuple[Fact, ...] | None = None


class Extractor(Protocol):
    """Takes responses apart into atomic facts."""

    def extract(self, responses: Sequence[Response]) -> list[Extraction | ItemError]:
        """Return the facts of every response, in order; an ItemError where they could not be had."""

    def identity(self) -> dict[str, Any]:
        """Return what the facts depend on beside the response, as JSON values."""


class GrammarExtractor:
    """Inverts the sentence patterns of the synthetic world. It knows no abstention: text outside the grammar counts as unparsed."""

    def __init__(self, grammar: Grammar, sha256: str | None) -> None:
        self._grammar, self._sha256 = grammar, sha256

    def extract(self, responses: Sequence[Response]) -> list[Extraction | ItemError]:
        return [self._grammar.extract(response.topic, response.text) for response in responses]

    def identity(self) -> dict[str, Any]:
        return {"facts": "grammar", "grammar_sha256": self._sha256, "splitter": SPLITTER}


class RulesExtractor:
    """Cuts sentences into clauses; no model and no service."""

    def __init__(self, splitter: Splitter) -> None:
        self._splitter = splitter

    def extract(self, responses: Sequence[Response]) -> list[Extraction | ItemError]:
        found: list[Extraction | ItemError] = []
        for response in responses:
            sentences = sentences_of(response, self._splitter)
            found.append(collect(response, sentences, [extract_clauses(response.topic, sentence) for sentence in sentences]))
        return found

    def identity(self) -> dict[str, Any]:
        return {"facts": "rules", "splitter": self._splitter.name}


class LlmExtractor:
    """Asks a chat model for the facts of each sentence; a sentence that comes back is asked for once."""

    def __init__(self, splitter: Splitter, client: Client, settings: FactsSettings) -> None:
        self._splitter, self._client, self._settings = splitter, client, settings

    def extract(self, responses: Sequence[Response]) -> list[Extraction | ItemError]:
        sentences = [sentences_of(response, self._splitter) for response in responses]
        asked = [facts_request(response.topic, sentence, self._settings) for response, own in zip(responses, sentences, strict=True) for sentence in own]
        replies = iter(self._client.complete(asked))
        found: list[Extraction | ItemError] = []
        for response, own in zip(responses, sentences, strict=True):
            lists, refused = [], 0
            failure: CallFailed | None = None
            for _ in own:
                reply = next(replies)
                if isinstance(reply, CallFailed):
                    failure = failure or reply
                    continue
                listed = parse_facts(reply.text)
                refused += listed.refused
                lists.append(list(listed.facts if reply.finish != "length" else listed.facts[:-1]))  # the last one is cut short
            if failure is not None:
                found.append(ItemError(f"facts: {failure}"))
                continue
            extraction = collect(response, own, lists)
            extraction.refused = refused
            found.append(extraction)
        return found

    def identity(self) -> dict[str, Any]:
        return {
            "facts": "llm",
            "facts_model": self._settings.model,
            "facts_prompt_sha256": sha256_value([FACTS_VERSION, facts_messages("{topic}", "{sentence}")]),
            "facts_temperature": self._settings.temperature,
            "splitter": self._splitter.name,
        }


class GivenFacts:
    """Takes the facts that come with the responses, as in FActScore's labelled data; no facts at all means an abstention."""

    def extract(self, responses: Sequence[Response]) -> list[Extraction | ItemError]:
        found: list[Extraction | ItemError] = []
        for response in responses:
            facts = list(response.facts or ())
            sentences = len({fact.sentence for fact in facts})
            found.append(Extraction(facts=facts, sentences=sentences, abstained=response.facts is None))
        return found

    def identity(self) -> dict[str, Any]:
        return {"facts": "given"}


def facts_request(topic: str, sentence: str, settings: FactsSettings) -> Request:
    """Return the call that asks for the facts of a sentence."""
    parameters = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return Request("chat", settings.model, facts_messages(topic, sentence), FACTS_VERSION, 0, parameters)


def sentences_of(response: Response, splitter: Splitter) -> list[str]:
    """Return the sentences to take apart; none of a response that is empty or declines to answer."""
    return [] if is_abstention(response.text) else splitter.split(response.text)


def collect(response: Response, sentences: Sequence[str], lists: Sequence[Sequence[str]]) -> Extraction:
    """Return the facts of a response from those of its sentences; a fact that returns counts once."""
    extraction = Extraction(sentences=len(sentences), abstained=is_abstention(response.text))
    seen: set[str] = set()
    for sentence, atoms in zip(sentences, lists, strict=True):
        for atom in atoms:
            form = " ".join(atom.casefold().split()).rstrip(".")
            if form in seen:
                extraction.repeats += 1
                continue
            seen.add(form)
            extraction.facts.append(Fact(atom, "claim", sentence))
    return extraction
