"""Answers requests from the store, and from the service where the mode allows it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import get_args
from urllib.parse import urlsplit

from volume.errors import UsageError, VolumeError, suggest
from volume.llm.asking import Asking
from volume.llm.calls import CallFailed, Reply, Request, Usage, price
from volume.llm.limits import Budget, Limits
from volume.llm.store import CallStore
from volume.llm.turn import Turn, hold_turn
from volume.settings import LlmSettings, Mode


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Client:
    """Asks a service and records what it says; what is recorded is never asked again.

    Args:
        store_path: The store of recorded calls; ``<store>.lock`` beside it lets one process at a time ask.
        settings: The service and how hard it may be asked.
        mode: ``record``; ``replay``: a call that is not recorded is an error; ``refresh``: ask once more and replace.
        dataset: On whose account the calls go.
        max_cost: US dollars that the dataset may cost over all runs; None: no cap.
        key: The service's key; None for a service that wants none.
        log: Takes a line; default standard error.

    Raises:
        UsageError: A setting with which no call could be made.
        VolumeError: The store cannot be opened.
    """

    def __init__(
        self, store_path: Path, settings: LlmSettings, mode: Mode = "record", *, dataset: str = "", max_cost: float | None = None,
        key: str | None = None, log: Callable[[str], None] = _say,
    ) -> None:
        if mode not in get_args(Mode):
            raise UsageError(f"no such LLM mode '{mode}'.{suggest(mode, get_args(Mode))}")
        key = (key or "").strip() or None
        if mode != "replay":
            _check(settings, max_cost, key)
        self._settings, self._mode, self._dataset, self._max_cost, self._key, self._log = settings, mode, dataset, max_cost, key, log
        self._lock = store_path.with_name(store_path.name + ".lock")
        self._store = CallStore(store_path)
        self._limits = Limits(settings)
        self._usage = Usage()
        self._asked: set[str] = set()  # in this process, for `refresh`
        self._unanswered = 0.0  # US dollars that attempts without a usable answer may have cost in this process
        self._stopped: VolumeError | None = None

    @property
    def usage(self) -> Usage:
        """What this client did so far."""
        return replace(self._usage)

    def complete(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """Return the replies in the order of the requests; equal requests are asked once.

        Not for use within a running event loop. Raises what ``draw`` raises.
        """
        return [replies[0] for replies in self.draw(requests, 1)]

    def draw(self, requests: Sequence[Request], n: int, together: int = 1) -> list[list[Reply | CallFailed]]:
        """Return n draws of every request (``Request.draws``), each recorded under a key of its own, so that only missing ones are asked for.

        Args:
            together: At most so many draws of a request are asked for by one call, its parameter ``n``, so that the prompt is sent
                and paid for once. A service that gives fewer is asked for the rest again.

        Raises:
            VolumeError: A call is not recorded in mode `replay`, or something that is no single call's fault stopped the
                rest. It is raised again, with nothing sent, when a call would need the service once more.
        """
        groups = [{draw.key(): draw for draw in request.draws(n)} for request in requests]
        wanted = {key: draw for group in groups for key, draw in group.items()}
        results = self._look_up(wanted)
        missing = {key: request for key, request in wanted.items() if key not in results}
        if missing and self._mode == "replay":
            key, first = next(iter(missing.items()))
            raise VolumeError(
                f"{len(missing)} of {len(wanted)} calls are not recorded (first: {first.model}, key {key[:12]}). "
                "Import a store that has them (python -m volume.llm import STORE FILE), or use mode 'record'."
            )
        if missing:
            if self._stopped is not None:
                raise self._stopped
            with hold_turn(self._lock, self._log) as turn:
                results |= self._look_up(missing)  # another process may have asked meanwhile
                missing = {key: request for key, request in missing.items() if key not in results}
                self._usage.recorded += len(wanted) - len(missing)
                while missing:
                    results |= self._ask(share_out(groups, missing, together), turn)
                    missing = {key: request for key, request in missing.items() if key not in results}
        else:
            self._usage.recorded += len(wanted)
        return [[results[key] for key in group] for group in groups]

    def _look_up(self, requests: Mapping[str, Request]) -> dict[str, Reply | CallFailed]:
        keys = requests if self._mode != "refresh" else [key for key in requests if key in self._asked]
        found = ((key, self._store.find(key)) for key in keys)
        return {key: reply for key, reply in found if reply is not None}

    def _ask(self, calls: Sequence[Sequence[Request]], turn: Turn) -> dict[str, Reply | CallFailed]:
        """Return the replies by the keys of their requests; where a call brought fewer than it asked for, the others are left out."""
        try:
            from volume.llm.service import Service
        except ModuleNotFoundError as error:
            raise UsageError(f"asking a service needs the package '{error.name}', which this environment lacks; mode 'replay' reads recorded calls.") from error
        self._limits.resume(turn.read())
        budget = Budget(self._max_cost, self._store.spent(self._dataset), self._unanswered)
        limited = bool(self._settings.requests_per_minute or self._settings.tokens_per_minute)

        async def run() -> list[list[Reply] | CallFailed]:
            async with Service(self._settings, self._key) as service:
                note = (lambda: turn.note(self._limits.left())) if limited else (lambda: None)
                return await Asking(self._settings, service.send, self._keep, note, self._limits, budget, self._log).run(calls)

        try:
            found = asyncio.run(run())
        except VolumeError as error:
            self._stopped = error
            raise
        finally:
            self._unanswered = budget.unanswered
            turn.note(self._limits.left())
        results: dict[str, Reply | CallFailed] = {}
        for draws, replies in zip(calls, found, strict=True):
            if isinstance(replies, CallFailed):
                results |= {draw.key(): replies for draw in draws}
            else:
                results |= {draw.key(): reply for draw, reply in zip(draws, replies, strict=False)}
        return results

    def _keep(self, draws: Sequence[Request], replies: list[Reply]) -> float:
        """Commit the replies of one call; return what they cost."""
        priced = [(draw, reply, price(self._settings, reply.prompt_tokens, reply.completion_tokens)) for draw, reply in zip(draws, replies, strict=False)]
        self._store.put_all(priced, self._dataset)
        for draw, reply, cost in priced:
            self._asked.add(draw.key())
            self._usage.calls += 1
            self._usage.prompt_tokens += reply.prompt_tokens
            self._usage.completion_tokens += reply.completion_tokens
            self._usage.spent += cost
        return sum(cost for _, _, cost in priced)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def share_out(groups: Iterable[Mapping[str, Request]], missing: Collection[str], together: int) -> list[list[Request]]:
    """Return the calls that ask for what is missing: each for at most ``together`` draws of one group that follow each other."""
    left, calls = set(missing), list[list[Request]]()
    for group in groups:
        call: list[Request] | None = None
        for key, draw in group.items():
            if key not in left:
                call = None
                continue
            left.remove(key)
            if call is None or len(call) == together:
                call = []
                calls.append(call)
            call.append(draw)
    return calls


def _check(settings: LlmSettings, max_cost: float | None, key: str | None) -> None:
    """Refuse settings with which no call could be made."""
    address = urlsplit(settings.base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise UsageError(f"llm.base_url is '{settings.base_url}', expected an address such as 'http://127.0.0.1:8000/v1'.")
    if address.username or address.password:
        raise UsageError("llm.base_url holds a user name or a password; a key belongs into OPENAI_API_KEY.")
    if max_cost is not None and not max_cost >= 0:
        raise UsageError(f"MAX_COST is {max_cost}, expected US dollars, 0 or more.")
    if max_cost is not None and not (settings.input_price or settings.output_price):
        raise UsageError("MAX_COST is given but no price: set llm.input_price and llm.output_price (US dollars per million tokens) in the dataset definition.")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise UsageError("OPENAI_API_KEY holds characters that no key has, such as a line break; set it again.")
