"""Questions about a topic of one's own, written by a chat model where the list of topics has none.

A reply from which too few questions can be taken (no question, one that does not name the topic, the same one twice) is asked for
once more, with the reply before it and what is wrong with it; what is good in both then counts. The wording is this project's own:
with a change of it raise the version, so that recorded calls of the old one stay apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from volume.errors import ItemError
from volume.files import sha256_value
from volume.llm import CallFailed, Client, Reply, Request
from volume.settings import TopicsSettings
from volume.topics import ListedTopic

PROMPT_VERSION = "topic-questions-1"

SYSTEM = (
    "You write questions that somebody without special training might ask about a topic. Each can be answered in one paragraph of plain facts "
    "such as an encyclopedia gives, each asks about another side of the topic, and each names the topic as it is given instead of using a "
    "pronoun. Do not ask for opinions or for advice on a single case. Write a numbered list, one question a line, and nothing else."
)
AGAIN = "{fault} Write the numbered list of {number} questions once more."
# An invented condition, so that no example can be a topic of a dataset.
_EXAMPLE = ("dorsal fever", ("What causes dorsal fever?", "How long does dorsal fever usually last?", "Can dorsal fever be prevented by a vaccine?"))

_MARKS = re.compile(r"^[\s>#*_•–-]*(?:q(?:uestion)?\s*)?(?:\d{1,2}\s*[.):：])?[\s*_]*(?:q(?:uestion)?\s*[:：])?[\s*_]*", re.IGNORECASE)
_END = re.compile(r"[?？؟]$")
_JOINED = re.compile(r"(?<=[?？؟])\s+(?=\d{1,2}[.)]\s)")
_AROUND = " \t\"“”„«»'‘’*_`"


def write_questions(client: Client, topics: Sequence[ListedTopic], settings: TopicsSettings) -> list[list[str] | ItemError]:
    """Return the questions about every topic, in order; an ItemError for one of which there are too few."""
    requests = [question_request(topic, settings) for topic in topics]
    replies = client.complete(requests)
    found: list[list[str] | ItemError] = []
    again: dict[int, Request] = {}
    for index, (topic, request, reply) in enumerate(zip(topics, requests, replies, strict=True)):
        if isinstance(reply, CallFailed):
            found.append(ItemError(str(reply)))
            continue
        good, fault = read_reply(topic, reply, settings.questions)
        found.append(good)
        if fault:
            said = (("assistant", reply.text), ("user", AGAIN.format(fault=fault, number=settings.questions))) if reply.text.strip() else ()
            again[index] = replace(request, messages=(*request.messages, *said), sample=1)
    for index, reply in zip(again, client.complete(list(again.values())), strict=True):
        before = found[index]
        assert isinstance(before, list)
        if isinstance(reply, CallFailed):
            found[index] = ItemError(str(reply))
            continue
        good, fault = read_reply(topics[index], reply, settings.questions)
        both, _ = choose([*good, *before], topics[index], settings.questions)
        found[index] = both if len(both) == settings.questions else ItemError(f"asked twice, and of {settings.questions} questions {len(both)} are of use: {fault}")
    return found


def question_request(topic: ListedTopic, settings: TopicsSettings) -> Request:
    """Return the call that asks for the questions about a topic."""
    name, questions = _EXAMPLE
    listed = "\n".join(f"{place}. {question}" for place, question in enumerate(questions, start=1))
    messages = (("system", SYSTEM), ("user", _ask(len(questions), name)), ("assistant", listed), ("user", _ask(settings.questions, name_of(topic))))
    return Request("chat", settings.model, messages, PROMPT_VERSION, 0, {"temperature": settings.temperature, "max_tokens": settings.max_tokens})


def _ask(number: int, name: str) -> str:
    return f"Write {number} questions about this topic: {name}"


def name_of(topic: ListedTopic) -> str:
    """Return how a topic is called inside a sentence: its lower-case form, or its title without Wikipedia's bracket."""
    return topic.lower_case or re.sub(r"\s*\([^()]*\)$", "", topic.topic) or topic.topic


def identity(settings: TopicsSettings) -> dict[str, Any]:
    """Return what the questions depend on."""
    example = question_request(ListedTopic("{topic}", 0), settings)
    return {"backend": "llm", "model": settings.model, "prompt_sha256": sha256_value([PROMPT_VERSION, example.messages, AGAIN]), "temperature": settings.temperature}


def read_reply(topic: ListedTopic, reply: Reply, number: int) -> tuple[list[str], str]:
    """Return the good questions in a reply, at most ``number``, and what is wrong where they are fewer."""
    return choose(parse_list(reply.text, cut=reply.finish == "length"), topic, number)


def choose(questions: Sequence[str], topic: ListedTopic, number: int) -> tuple[list[str], str]:
    """Return the first ``number`` that are questions, about the topic, and different; and what is wrong where they are fewer."""
    name = name_of(topic)
    good: dict[str, str] = {}
    faults = []
    for question in questions:
        key = "".join(re.findall(r"\w", question.casefold()))
        if not _END.search(question):
            faults.append(f"'{question[:60]}' is no question.")
        elif name.casefold() not in question.casefold() and topic.topic.casefold() not in question.casefold():
            faults.append(f"'{question[:60]}' does not name {name}.")
        elif key in good:
            faults.append(f"'{question[:60]}' comes twice.")
        else:
            good[key] = question
    chosen = list(good.values())[:number]
    if len(chosen) == number:
        return chosen, ""
    return chosen, " ".join([*faults[:2], f"{number} questions are wanted, and there {'is' if len(chosen) == 1 else 'are'} {len(chosen)} of use."])


def parse_list(reply: str, cut: bool = False) -> list[str]:
    """Return the entries of a list: numbered, bulleted or plain lines, bold or labelled; or a JSON list. Talk around it is left out.

    Args:
        cut: The reply was cut at its greatest length, so its last line is not whole.
    """
    found = _read_json(reply)
    if found is not None:
        return found
    lines = _JOINED.sub("\n", reply.replace("\r", "\n")).split("\n")
    entries = []
    for line in lines[:-1] if cut else lines:
        bare = " ".join(_MARKS.sub("", line, count=1).split()).strip(_AROUND)
        if bare and (_END.search(bare) or re.match(r"[\s*_]*\d{1,2}\s*[.):]", line)):
            entries.append(bare)
    return entries


def _read_json(reply: str) -> list[str] | None:
    for start in re.finditer(r"\[", reply):
        try:
            value, _ = json.JSONDecoder().raw_decode(reply[start.start() :])
        except (json.JSONDecodeError, RecursionError):
            continue
        texts = [entry.get("question") if isinstance(entry, dict) else entry for entry in value]
        if texts and all(isinstance(text, str) for text in texts):
            return [" ".join(text.split()) for text in texts if isinstance(text, str)]
    return None
