"""A response cut into pieces that say what each sentence is: a true or a false claim, vague, unread."""

from __future__ import annotations

import re
from typing import NotRequired, TypedDict

from confscoring.judge import VagueReader, World, decisions_of, kind_of
from volume.records import ScoredResponse

_SENTENCE = re.compile(r"[^.!?]*[.!?]+\s*|[^.!?]+$")


class Piece(TypedDict):
    """A piece of a response; ``truth`` is the world's value where the claim has another."""

    text: str
    status: str  # correct | incorrect | unparsed | off_topic | vague | repeat
    truth: NotRequired[str]


class MarkedResponse(TypedDict):
    """One response, marked."""

    topic: str
    tier: str | None
    pieces: list[Piece]


def mark_response(world: World | None, vague: VagueReader | None, topic: str, scored: ScoredResponse) -> MarkedResponse:
    """Mark a response: by the truth, or by the verifier where there is none.

    Text between the sentences that were scored is vague or repeats a fact.
    """
    text = scored["generation"]
    pieces: list[Piece] = []
    place = 0
    for decision in decisions_of(scored):
        sentence = decision.get("sentence") or decision["atom"]
        start = text.find(sentence, place)
        if start < 0:  # rewritten by the extractor: shown on its own, after what was there
            start, end = place, place
        else:
            end = start + len(sentence)
        pieces += _unscored(text[place:start], vague)
        kind = kind_of(decision)
        right = world.supports(topic, decision) if world else decision["is_supported"]
        piece: Piece = {"text": sentence, "status": ("correct" if right else "incorrect") if kind == "claim" else kind}
        truth = world.people[topic]["facts"].get(decision.get("attribute") or "") if world and kind == "claim" and not right else None
        if truth:
            piece["truth"] = truth
        pieces.append(piece)
        place = end
    pieces += _unscored(text[place:], vague)
    tier = world.tiers[world.people[topic]["tier"]] if world else None
    return {"topic": topic, "tier": tier, "pieces": pieces}


def _unscored(text: str, vague: VagueReader | None) -> list[Piece]:
    return [
        {"text": sentence.strip(), "status": "vague" if vague and vague.word.casefold() in sentence.casefold() else "repeat"}
        for sentence in _SENTENCE.findall(text)
        if sentence.strip(" .!?\n")
    ]
