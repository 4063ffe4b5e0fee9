"""The backend `llm`: a chat model asks about each fact.

A reply that is of no use (no question, no answer, a pronoun for a name, a question that gives its answer away, yes or no, an
answer that the fact does not give) is asked for once more, with the reply before it and what is wrong with it; after that the
fact has no question. Yes or no is refused because a model says yes to most things: its agreement would pass for confidence.
With the public code's own prompt (`questions.examples`) everything but an empty reply is taken, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from confscoring import question_public
from confscoring.question_claims import Asked, Claim, Subject, fault_of, words_of
from confscoring.question_prompts import AGAIN, PROMPT_VERSION, parse_question, question_messages
from confscoring.question_public import PublicPrompt
from volume.errors import ItemError
from volume.files import sha256_value
from volume.llm import CallFailed, Client, Reply, Request
from volume.settings import QuestionsSettings


class LlmQuestions:
    """Asks a chat model about many facts side by side.

    Args:
        public: The public code's prompt, where it takes the place of ours.
    """

    def __init__(self, client: Client, settings: QuestionsSettings, public: PublicPrompt | None = None) -> None:
        self.client, self._settings, self._public = client, settings, public

    def ask(self, claims: Sequence[Claim]) -> list[Asked | ItemError]:
        """Return what became of every claim, in order; an ItemError for one of which a call failed for good."""
        requests = [question_request(claim, self._settings, self._public) for claim in claims]
        replies = self.client.complete(requests)
        found: list[Asked | ItemError] = []
        again: dict[int, Request] = {}
        for index, (claim, request, reply) in enumerate(zip(claims, requests, replies, strict=True)):
            if isinstance(reply, CallFailed):
                found.append(ItemError(f"question: {reply}"))
                continue
            asked, fault = read_reply(claim, request, reply, self._public)
            found.append(asked)
            if fault is not None:
                again[index] = ask_again(request, reply.text, fault, self._public)
        for index, reply in zip(again, self.client.complete(list(again.values())), strict=True):
            if isinstance(reply, CallFailed):
                found[index] = ItemError(f"question: {reply}")
            else:
                asked, fault = read_reply(claims[index], requests[index], reply, self._public)
                found[index] = replace(asked, repaired=fault is None)
        return found

    def identity(self) -> dict[str, Any]:
        """Return what the questions depend on."""
        example = Claim(Subject("{topic}", "{name}", "{pronoun}"), "{fact}", ("{shown}",))
        request = question_request(example, self._settings, self._public)
        return {
            "backend": "llm",
            "model": self._settings.model,
            "prompt_sha256": sha256_value([request.prompt_version, request.messages, question_public.AGAIN if self._public else AGAIN]),
            "temperature": self._settings.temperature,
            "context": self._settings.context,
            **({"examples": self._settings.examples} if self._public else {}),
        }


def question_request(claim: Claim, settings: QuestionsSettings, public: PublicPrompt | None = None) -> Request:
    """Return the call that asks about a claim."""
    parameters = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    if public:
        return Request("chat", settings.model, public.messages(claim), question_public.PROMPT_VERSION, 0, parameters)
    return Request("chat", settings.model, question_messages(claim, settings.context), PROMPT_VERSION, 0, parameters)


def ask_again(request: Request, reply: str, fault: str, public: PublicPrompt | None = None) -> Request:
    """Return the second call about a fact whose first reply was of no use; an empty reply is no message that a service takes."""
    if public:  # its prompt ends where the question begins: it is said whole once more
        return replace(request, messages=(*request.messages[:-1], ("user", question_public.AGAIN.format(prompt=request.messages[-1][1]))), sample=1)
    said = (("assistant", reply), ("user", AGAIN.format(fault=fault))) if reply.strip() else ()
    return replace(request, messages=(*request.messages, *said), sample=1)


def read_reply(claim: Claim, request: Request, reply: Reply, public: PublicPrompt | None = None) -> tuple[Asked, str | None]:
    """Return the question in a reply, and what is wrong with it: then there is none."""
    prompt = request.messages[-1][1]
    if public:
        question = question_public.parse_continuation(reply.text, cut=reply.finish == "length")
        return (Asked(question, None, prompt), None) if words_of(question) else (Asked(prompt=prompt), "There is no question.")
    question, answer = parse_question(reply.text, cut=reply.finish == "length")
    fault = fault_of(question, answer, claim)
    return (Asked(question, answer, prompt) if fault is None else Asked(prompt=prompt)), fault
