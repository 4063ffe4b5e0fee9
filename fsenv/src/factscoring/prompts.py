"""What a language model is asked for: the atomic facts of a sentence, and whether a fact is supported.

The wording is this project's own. A change of it changes scores: raise the version, so that recorded calls of the old
wording stay apart, and say it in CHANGELOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FACTS_VERSION = "facts-1"
VERDICT_VERSION = "verdict-1"

FACTS_SYSTEM = (
    "You take a sentence apart into the separate facts that it states. Write one fact a line, each line beginning with '- '. "
    "A fact states one thing, in one short sentence that can be read alone: name the subject instead of using a pronoun. "
    "Keep every date, number and name as it stands, add nothing that the sentence does not say, and leave out opinions. "
    "If the sentence states no fact, write '- None'. Write nothing but the list."
)
# (topic, sentence, facts). Invented people, so that no example can be a topic of a dataset.
FACTS_EXAMPLES = (
    (
        "Marit Oslund",
        "Born in Vardø in 1931, she trained as a surveyor and later drew the first harbour map of the region.",
        "- Marit Oslund was born in Vardø.\n- Marit Oslund was born in 1931.\n- Marit Oslund trained as a surveyor.\n"
        "- Marit Oslund drew a harbour map of the region.\n- The map by Marit Oslund was the first harbour map of the region.",
    ),
    (
        "Dorsal fever",
        "It usually lasts five to seven days and is treated with rest and fluids.",
        "- Dorsal fever usually lasts five to seven days.\n- Dorsal fever is treated with rest.\n- Dorsal fever is treated with fluids.",
    ),
    ("Pim van Aarle", "In short, he was a remarkable man!", "- None"),
)

VERDICT_SYSTEM = (
    "You check claims against a source. Judge only by the passages that are given. Answer True if they state or clearly imply the "
    "claim, and False if they contradict it or do not say it. Answer with one word: True or False."
)
VERDICT_AGAIN = "Answer with one word, True or False."

Messages = tuple[tuple[str, str], ...]


def facts_messages(topic: str, sentence: str) -> Messages:
    """Return the chat that asks for the facts of a sentence; all but its last message is the same for every sentence."""
    messages = [("system", FACTS_SYSTEM)]
    for name, text, facts in FACTS_EXAMPLES:
        messages += [("user", _facts_question(name, text)), ("assistant", facts)]
    return (*messages, ("user", _facts_question(topic, sentence)))


def _facts_question(topic: str, sentence: str) -> str:
    return f"Subject: {topic}\nSentence: {sentence}"


def verdict_messages(topic: str, claim: str, passages: Sequence[str]) -> Messages:
    """Return the chat that asks whether a claim about ``topic`` is supported by passages of its page, best last as in the public code."""
    shown = "\n\n".join(f"Title: {topic}\nText: {passage}" for passage in reversed(passages)) or "(there is no passage)"
    return (("system", VERDICT_SYSTEM), ("user", f"Passages about {topic}:\n\n{shown}\n\nClaim about {topic}: {claim}\nTrue or False?"))


def parse_verdict(reply: str) -> bool | None:
    """Return the verdict in a reply, None where it gives none.

    A reply that begins with the word has decided, whatever explanation follows. Else one of the two words must stand in
    it alone and not denied: "not true" and "true or false" decide nothing.
    """
    words = re.findall(r"\w+(?:['’]t)?", re.sub(r"true\s+or\s+false", " ", reply.casefold()))
    if words[:1] in (["true"], ["false"]):
        return bool(words[0] == "true")
    found = {word for word in words if word in ("true", "false")}
    denied = any(word in ("not", "neither", "cannot", "nor") or word.endswith(("'t", "’t")) for word in words)
    return "true" in found if len(found) == 1 and not denied else None
