"""What the tests of a service share: requests, and a store with clients that are told where the service is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripted_service import Body, ScriptedService, prompt_of

from volume.llm import CallFailed, CallStore, Client, Reply, Request
from volume.settings import LlmSettings

ALL_FAULTS = ["429", "429-bare", "503", "500", "garbage", "truncated", "empty", "close", "drop"]
FAST = {"backoff_s": 0.001, "timeout_s": 20.0, "in_flight": 8}


def ask(number: int, **parameters: Any) -> Request:
    return Request("chat", "m", (("system", "Be brief."), ("user", f"question {number}")), "p1", 0, {"temperature": 0.0, "max_tokens": 10} | parameters)


def number_of(body: Body) -> int:
    return int(prompt_of(body).split()[-1])


def texts(replies: Sequence[Reply | CallFailed]) -> list[str]:
    return [reply.text if isinstance(reply, Reply) else f"failed: {reply}" for reply in replies]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)


class Setting:
    """A store, a way to make clients for a service, and what they logged."""

    def __init__(self, folder: Path) -> None:
        self.store, self.log = folder / "calls.sqlite", list[str]()

    def client(
        self, service: ScriptedService, mode: Any = "record", dataset: str = "bio", max_cost: float | None = None, key: str | None = None, **settings: Any
    ) -> Client:
        return Client(self.store, LlmSettings(**{"base_url": service.url, **FAST, **settings}), mode, dataset=dataset, max_cost=max_cost, key=key, log=self.log.append)

    def recorded(self) -> int:
        with CallStore(self.store) as store:
            return sum(1 for _ in store.rows())
