"""What is asked of a service and what it answers, with token estimates and prices."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from volume.errors import ItemError
from volume.files import sha256_bytes
from volume.settings import LlmSettings

_BYTES_PER_TOKEN = 3  # English has four to five in the usual vocabularies; fewer errs on the safe side
_MESSAGE_TOKENS = 8  # a chat message's role and separators
_UNSAID_REPLY = 4096  # tokens that a reply may have where the request sets no limit


class CallFailed(ItemError):
    """This one call failed for good; others go on."""


@dataclass(frozen=True)
class Request:
    """One call, with everything that decides its reply.

    Attributes:
        family: Endpoint family, ``chat`` or ``completions``.
        model: The service's name of the model.
        messages: Chat messages as (role, text) pairs; for ``completions`` one, whose text is the prompt.
        prompt_version: Version of the prompt's template.
        sample: Which of several draws this is; part of the key, so that samples are distinct.
        parameters: Sampling parameters as sent, e.g. {"temperature": 0.7, "max_tokens": 512}.
    """

    family: str
    model: str
    messages: tuple[tuple[str, str], ...]
    prompt_version: str
    sample: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the request as JSON, the same for equal requests whatever the order of their parameters."""
        return _json_of(vars(self))

    def key(self) -> str:
        """Return the SHA-256 under which the reply is stored."""
        return sha256_bytes(self.as_json().encode())

    def draws(self, n: int) -> list[Request]:
        """Return n requests like this one, each another draw: the sample's index counts up, and with it the seed, if there is one.

        So do the seeds of one call's choices at vLLM and llama.cpp's server: a draw is the same there alone and among others.
        """
        seed = self.parameters.get("seed")
        return [
            replace(self, sample=self.sample + place, parameters=self.parameters | ({} if seed is None else {"seed": seed + place})) for place in range(n)
        ]

    def body(self, choices: int = 1) -> dict[str, Any]:
        """Return what the service is sent to have this draw, or so many from it on."""
        parameters = self.parameters | ({"n": choices} if choices > 1 else {})
        if self.family == "completions":
            return {"model": self.model, "prompt": self.messages[0][1], **parameters}
        return {"model": self.model, "messages": [{"role": role, "content": text} for role, text in self.messages], **parameters}


@dataclass(frozen=True)
class Reply:
    """The text of a reply, its token use, and why it ended (``length``: it was cut at max_tokens).

    Of several draws in one call the first has the tokens of the prompt, and they share those of the replies by their lengths.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = "stop"

    def as_json(self) -> str:
        """Return the reply as JSON."""
        return _json_of(vars(self))


def _json_of(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, ensure_ascii=False, allow_nan=False)


@dataclass
class Usage:
    """What a client did: ``calls`` were asked of the service and answered, ``recorded`` were in the store. The rest is of ``calls``.

    Several draws in one call count each.
    """

    calls: int = 0
    recorded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    spent: float = 0.0  # US dollars

    def as_note(self) -> dict[str, float]:
        """Return what a manifest says of the calls; a resumed run's replies count as recorded."""
        return {
            "asked": self.calls, "recorded": self.recorded, "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens, "usd": round(self.spent, 6),
        }  # fmt: skip


def estimate_tokens(text: str) -> int:
    """Return an estimate of a text's tokens that is rather too high: no tokenizer fits every service."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def estimate_prompt(request: Request) -> int:
    """Return an estimate of the tokens of what is sent."""
    return sum(estimate_tokens(text) + _MESSAGE_TOKENS for _, text in request.messages)


def most_reply_tokens(request: Request) -> int:
    """Return how many tokens the reply may have."""
    given = request.parameters.get("max_completion_tokens", request.parameters.get("max_tokens"))
    return given if isinstance(given, int) else _UNSAID_REPLY


def price(settings: LlmSettings, prompt_tokens: int, completion_tokens: int) -> float:
    """Return what these tokens cost, in US dollars."""
    return (prompt_tokens * settings.input_price + completion_tokens * settings.output_price) / 1e6
