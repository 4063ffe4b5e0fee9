"""Responses -> atomic facts -> passages -> verdicts -> scores, whatever the backends.

The stage and the stand-alone command both go through here. A failure is the item's own: the others of the same call are
scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factscoring.extraction import Extractor, Response
from factscoring.facts import Extraction, Fact
from factscoring.judgements import Judgement, Question, Verifier
from factscoring.knowledge import Knowledge
from factscoring.retrieval import PageRetriever
from factscoring.scores import compute_init_score, compute_respond_ratio, compute_score
from factscoring.verdict import nearest_sentence
from volume.errors import ItemError
from volume.files import sha256_value
from volume.llm import Client
from volume.records import Decision, ScoredResponse

NPM_PASSAGES = 3  # as in FActScore, found by BM25 over words split at white space


@dataclass(frozen=True)
class Item:
    """The responses about one topic that are scored, or fail, together."""

    topic: str
    responses: tuple[Response, ...]


class Retriever(Protocol):
    """Finds passages of one page."""

    def find_all(self, facts: Sequence[str]) -> list[list[str]]: ...


class Nonparametric(Protocol):
    """The masked language model that looks a fact's words up in its passages."""

    threshold: float

    def probabilities(self, items: Sequence[tuple[str, Sequence[str]]]) -> list[float | None]: ...


@dataclass
class Scorer:
    """An evaluator, put together.

    Attributes:
        extractor, verifier: The backends.
        knowledge: The pages.
        retriever: Makes the retriever of a page from its title and passages.
        gamma: Of the length penalty.
        npm: The nonparametric model whose consent a supported fact needs too, or None.
        describe: The identity of what is not the extractor's or the verifier's: retrieval, knowledge, npm.
        client: The service's client that the backends share, or None.
    """

    extractor: Extractor
    verifier: Verifier
    knowledge: Knowledge
    retriever: Callable[[str, Sequence[str]], Retriever]
    gamma: int
    npm: Nonparametric | None
    describe: dict[str, Any]
    client: Client | None = None

    def identity(self) -> dict[str, Any]:
        """Return what a score depends on beside the response; ``id`` is its hash. Scores of different evaluators are not comparable."""
        parts = {**self.extractor.identity(), **self.verifier.identity(), **self.describe, "gamma": self.gamma}
        return {"id": sha256_value(parts)[:16], **parts}

    def score(self, items: Sequence[Item]) -> list[list[ScoredResponse] | ItemError]:
        """Return the scored responses of every item, in order, or why the item failed."""
        outcomes: list[list[ScoredResponse] | ItemError | None] = [None] * len(items)
        pages: dict[int, list[str]] = {}
        for index, item in enumerate(items):  # first of all: what has no page costs no call
            try:
                pages[index] = self.knowledge.passages(item.topic)
            except ItemError as error:
                outcomes[index] = error
        extractions = self._extract(items, pages, outcomes)
        questions: list[Question] = []
        owners: list[int] = []
        for index, found in extractions.items():
            asked = self._questions(items[index].topic, pages[index], found)
            questions += asked
            owners += [index] * len(asked)
        names_own = self.verifier.identity().get("verifier") == "lexical"
        verdicts: dict[int, dict[str, Judgement]] = {index: {} for index in extractions}
        for index, question, judgement in zip(owners, questions, self.verifier.judge(questions), strict=True):
            if isinstance(judgement, ItemError):
                outcomes[index] = outcomes[index] or judgement
            else:
                verdicts[index][question.fact.atom] = judgement if names_own else dataclasses.replace(judgement, nearest=nearest_sentence(question))
        for index, found in extractions.items():
            if outcomes[index] is None:
                own = self._confirm(items[index].topic, pages[index], verdicts[index])
                pairs = zip(items[index].responses, found, strict=True)
                outcomes[index] = [build_record(response, extraction, own, self.gamma) for response, extraction in pairs]
        return [outcome if outcome is not None else [] for outcome in outcomes]

    def _extract(
        self, items: Sequence[Item], pages: dict[int, list[str]], outcomes: list[list[ScoredResponse] | ItemError | None]
    ) -> dict[int, list[Extraction]]:
        found = iter(self.extractor.extract([response for index in pages for response in items[index].responses]))
        extractions: dict[int, list[Extraction]] = {}
        for index in pages:
            own = [next(found) for _ in items[index].responses]
            failures = [extraction for extraction in own if isinstance(extraction, ItemError)]
            if failures:
                outcomes[index] = failures[0]
            else:
                extractions[index] = [extraction for extraction in own if isinstance(extraction, Extraction)]
        return extractions

    def _questions(self, topic: str, passages: Sequence[str], extractions: Sequence[Extraction]) -> list[Question]:
        """Return one question for each claim of a topic; a claim that returns in another response is asked once."""
        claims: dict[str, Fact] = {}
        for extraction in extractions:
            claims |= {fact.atom: fact for fact in extraction.facts if fact.kind == "claim" and fact.atom not in claims}
        if not claims:
            return []
        retrieved = self.retriever(topic, passages).find_all(list(claims))
        return [Question(topic, fact, tuple(own)) for fact, own in zip(claims.values(), retrieved, strict=True)]

    def _confirm(self, topic: str, passages: Sequence[str], verdicts: dict[str, Judgement]) -> dict[str, Judgement]:
        """Take back the support of facts whose words the nonparametric model does not find; without one, return the verdicts as they are."""
        atoms = [atom for atom, judgement in verdicts.items() if judgement.supported]
        if self.npm is None or not atoms:
            return verdicts
        retrieved = PageRetriever(topic, passages, NPM_PASSAGES, tokenise=str.split).find_all(atoms)
        probabilities = self.npm.probabilities(list(zip(atoms, retrieved, strict=True)))
        confirmed = {atom: combine(verdicts[atom], probability, self.npm.threshold) for atom, probability in zip(atoms, probabilities, strict=True)}
        return {**verdicts, **confirmed}


