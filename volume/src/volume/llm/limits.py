"""Requests and tokens per minute, and the spending cap: arithmetic on a clock that is given."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from volume.errors import VolumeError
from volume.settings import LlmSettings

_MINUTE = 60.0  # seconds
_REQUEST_SHARE = 0.99  # of the limit is used: requests do not take equally long to arrive
_TOKEN_SHARE = 0.95  # of the limit is used: a call's tokens come all at once, so the last one of a minute needs room


class Spacing:
    """Even spacing that keeps every window of a minute within a limit.

    It is the generic cell rate algorithm without a burst: after an amount n, nothing may follow for n / rate seconds,
    next = max(now, next) + n / rate. A call with more than ``room`` waits (n - room) / rate beforehand too. Calls i..j
    within less than a minute then add up to less than 60 rate + room, which is the limit.

    Args:
        rate: Amount per second.
        room: The largest amount that needs no extra wait beforehand.
        clock: Seconds.
    """

    def __init__(self, rate: float, room: float, clock: Callable[[], float]) -> None:
        self._rate, self._room, self._clock = rate, room, clock
        self._base = self.next = -math.inf
        self._open: dict[int, tuple[float, float, bool]] = {}  # ticket: (time, amount, settled), of calls whose amount may yet change
        self._tickets = 0

    def wait(self, amount: float) -> float:
        """Return the seconds until this amount may be taken."""
        return self.next + max(0.0, amount - self._room) / self._rate - self._clock()

    def take(self, amount: float) -> int:
        """Take an amount now; return a ticket to settle it with."""
        self._tickets += 1
        self._open[self._tickets] = (self._clock(), amount, False)
        self._reckon()
        return self._tickets

    def settle(self, ticket: int, amount: float | None) -> None:
        """Put the true amount in place of the estimate; None leaves it."""
        taken, estimate, _ = self._open[ticket]
        self._open[ticket] = (taken, estimate if amount is None else amount, True)
        self._reckon()

    def hold(self, until: float) -> None:
        """Let nothing be taken before this time."""
        self._base = max(self._base, until)
        self._reckon()

    def _reckon(self) -> None:
        # Reckoned anew from the times of the calls: time that was left unused cannot be given back afterwards.
        while self._open and self._open[first := next(iter(self._open))][2]:
            taken, amount, _ = self._open.pop(first)
            self._base = max(taken, self._base) + amount / self._rate
        self.next = self._base
        for taken, amount, _ in self._open.values():
            self.next = max(taken, self.next) + amount / self._rate


class Limits:
    """All that may hold a call up: the two limits per minute, and a pause that the service asks for.

    Args:
        settings: 0 requests or tokens per minute is no limit.
        clock: Seconds.
    """

    def __init__(self, settings: LlmSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paused = 0.0
        self._requests = Spacing(_REQUEST_SHARE * settings.requests_per_minute / _MINUTE, 1.0, clock) if settings.requests_per_minute else None
        limit = settings.tokens_per_minute
        self._tokens = Spacing(_TOKEN_SHARE * limit / _MINUTE, (1 - _TOKEN_SHARE) * limit, clock) if limit else None

    def wait(self, tokens: int) -> float:
        """Return the seconds until a call with at most so many tokens may be sent; zero or less: now."""
        waits = [self._paused - self._clock()]
        waits += [self._requests.wait(1.0)] if self._requests else []
        waits += [self._tokens.wait(tokens)] if self._tokens else []
        return max(waits)

    def take(self, tokens: int) -> tuple[int, int]:
        """Count a call as sent now; return its tickets."""
        requests = self._requests.take(1.0) if self._requests else 0
        return requests, self._tokens.take(tokens) if self._tokens else 0

    def settle(self, tickets: tuple[int, int], tokens: int | None) -> None:
        """Count the tokens that the call used in place of the estimate; None: nobody knows."""
        if self._requests:
            self._requests.settle(tickets[0], None)
        if self._tokens:
            self._tokens.settle(tickets[1], tokens)

    def pause(self, seconds: float) -> bool:
        """Hold all calls up; say whether that is longer than before."""
        until = self._clock() + seconds
        longer, self._paused = until > self._paused, max(until, self._paused)
        return longer

    def left(self) -> list[float]:
        """Return the seconds for which requests, tokens and all calls are held up, for another process."""
        now = self._clock()
        return [max(0.0, until - now) for until in (self._requests.next if self._requests else 0.0, self._tokens.next if self._tokens else 0.0, self._paused)]

    def resume(self, left: list[float]) -> None:
        """Take over what another process left."""
        now = self._clock()
        if self._requests:
            self._requests.hold(now + left[0])
        if self._tokens:
            self._tokens.hold(now + left[1])
        self._paused = max(self._paused, now + left[2])


@dataclass
class Budget:
    """The spending cap in US dollars: what is spent and what calls in flight may yet cost never exceed it."""

    cap: float | None
    spent: float  # on recorded calls
    unanswered: float  # on attempts without a usable answer, which the service may charge for all the same
    reserved: float = 0.0
    in_flight: int = 0

    def fits(self, cost: float) -> bool:
        """Say whether a call that may cost so much can be sent."""
        return self.cap is None or self.spent + self.unanswered + self.reserved + cost <= self.cap + 1e-9  # sums of floats

    def reserve(self, cost: float) -> None:
        """Set aside what a call may cost."""
        self.reserved += cost
        self.in_flight += 1

    def settle(self, reserved: float, cost: float, unanswered: float) -> None:
        """Count what it did cost, recorded or not."""
        self.in_flight -= 1
        self.reserved = self.reserved - reserved if self.in_flight else 0.0
        self.spent += cost
        self.unanswered += unanswered

    def exceeded(self, cost: float) -> VolumeError:
        """Return the error for a call that does not fit."""
        lost = f", {self.unanswered:.6f} may be lost on attempts without a usable answer" if self.unanswered else ""
        return VolumeError(
            f"the spending cap of {self.cap} US dollars is reached: {self.spent:.6f} are spent{lost}, and one more call may cost {cost:.6f}. "
            "What was recorded is kept; give a higher MAX_COST= to go on."
        )
