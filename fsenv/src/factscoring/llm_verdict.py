"""The verifier `llm`: a chat model judges each fact by its passages.

A reply that is neither True nor False is asked once more, with the reply before it and the two words repeated; after
that the fact is undecided and counts as not supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factscoring.judgements import Judgement, Question
from factscoring.prompts import VERDICT_AGAIN, VERDICT_VERSION, parse_verdict, verdict_messages
from volume.errors import ItemError
from volume.files import sha256_value
from volume.llm import CallFailed, Client, Request
from volume.settings import VerifierSettings


class LlmVerifier:
    """Asks a chat model about many facts side by side."""

    def __init__(self, client: Client, settings: VerifierSettings) -> None:
        self._client, self._settings = client, settings

    def judge(self, questions: Sequence[Question]) -> list[Judgement | ItemError]:
        """Return a judgement for every question, in order."""
        asked = [verdict_request(question, self._settings) for question in questions]
        replies = self._client.complete(asked)
        unclear = [index for index, reply in enumerate(replies) if not isinstance(reply, CallFailed) and parse_verdict(reply.text) is None]
        again = []
        for index in unclear:
            reply = replies[index]
            assert not isinstance(reply, CallFailed)
            again.append(ask_again(asked[index], reply.text))
        for index, reply in zip(unclear, self._client.complete(again), strict=True):
            replies[index] = reply
        judgements: list[Judgement | ItemError] = []
        for reply in replies:
            if isinstance(reply, CallFailed):
                judgements.append(ItemError(f"verdict: {reply}"))
            else:
                verdict = parse_verdict(reply.text)
                judgements.append(Judgement(supported=verdict is True, undecided=verdict is None))
        return judgements

    def identity(self) -> dict[str, Any]:
        """Return what its verdicts depend on."""
        return {
            "verifier": "llm",
            "verifier_model": self._settings.model,
            "verifier_prompt_sha256": sha256_value([VERDICT_VERSION, verdict_messages("{topic}", "{claim}", ["{passage}"]), VERDICT_AGAIN]),
            "verifier_temperature": self._settings.temperature,
        }


def verdict_request(question: Question, settings: VerifierSettings) -> Request:
    """Return the call that asks about a fact."""
    messages = verdict_messages(question.topic, question.fact.atom, question.passages)
    parameters = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return Request("chat", settings.model, messages, VERDICT_VERSION, 0, parameters)


def ask_again(request: Request, reply: str) -> Request:
    """Return the second call about a fact whose first reply gave no verdict."""
    messages = (*request.messages, ("assistant", reply), ("user", VERDICT_AGAIN))
    return Request(request.family, request.model, messages, request.prompt_version, 1, request.parameters)
