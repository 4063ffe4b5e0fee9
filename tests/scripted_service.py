"""A scripted OpenAI-compatible service on this machine, which can misbehave down to its bytes.

In tests:  with ScriptedService(faults=lambda body, attempt: "500" if attempt == 1 else None) as service: ... service.url
By hand:   python tests/scripted_service.py --port 8000 --latency 0.5 --fail 0.2 --faults 429,500,garbage

Faults: 429 (with Retry-After), 429-bare, 503 (with Retry-After), 500, garbage (no JSON), truncated (JSON cut, its length
right), empty (no choices), close (fewer bytes than announced), drop (no answer at all), stall (never answers), 400, 401,
404, quota, top_k and n (400: parameters that it does not know), null (a good reply without content), bare (one without usage),
one (one with one choice, whatever n says). The choices of a call with n are, as at vLLM, what n calls with the seeds from its own
one on would give.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

Body = dict[str, Any]
_ERRORS = {
    "400": (400, {"message": "This model's maximum context length is 10 tokens", "code": "context_length_exceeded"}),
    "top_k": (400, {"message": "Unrecognized request argument supplied: top_k", "code": None}),
    "n": (400, {"message": "Only one completion choice is allowed", "code": None}),
    "401": (401, {"message": "Incorrect API key provided", "code": "invalid_api_key"}),
    "404": (404, {"message": "The model does not exist", "code": "model_not_found"}),
    "429": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "429-bare": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "500": (500, {"message": "The server had an error", "code": None}),
    "503": (503, {"message": "Overloaded", "code": None}),
    "quota": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota", "type": "insufficient_quota"}),
}


def prompt_of(body: Body) -> str:
    """Return the last message's text, or the prompt."""
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def draws_of(body: Body) -> list[Body]:
    """Return the bodies of the calls that would give the choices of this one, one each."""
    alone = {key: value for key, value in body.items() if key != "n"}
    return [alone | ({"seed": body["seed"] + place} if "seed" in body else {}) for place in range(body.get("n", 1))]


def echo_hash(body: Body) -> str:
    """Return a text that depends on the request alone."""
    return "reply " + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def faults_by_chance(share: float, names: list[str], seed: int = 0) -> Callable[[Body, int], str | None]:
    """Return faults that hit this share of the attempts, each independently, the same ones in every run."""

    def fault(body: Body, attempt: int) -> str | None:
        digest = hashlib.sha256(f"{seed}:{attempt}:{json.dumps(body, sort_keys=True)}".encode()).digest()
        return names[digest[8] % len(names)] if int.from_bytes(digest[:4], "big") < share * 2**32 else None

    return fault


class ScriptedService:
    """Answers chat and completions requests; runs in a thread of its own as a context manager.

    Args:
        answer: The reply's text for a body.
        faults: Names the fault of a body's n-th attempt (from 1), or None.
        latency: Seconds before each answer, or those of a body.
        key: The key that a request must bring; None: any.
        headers: Headers of answers 429 and 503.

    Attributes:
        calls: Bodies that got a good reply in full, in order.
        answered: How often each body got one; bodies as JSON with sorted keys.
        seen: How often each body came.
        times: When each request came, seconds.
        most: The most requests that were here at once.
        paths, authorizations: What came, in order.
    """

    def __init__(
        self, answer: Callable[[Body], str] = echo_hash, faults: Callable[[Body, int], str | None] = lambda body, attempt: None,
        latency: float | Callable[[Body], float] = 0.0, key: str | None = None, headers: dict[str, str] | None = None, port: int = 0,
    ) -> None:
        self._answer, self._faults, self._latency, self._key, self._port = answer, faults, latency, key, port
        self._headers = {"Retry-After": "0"} if headers is None else headers
        self.calls: list[Body] = []
        self.answered: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.times: list[float] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.most = self._here = 0
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self.serve, daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> ScriptedService:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def serve(self) -> None:
        """Serve until the loop is stopped."""
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._converse, "127.0.0.1", self._port, backlog=1024))
        self._port = server.sockets[0].getsockname()[1]
        self._listening.set()
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            server.close()
            self._loop.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection goes on."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        given = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(given["content-length"])))
        identity = json.dumps(body, sort_keys=True)
        self.seen[identity] += 1
        self.times.append(time.monotonic())
        self.paths.append(first.split()[1])
        self.authorizations.append(given.get("authorization"))
        self._here += 1
        self.most = max(self.most, self._here)
        try:
            fault = self._faults(body, self.seen[identity])
            if self._key is not None and given.get("authorization") != f"Bearer {self._key}":
                fault = "401"
            if fault == "drop":
                return False
            latency = self._latency(body) if callable(self._latency) else self._latency
            await asyncio.sleep(3600 if fault == "stall" else latency)
            if fault in _ERRORS:
                status, error = _ERRORS[fault]
                self._write(writer, status, json.dumps({"error": error}).encode(), self._headers if fault in ("429", "503") else {})
            elif fault in ("garbage", "empty"):
                self._write(writer, 200, b"<html>Bad gateway</html>" if fault == "garbage" else b"{}")
            else:
                content = self._reply(body, first, fault)
                if fault not in ("truncated", "close"):  # counted before it is sent: who has the reply finds it counted
                    self.calls.append(body)
                    self.answered[identity] += 1
                cut = content[: len(content) // 2]
                self._write(writer, 200, cut if fault in ("truncated", "close") else content, length=len(content) if fault == "close" else None)
            await writer.drain()
            return fault != "close"
        finally:
            self._here -= 1

    def _reply(self, body: Body, first: str, fault: str | None) -> bytes:
        chat = "/chat/" in first
        texts = [None if fault == "null" else self._answer(draw) for draw in draws_of(body)[: 1 if fault == "one" else None]]
        choices: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            choice = {"index": index, "finish_reason": "content_filter" if fault == "null" else "stop"}
            choices.append(choice | ({"message": {"role": "assistant", "content": text}} if chat else {"text": text}))
        reply: dict[str, Any] = {"object": "chat.completion" if chat else "text_completion", "model": body["model"], "choices": choices}
        if fault != "bare":
            reply["usage"] = {"prompt_tokens": len(prompt_of(body).split()), "completion_tokens": sum(len((text or "").split()) for text in texts)}
        return json.dumps(reply).encode()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, content: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        lines = [f"HTTP/1.1 {status} -", "Content-Type: application/json", f"Content-Length: {len(content) if length is None else length}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def main() -> None:
    """Serve by hand."""
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible service that can misbehave.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--fail", type=float, default=0.0, help="share of the attempts that fail")
    parser.add_argument("--faults", default="429,500,garbage,truncated,close", help="which faults, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", help="the key that a request must bring")
    parser.add_argument("--retry-after", default="0", help="what answers 429 and 503 ask for")
    given = parser.parse_args()
    faults = faults_by_chance(given.fail, given.faults.split(","), given.seed)
    service = ScriptedService(faults=faults, latency=given.latency, key=given.key, headers={"Retry-After": given.retry_after}, port=given.port)
    print(f"http://127.0.0.1:{given.port}/v1", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        service.serve()
    print(f"{sum(service.seen.values())} requests, {len(service.calls)} answered, {len(service.answered)} distinct")


if __name__ == "__main__":
    main()
