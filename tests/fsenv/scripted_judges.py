"""What the scripted service answers when it plays the two models of factscoring: the extractor and the judge."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from factscoring.prompts import FACTS_SYSTEM, VERDICT_AGAIN


def answer(body: dict[str, Any]) -> str:
    """List a sentence's clauses as facts; call a claim true when all its longer words stand in the passages, some of them only when asked again."""
    last = body["messages"][-1]["content"]
    if body["messages"][0]["content"] == FACTS_SYSTEM:
        topic, sentence = re.fullmatch(r"Subject: (.*)\nSentence: (.*)", last, re.DOTALL).groups()  # type: ignore[union-attr]
        return "Here are the facts:\n" + "\n".join(f"- {topic}: {clause.strip()}" for clause in re.split(r",|\band\b", sentence) if clause.strip(" ."))
    question = next(message["content"] for message in body["messages"] if message["role"] == "user")
    passages, _, claim = question.rpartition("\n\nClaim about ")
    claim = claim.partition(": ")[2].partition("\nTrue or False?")[0]
    dithers = hashlib.sha256(claim.encode()).digest()[0]
    if dithers < 64 and last != VERDICT_AGAIN:
        return "That is hard to say."
    if dithers < 16:
        return "It depends."
    return str(all(word in passages for word in re.findall(r"\w{5,}", claim)))
