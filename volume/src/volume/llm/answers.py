"""What an answer of the service means: a reply, another attempt, the end of this call, or the end of all.

All four are values, so that one place decides what to do about them. The key is cut out of whatever the service says.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from volume.errors import UsageError, VolumeError
from volume.llm.calls import CallFailed, Reply, Request, estimate_prompt, estimate_tokens

_SHOWN = 200  # characters of the service's own message
_KEPT = "What was recorded is kept, and the same command goes on there."


@dataclass(frozen=True)
class Retry:
    """The attempt failed, another may do.

    Attributes:
        reason: What went wrong.
        wait: Seconds that the service asks for.
        pause: The service is overloaded, so that ``wait`` is for all calls.
        paid: The service may charge for the attempt: it answered, or nobody knows.
        stop: If no attempt works it is the service's fault and not this call's, so everything stops with this advice.
    """

    reason: str
    wait: float | None = None
    pause: bool = False
    paid: bool = False
    stop: str = ""


Outcome = list[Reply] | Retry | CallFailed | VolumeError


class Interpreter:
    """Reads the answers of one service.

    Args:
        host: The service's name in messages.
        key: The key in use, to keep it out of messages.
    """

    def __init__(self, host: str, key: str | None) -> None:
        self._host, self._key = host, key

    def read(self, request: Request, status: int, headers: Mapping[str, str], body: bytes, choices: int = 1) -> Outcome:
        """Return what an answer means: at most so many replies, but fewer where the service gives fewer."""
        if status == 200:
            return self._read_replies(request, body, choices)
        code, said = self._error_of(body)
        told = f"(status {status}: {said})" if said else f"(status {status})"
        if status in (401, 403):
            refused = "refused the key" if self._key else "asks for a key"
            remedy = f"Set OPENAI_API_KEY (for [completions]: COMPLETIONS_API_KEY) to a key of this service that may use {request.model}."
            return UsageError(f"{self._host} {refused} {told}. {remedy} {_KEPT}")
        if status in (400, 413, 422):
            return CallFailed(f"{self._host} refused the call {told}")
        if "insufficient_quota" in code or status == 402:
            return VolumeError(f"the account at {self._host} has no credit left {told}. Add credit, or set OPENAI_API_KEY to another account's key. {_KEPT}")
        if status in (408, 409, 429) or status >= 500:
            advice = "Set a lower llm.requests_per_minute, llm.tokens_per_minute or llm.in_flight, or wait." if status == 429 else ""
            return Retry(f"{self._host} failed {told}", wait_of(headers, time.time()), pause=status in (429, 503), stop=advice)
        remedy = f"Check base_url under [llm] or [completions], and the name of the model, '{request.model}'."
        return UsageError(f"{self._host} knows no such model or address {told}. {remedy} {_KEPT}")

    def _read_replies(self, request: Request, body: bytes, most: int) -> Outcome:
        try:
            answer = json.loads(body)
            choices = sorted(answer["choices"], key=lambda choice: choice.get("index") or 0)[:most]
            texts = [choice["text"] if request.family == "completions" else choice["message"].get("content") for choice in choices]
            if not texts:
                raise IndexError("no choice")
            if not all(isinstance(text, str | None) for text in texts):
                raise TypeError("its text is no text")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            said = self._error_of(body)[1] or self.shorten(body.decode(errors="replace"))  # some services send errors with status 200
            return Retry(f"{self._host} answered what is no reply ({type(error).__name__}): {said or 'nothing'}", paid=True)
        # A reply may be cut within a character that JSON writes as two halves; UTF-8 has no single halves.
        texts = [(text or "").encode("utf-8", "replace").decode() for text in texts]
        usage = answer.get("usage")
        prompt, completion = (usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens"))
        prompt_tokens = [prompt if isinstance(prompt, int) else estimate_prompt(request), *[0] * (len(texts) - 1)]
        guesses = [estimate_tokens(text) for text in texts]
        reply_tokens = share_tokens(completion, guesses) if isinstance(completion, int) else guesses
        finishes = [str(choice.get("finish_reason") or "stop") for choice in choices]
        return [Reply(*fields) for fields in zip(texts, prompt_tokens, reply_tokens, finishes, strict=True)]

    def _error_of(self, body: bytes) -> tuple[str, str]:
        """Return the code (with the type) and the message of the service's error."""
        try:
            answer: Any = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            return "", self.shorten(body.decode(errors="replace"))
        error = answer.get("error", answer)
        if not isinstance(error, dict):
            return "", self.shorten(str(error))
        return f"{error.get('code')} {error.get('type')}", self.shorten(str(error.get("message") or error.get("detail") or ""))

    def shorten(self, said: str) -> str:
        """Return what the service or the network said on one line, without the key."""
        if self._key:
            said = said.replace(self._key, "***")
        said = " ".join(said.split())
        return said if len(said) <= _SHOWN else said[:_SHOWN] + "…"


def share_tokens(total: int, sizes: Sequence[int]) -> list[int]:
    """Share a number of tokens out in proportion to sizes, in whole numbers that add up to it."""
    weights = [size + 1 for size in sizes]  # a text ends with a token of its own
    ends = [total * end // sum(weights) for end in itertools.accumulate(weights)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the headers ask to wait for, or None: ``Retry-After`` in seconds or as a date, or ``retry-after-ms``."""
    for name, unit in (("retry-after-ms", 1e-3), ("Retry-After", 1.0)):
        given = headers.get(name)
        if given is None:
            continue
        try:
            seconds = float(given) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(given).timestamp() - now
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
