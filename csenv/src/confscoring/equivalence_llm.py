"""The equivalence `llm`: a chat model is asked whether two answers to a question say the same.

Answers with the same words (`words`) are one to begin with. The distinct ones, the most frequent first, are compared with the
classes that there are, the largest first, and join the first class that says the same, or found one; every class is asked
before a new one is founded, and no answer is left out. The order of the samples plays no part. The claim's answer finds its
class in the same way.

All questions go forward together, each by one comparison at a time: many calls are in flight, and none is made whose verdict
would not be used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from confscoring.equivalence import AnswerClasses, AnswerGroup, word_key
from volume.errors import ItemError
from volume.files import sha256_value
from volume.llm import CallFailed, Client, Reply, Request
from volume.settings import EquivalenceSettings

# The wording is this project's own. A change of it changes scores: raise the version, and say it in CHANGELOG.md.
PROMPT_VERSION = "equivalence-1"
SYSTEM = (
    "You compare two answers to one question. They say the same if whoever accepts one of them has to accept the other as an answer to this "
    "question, though wording, spelling or amount of detail may differ. They do not say the same if they name different people, places, "
    "dates, numbers or things, or if only one of them answers the question. Answer with one word: Yes or No."
)
AGAIN = "Answer with one word, Yes or No."

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Pair:
    """Do these two answers to the question say the same? In alphabetical order, so that a pair is asked about in one way."""

    question: str
    left: str
    right: str


@dataclass
class _Class:
    text: str  # its most frequent answer
    size: int


class LlmEquivalence:
    """Asks a chat model about the answers to many questions side by side."""

    def __init__(self, client: Client, settings: EquivalenceSettings) -> None:
        self._client, self._settings = client, settings

    def classify(self, groups: Sequence[AnswerGroup]) -> list[AnswerClasses | ItemError]:
        """Return the classes of every group, the largest first; an ItemError for a group of which a call failed for good."""
        results: dict[int, AnswerClasses | ItemError] = {}
        undecided = [0] * len(groups)
        running = {index: sort_answers(group) for index, group in enumerate(groups)}
        waiting: dict[int, Pair] = {}

        def resume(index: int, verdict: bool | None) -> None:
            try:
                waiting[index] = running[index].send(verdict)
            except StopIteration as finished:
                results[index] = replace(finished.value, undecided=undecided[index])

        for index in running:
            resume(index, None)
        while waiting:
            asked, waiting = waiting, {}
            for index, verdict in zip(asked, self._compare(list(asked.values())), strict=True):
                if isinstance(verdict, ItemError):
                    results[index] = verdict
                    continue
                undecided[index] += verdict is None
                resume(index, verdict is True)
        return [results[index] for index in range(len(groups))]

    def _compare(self, pairs: Sequence[Pair]) -> list[bool | None | ItemError]:
        """Return whether each pair says the same; None where two replies did not tell."""
        asked = [compare_request(pair, self._settings) for pair in pairs]
        replies = self._client.complete(asked)
        unclear = {index: reply for index, reply in enumerate(replies) if isinstance(reply, Reply) and parse_same(reply.text) is None}
        again = [ask_again(asked[index], reply.text) for index, reply in unclear.items()]
        for index, second in zip(unclear, self._client.complete(again), strict=True):
            replies[index] = second
        return [ItemError(f"equivalence: {reply}") if isinstance(reply, CallFailed) else parse_same(reply.text) for reply in replies]

    def identity(self) -> dict[str, Any]:
        """Return what the classes depend on."""
        example = compare_messages(Pair("{question}", "{left}", "{right}"))
        return {
            "backend": "llm",
            "model": self._settings.model,
            "prompt_sha256": sha256_value([PROMPT_VERSION, example, AGAIN]),
            "temperature": self._settings.temperature,
        }


def sort_answers(group: AnswerGroup) -> Generator[Pair, bool | None, AnswerClasses]:
    """Yield the comparisons that a group needs, one at a time, take their verdicts, and return its classes."""
    forms: dict[tuple[str, ...], Counter[str]] = {}
    for answer in group.answers:
        forms.setdefault(word_key(answer), Counter())[" ".join(answer.split())] += 1
    empty = forms.pop((), Counter()).total()
    ranked = sorted((-texts.total(), min(texts, key=lambda text: (-texts[text], text)), key) for key, texts in forms.items())
    classes: list[_Class] = []
    home: dict[tuple[str, ...], _Class] = {}
    for minus_count, text, key in ranked:
        found = yield from _find_class(group.question, text, classes)
        if found is None:
            found = _Class(text, 0)
            classes.append(found)
        found.size -= minus_count
        home[key] = found
    sizes = tuple(sorted([*(one.size for one in classes), *[1] * empty], reverse=True))
    if group.claimed is None:
        return AnswerClasses(sizes)
    key = word_key(group.claimed)
    own = home.get(key)
    if own is None and key:
        own = yield from _find_class(group.question, " ".join(group.claimed.split()), classes)
    return AnswerClasses(sizes, own.size if own else 0)


def _find_class(question: str, text: str, classes: Sequence[_Class]) -> Generator[Pair, bool | None, _Class | None]:
    """Return the largest class that says the same as ``text``; of equally large ones the oldest."""
    for one in sorted(classes, key=lambda one: -one.size):
        if _different_numbers(one.text, text):
            continue
        if (yield Pair(question, *sorted((one.text, text)))):
            return one
    return None


def _different_numbers(left: str, right: str) -> bool:
    """Return whether both are bare whole numbers, such as years. Equal ones have the same words, so these differ: nothing is asked."""
    return all(re.fullmatch(r"[0-9]+(?:,[0-9]{3})*\.?", text) for text in (left, right))


def compare_messages(pair: Pair) -> Messages:
    """Return the chat that asks whether two answers say the same."""
    return (
        ("system", SYSTEM),
        ("user", f"Question: {pair.question}\nFirst answer: {pair.left}\nSecond answer: {pair.right}\nDo the two answers say the same? Yes or No?"),
    )


def compare_request(pair: Pair, settings: EquivalenceSettings) -> Request:
    """Return the call that asks about a pair."""
    parameters = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return Request("chat", settings.model, compare_messages(pair), PROMPT_VERSION, 0, parameters)


def ask_again(request: Request, reply: str) -> Request:
    """Return the call that follows a reply which was neither Yes nor No."""
    return replace(request, messages=(*request.messages, ("assistant", reply), ("user", AGAIN)))


def parse_same(reply: str) -> bool | None:
    """Return the verdict in a reply, None where it gives none.

    A reply that begins with the word has decided, whatever explanation follows; else it must end with it ("The answer is: no.").
    "Yes or no", "no difference" and "I cannot say no" decide nothing.
    """
    words = re.findall(r"\w+(?:['’]\w+)?", re.sub(r"yes\s+or\s+no", " ", reply.casefold()))
    if not words:
        return None
    if words[0] in ("yes", "no") and words[1:2] not in (["difference"], ["doubt"], ["distinction"], ["contradiction"]):
        return bool(words[0] == "yes")
    denied = any(word in ("not", "cannot", "neither", "nor") or word.endswith(("'t", "’t")) for word in words)
    if denied or words[-1] not in ("yes", "no") or {"yes", "no"} <= set(words):
        return None
    return bool(words[-1] == "yes")
