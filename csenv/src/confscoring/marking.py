"""A response cut into pieces that say what each part is: a true or a false claim, vague, beside the question, no fact at all.

The report colours the pieces and lists the facts below them. A fact is found where its sentence stands in the text; where a
sentence holds several facts, each is found by the words that it has for itself. What cannot be found is in the list alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NotRequired, TypedDict

from confscoring.judge import VagueReader, World, decisions_of, kind_of
from volume.records import Decision, ScoredResponse

_SENTENCE = re.compile(r"[^.!?]*[.!?]+\s*|[^.!?]+$")
_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
_GAP = 6  # words between two of a fact's own that still belong to it
# Too frequent to tell one fact of a sentence from another.
_COMMON = frozenset(
    "a an and are as at be been but by for from had has have he her his in is it its of on or she that the their they this to was were which who with".split()
)


class Piece(TypedDict):
    """A piece of a response."""

    text: str
    status: str  # correct | incorrect | irrelevant | unparsed | off_topic, of its fact; vague | repeat | no_claim
    fact: NotRequired[int]  # its place in the list of facts
    glued: NotRequired[bool]  # no space before it


class MarkedFact(TypedDict):
    """A fact, what became of it, and what its verdict rests on."""

    atom: str
    status: str  # as of a piece
    verdict: str  # the verifier's: supported | not supported | undecided; "" for text that states nothing about the topic
    truth: NotRequired[str]  # the world's value where the claim has another
    evidence: NotRequired[str]  # the sentence that supports it, where the verifier names one
    nearest: NotRequired[str]  # else the sentence that comes nearest in the passages that it read
    question: NotRequired[str]
    claimed: NotRequired[str]
    p_true: NotRequired[float]
    npm: NotRequired[float]


class MarkedResponse(TypedDict):
    """One response, marked."""

    topic: str
    tier: str | None
    pieces: list[Piece]
    facts: list[MarkedFact]


def mark_response(
    world: World | None, vague: VagueReader | None, topic: str, scored: ScoredResponse, relevant: Sequence[bool | None] | None = None
) -> MarkedResponse:
    """Mark a response: by the truth, or by the verifier where there is none.

    Args:
        world: The truth, None for a dataset without.
        vague: Finds what a text leaves open, None for a dataset without a grammar.
        topic: Whom or what it is about.
        scored: The response with its decisions.
        relevant: Of each fact whether it has to do with the question; None where nobody asked.
    """
    text, decisions = scored["generation"], decisions_of(scored)
    answers = relevant if relevant is not None else [None] * len(decisions)
    facts = [_mark_fact(world, topic, decision, answer) for decision, answer in zip(decisions, answers, strict=True)]
    pieces: list[Piece] = []
    place = 0
    for sentence, group in groupby(range(len(decisions)), key=lambda index: decisions[index].get("sentence") or decisions[index]["atom"]):
        members = list(group)
        start, end = _find(sentence, text, place)
        if start < 0:  # rewritten by the extractor: in the list alone
            continue
        pieces += _unscored(text[place:start], vague)
        atoms = [facts[index]["atom"] for index in members]
        spans = [(start, end, 0)] if len(members) == 1 else find_spans(text, start, end, atoms, topic)
        place = start
        for left, right, member in spans:
            index = members[member]
            pieces += [*_cut(text, place, left, "no_claim"), *_cut(text, left, right, facts[index]["status"], index)]
            place = right
        pieces += _cut(text, place, end, "no_claim")
        place = end
    pieces += _unscored(text[place:], vague)
    tier = world.tiers[world.people[topic]["tier"]] if world else None
    return {"topic": topic, "tier": tier, "pieces": pieces, "facts": facts}


def find_spans(text: str, start: int, end: int, atoms: Sequence[str], topic: str) -> list[tuple[int, int, int]]:
    """Return (start, end, place of the fact) of the facts of one sentence that can be told apart in it, in the text's order.

    A fact is where the words stand that it shares with the sentence and with none of the other facts; the topic's name and
    common words tell nothing. Facts without such words are not in the result.

    Args:
        text: The response.
        start, end: Where the sentence stands in it.
        atoms: The facts taken from that sentence.
        topic: Whom or what it is about.
    """
    words = [(match.start(), match.end(), match.group().casefold()) for match in _WORD.finditer(text, start, end)]
    said = [{word.casefold() for word in _WORD.findall(atom)} for atom in atoms]
    dull = _COMMON | {word.casefold() for word in _WORD.findall(topic)}
    own = [words_of - dull - set().union(*said[:index], *said[index + 1 :]) for index, words_of in enumerate(said)]
    owners = [next((index for index, words_of in enumerate(own) if word in words_of), None) for _, _, word in words]
    best: dict[int, tuple[int, int, int]] = {}
    for owner, first, last, number in _runs(owners):
        while first > 0 and owners[first - 1] is None and words[first - 1][2] in said[owner] & _COMMON:
            first -= 1
        if owner not in best or number > best[owner][2]:
            best[owner] = (first, last, number)
    taken = sorted((first, last, owner) for owner, (first, last, _) in best.items())
    spans, free = [], 0
    for first, last, owner in taken:
        first = max(first, free)
        spans.append((words[first][0], words[last][1], owner))
        free = last + 1
    return spans


def _runs(owners: Sequence[int | None]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (fact, first word, last word, own words) of every stretch in which no other fact's words stand."""
    places = [place for place, owner in enumerate(owners) if owner is not None]
    run: list[int] = []
    for place in places:
        if run and (owners[place] != owners[run[0]] or place - run[-1] > _GAP):
            yield owners[run[0]], run[0], run[-1], len(run)  # type: ignore[misc]
            run = []
        run.append(place)
    if run:
        yield owners[run[0]], run[0], run[-1], len(run)  # type: ignore[misc]


