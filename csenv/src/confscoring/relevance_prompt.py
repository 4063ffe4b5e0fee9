"""What a chat model is asked for relevance: whether a fact has to do with the question that its response was to answer.

The wording is this project's own: the paper says that facts were checked and not in which words. A change of it changes scores: raise
the version, so that recorded calls of the old wording stay apart, and say it in CHANGELOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from confscoring.equivalence_llm import parse_same
from volume.llm import Request
from volume.settings import RelevanceSettings

PROMPT_VERSION = "relevance-1"
SYSTEM = (
    "You decide whether a fact has to do with a question. It does if it answers the question, in whole or in part, or is needed to understand an "
    "answer to it. It does not if it is about the same subject but answers another question: how something is treated is no answer to what "
    "causes it. Whether the fact is true plays no part. Answer with one word: Yes or No."
)
AGAIN = "Answer with one word, Yes or No."

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Asked:
    """Does this fact have to do with the question?

    Attributes:
        form: What makes two facts the same, whatever their letters; of those that are the same the first is asked about, in its own words.
    """

    topic: str
    question: str
    form: str
    fact: str = field(compare=False)


def relevance_messages(asked: Asked) -> Messages:
    """Return the chat that asks about a fact."""
    text = f"Subject: {asked.topic}\nQuestion: {asked.question}\nFact: {asked.fact}\nDoes the fact have to do with the question? Yes or No?"
    return (("system", SYSTEM), ("user", text))


def relevance_request(asked: Asked, settings: RelevanceSettings) -> Request:
    """Return the call that asks about a fact."""
    parameters = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return Request("chat", settings.model, relevance_messages(asked), PROMPT_VERSION, 0, parameters)


def ask_again(request: Request, reply: str) -> Request:
    """Return the second call about a fact whose first reply was neither Yes nor No; an empty reply is no message that a service takes."""
    said = (("assistant", reply), ("user", AGAIN)) if reply.strip() else ()
    return replace(request, messages=(*request.messages, *said), sample=1)


def parse_relevant(reply: str) -> bool | None:
    """Return the verdict in a reply, None where it gives none: Yes and No are read as for two answers that may say the same."""
    return parse_same(reply)