def combine(judgement: Judgement, probability: float | None, threshold: float) -> Judgement:
    """Return a judgement AND the nonparametric one (FActScore's rule: the probability must exceed the threshold).

    A fact of stop words only has no probability; then the verifier's own verdict stands.
    """
    supported = judgement.supported and (probability is None or probability > threshold)
    return Judgement(
        supported, judgement.evidence if supported else None, judgement.undecided, judgement.p_true,
        None if probability is None else round(probability, 4), judgement.nearest,
    )  # fmt: skip


def build_record(response: Response, found: Extraction, verdicts: dict[str, Judgement], gamma: int) -> ScoredResponse:
    """Return one scored response in the public code's form plus our own fields.

    Args:
        verdicts: The judgement of each claim by its atom.
    """
    decisions = [_decide(fact, verdicts.get(fact.atom) if fact.kind == "claim" else None) for fact in found.facts]
    facts, supported = len(decisions), sum(decision["is_supported"] for decision in decisions)
    return {
        "topic": response.topic,
        "generation": response.text,
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
        "refused": found.refused,
        "abstained": found.abstained,
    }


def _decide(fact: Fact, judgement: Judgement | None) -> Decision:
    decision: Decision = {
        "atom": fact.atom,
        "is_supported": judgement is not None and judgement.supported,
        "kind": fact.kind,
        "sentence": fact.sentence,
        "attribute": fact.attribute,
        "value": fact.value,
        "evidence": judgement.evidence if judgement else None,
    }
    if judgement is not None and judgement.undecided:
        decision["undecided"] = True
    if judgement is not None and judgement.p_true is not None:
        decision["p_true"] = judgement.p_true
    if judgement is not None and judgement.npm is not None:
        decision["npm"] = judgement.npm
    if judgement is not None and judgement.nearest:
        decision["nearest"] = judgement.nearest
    return decision


def count_responses(responses: Sequence[ScoredResponse]) -> dict[str, int]:
    """Return the counts of scored responses that a manifest keeps."""
    decisions = [decision for response in responses for decision in response["decisions"][0] or []]
    return {
        "responses": len(responses),
        "empty": sum(not response["generation"].strip() for response in responses),
        "abstained": sum(response["abstained"] for response in responses),
        "without_facts": sum(not response["decisions"][0] for response in responses),
        "facts": len(decisions),
        "supported": sum(decision["is_supported"] for decision in decisions),
        "undecided": sum(decision.get("undecided", False) for decision in decisions),
        **{name: sum(response[name] for response in responses) for name in ("sentences", "vague", "unparsed", "off_topic", "repeats", "refused")},
    }