def _mark_fact(world: World | None, topic: str, decision: Decision, relevant: bool | None) -> MarkedFact:
    kind = kind_of(decision)
    right = world.supports(topic, decision) if world else decision["is_supported"]
    status = kind if kind != "claim" else "irrelevant" if right and relevant is False else "correct" if right else "incorrect"
    verdict = "" if kind != "claim" else "undecided" if decision.get("undecided") else "supported" if decision["is_supported"] else "not supported"
    fact: MarkedFact = {"atom": decision["atom"], "status": status, "verdict": verdict}
    truth = world.people[topic]["facts"].get(decision.get("attribute") or "") if world and kind == "claim" and not right else None
    if truth:
        fact["truth"] = truth
    evidence, nearest, question, claimed = (decision.get(name) for name in ("evidence", "nearest", "atomic_question", "claim_answer"))
    if evidence:
        fact["evidence"] = str(evidence)
    if nearest:
        fact["nearest"] = str(nearest)
    if question:
        fact["question"] = str(question)
    if claimed:
        fact["claimed"] = str(claimed)
    if "p_true" in decision:
        fact["p_true"] = decision["p_true"]
    if "npm" in decision:
        fact["npm"] = decision["npm"]
    return fact


def _find(sentence: str, text: str, place: int) -> tuple[int, int]:
    """Return where a sentence stands in a text from ``place`` on, whatever its white space; (-1, -1) where it does not."""
    pattern = r"\s+".join(map(re.escape, sentence.split()))
    found = re.compile(pattern).search(text, place) if pattern else None
    return found.span() if found else (-1, -1)


def _cut(text: str, start: int, end: int, status: str, fact: int | None = None) -> list[Piece]:
    """Return a part of the text as one piece, none where it is white space alone."""
    content = text[start:end]
    if not content.strip():
        return []
    piece: Piece = {"text": content.strip(), "status": status}
    if fact is not None:
        piece["fact"] = fact
    if start > 0 and not content[0].isspace() and not text[start - 1].isspace():
        piece["glued"] = True
    return [piece]


def _unscored(text: str, vague: VagueReader | None) -> list[Piece]:
    """Return the sentences that no fact was taken from: where the language is known they are vague, or say again what was said."""
    return [
        {"text": sentence.strip(), "status": "no_claim" if vague is None else "vague" if vague.word.casefold() in sentence.casefold() else "repeat"}
        for sentence in _SENTENCE.findall(text)
        if sentence.strip(" .!?\n")
    ]
