"""Many calls in flight at once, each within the limits and the budget, tried again where that may help.

Retries wait outside the places in flight. Whatever ends the run early, calls in flight are waited for and kept: they
are paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from volume.errors import VolumeError
from volume.llm.answers import Outcome, Retry
from volume.llm.calls import CallFailed, Reply, Request, estimate_prompt, most_reply_tokens, price
from volume.llm.limits import Budget, Limits
from volume.settings import LlmSettings

_LONGEST_PAUSE = 60.0  # seconds between two attempts of one call, unless the service asks for more
_TOLD_PAUSE = 5.0  # seconds from which on a pause is worth a line


@dataclass
class _Call:
    position: int
    draws: Sequence[Request]
    tokens: int  # most that it may use
    cost: float  # most that it may cost
    attempts: int = 0


class Asking:
    """Asks a service for many replies. A call asks for one draw, or for several that differ by chance alone.

    Args:
        settings: Calls in flight, attempts, pauses, prices.
        send: Makes one attempt.
        keep: Commits the replies of a call; returns what they cost.
        note: Called right before a call is sent, with the limits already counting it.
        limits: Requests and tokens per minute.
        budget: The spending cap.
        log: Takes a line.
    """

    def __init__(
        self, settings: LlmSettings, send: Callable[[Sequence[Request]], Awaitable[Outcome]], keep: Callable[[Sequence[Request], list[Reply]], float],
        note: Callable[[], None], limits: Limits, budget: Budget, log: Callable[[str], None],
    ) -> None:
        self._settings, self._send, self._keep, self._note = settings, send, keep, note
        self._limits, self._budget, self._log = limits, budget, log
        self._random = random.Random()  # its own: a stage's draws must not depend on how often a service failed
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()
        self._queue: asyncio.Queue[_Call | None] = asyncio.Queue()
        self._results: dict[int, list[Reply] | CallFailed] = {}
        self._wanted = 0
        self._ending = False
        self._error: VolumeError | None = None

    async def run(self, calls: Sequence[Sequence[Request]]) -> list[list[Reply] | CallFailed]:
        """Return each call's replies, in the order of the calls; they may be fewer than its draws.

        Raises:
            VolumeError: Something that is no single call's fault; nothing more was sent, and what was in flight is kept.
        """
        self._wanted = len(calls)
        for position, draws in enumerate(calls):
            prompt, reply = estimate_prompt(draws[0]), len(draws) * most_reply_tokens(draws[0])
            self._queue.put_nowait(_Call(position, draws, prompt + reply, price(self._settings, prompt, reply)))
        workers = [asyncio.create_task(self._work()) for _ in range(min(max(1, self._settings.in_flight), len(calls)))]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            self._log(f"interrupted: waiting for the {self._budget.in_flight} call(s) in flight, which are paid for")
            raise
        finally:
            self._end(len(workers))
            await asyncio.wait(workers)
        for worker in workers:
            worker.result()  # a fault of this code, if any
        if self._error is not None:
            raise self._error
        return [self._results[position] for position in range(self._wanted)]

    def _end(self, workers: int) -> None:
        self._ending = True
        self._changed.set()
        for _ in range(workers):
            self._queue.put_nowait(None)

    def _stop(self, error: VolumeError) -> None:
        self._error = self._error or error
        self._end(max(1, self._settings.in_flight))

    async def _work(self) -> None:
        while (call := await self._queue.get()) is not None and await self._admit(call):
            call.attempts += 1
            tickets = self._limits.take(call.tokens)
            self._budget.reserve(call.cost)
            self._note()
            outcome = await self._send(call.draws)
            try:
                self._settle(call, tickets, outcome)
            except VolumeError as error:  # the store cannot be written
                self._stop(error)

    async def _admit(self, call: _Call) -> bool:
        """Wait until the call may be sent; False: the run ends."""
        async with self._door:  # one waits at a time, so that none reserves ahead of its time
            while not self._ending:
                wait = None
                if self._budget.fits(call.cost):
                    wait = self._limits.wait(call.tokens)
                    if wait <= 0:
                        return True
                elif not self._budget.in_flight:  # else one in flight may cost less than it reserved
                    self._stop(self._budget.exceeded(call.cost))
                    break
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait)
        return False

    def _settle(self, call: _Call, tickets: tuple[int, int], outcome: Outcome) -> None:
        """Count what the attempt used, and decide what comes of it."""
        cost, lost, tokens = 0.0, 0.0, None
        try:
            if isinstance(outcome, list):
                tokens = sum(reply.prompt_tokens + reply.completion_tokens for reply in outcome)
                cost = self._keep(call.draws, outcome)
            elif isinstance(outcome, Retry) and outcome.paid:
                lost = call.cost
        finally:
            self._limits.settle(tickets, tokens)
            self._budget.settle(call.cost, cost, lost)
            self._changed.set()
        if isinstance(outcome, VolumeError):
            self._stop(outcome)
        elif isinstance(outcome, Retry):
            self._try_again(call, outcome)
        else:
            self._finish(call, outcome)

    def _try_again(self, call: _Call, outcome: Retry) -> None:
        if call.attempts >= self._settings.attempts:
            times = f"{call.attempts} attempts" if call.attempts > 1 else "1 attempt"
            if outcome.stop:
                self._stop(VolumeError(f"{outcome.reason}, after {times}. {outcome.stop} What was recorded is kept, and the same command goes on there."))
            else:
                self._finish(call, CallFailed(f"{outcome.reason}, after {times}"))
            return
        delay = min(_LONGEST_PAUSE, self._settings.backoff_s * 2 ** (call.attempts - 1)) * self._random.uniform(0.5, 1.0)
        if outcome.wait is not None:
            if outcome.pause and self._limits.pause(outcome.wait) and outcome.wait >= _TOLD_PAUSE:
                self._log(f"{outcome.reason}; all calls wait for {outcome.wait:.0f} s as it asks")
            delay = max(delay, outcome.wait)
        asyncio.get_running_loop().call_later(delay, self._queue.put_nowait, call)

    def _finish(self, call: _Call, result: list[Reply] | CallFailed) -> None:
        self._results[call.position] = result
        if len(self._results) == self._wanted:
            self._end(max(1, self._settings.in_flight))
