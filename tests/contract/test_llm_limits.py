"""Requests and tokens per minute, the spending cap, one process at a time, and what an answer of the service means."""

from __future__ import annotations

import fcntl
import json
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from volume.errors import UsageError, VolumeError
from volume.llm import CallFailed, Reply, Request
from volume.llm.answers import Interpreter, Outcome, Retry, wait_of
from volume.llm.limits import Budget, Limits, Spacing
from volume.llm.turn import hold_turn
from volume.settings import LlmSettings


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def most_in_a_minute(sent: Sequence[tuple[float, float]]) -> float:
    """Return the largest amount within any minute of (time, amount) pairs."""
    return max(sum(amount for time, amount in sent if start <= time < start + 60) for start, _ in sent)


def test_after_an_amount_nothing_follows_for_as_long_as_it_takes_at_the_rate() -> None:
    clock = Clock()
    spacing = Spacing(rate=2.0, room=10.0, clock=clock)
    assert spacing.wait(10) <= 0
    spacing.take(10)
    assert spacing.wait(4) == pytest.approx(5.0)  # 10 / 2
    assert spacing.wait(16) == pytest.approx(8.0)  # and (16 - 10) / 2 beforehand
    clock.now += 7
    spacing.take(4)
    assert spacing.wait(1) == pytest.approx(2.0)  # from now on, not from the time that went unused


def test_what_a_call_did_not_use_is_given_back_but_not_time_that_has_passed() -> None:
    clock = Clock()
    spacing = Spacing(rate=1.0, room=100.0, clock=clock)
    first = spacing.take(100)
    clock.now += 20
    spacing.settle(first, 30)
    assert spacing.wait(1) == pytest.approx(10.0)  # 30 of which 20 have passed
    clock.now += 80
    second = spacing.take(50)
    third = spacing.take(50)
    spacing.settle(third, 10)
    assert spacing.wait(1) == pytest.approx(60.0)
    spacing.settle(second, None)
    assert spacing.wait(1) == pytest.approx(60.0)


def test_no_minute_holds_more_than_sixty_requests_at_sixty_a_minute() -> None:
    clock, sent = Clock(), []
    limits = Limits(LlmSettings(requests_per_minute=60), clock)
    for number in range(300):
        clock.now += max(0.0, limits.wait(10)) + (45.0 if number == 100 else 0.0)  # one long break: what it left unused must not come as a burst
        limits.settle(limits.take(10), None)
        sent.append((clock.now, 1.0))
    assert most_in_a_minute(sent) == 60
    assert sent[1][0] - sent[0][0] == pytest.approx(60 / 59.4)


@pytest.mark.parametrize("seed", range(5))
def test_no_minute_holds_more_tokens_than_the_limit_whatever_the_calls_use(seed: int) -> None:
    draw, clock = random.Random(seed), Clock()
    limits = Limits(LlmSettings(tokens_per_minute=10_000), clock)
    sent: list[tuple[float, float]] = []
    open_calls: list[tuple[tuple[int, int], int]] = []
    for _ in range(400):
        estimate = draw.choice([50, 400, 3000, 9000])
        used = draw.randint(1, estimate)
        clock.now += max(0.0, limits.wait(estimate)) + draw.choice([0.0, 0.0, 0.0, 30.0])
        open_calls.append((limits.take(estimate), used))
        sent.append((clock.now, used))
        while open_calls and draw.random() < 0.5:  # they end in any order
            limits.settle(*open_calls.pop(draw.randrange(len(open_calls))))
    assert most_in_a_minute(sent) <= 10_000


def test_small_calls_use_nearly_all_of_the_token_limit() -> None:
    clock, used = Clock(), 0
    limits = Limits(LlmSettings(tokens_per_minute=100_000), clock)
    while clock.now < 1600:
        clock.now += max(0.0, limits.wait(1000))
        limits.settle(limits.take(1000), 500)
        used += 500
    assert used / 10 == pytest.approx(95_000, rel=0.01)


def test_without_limits_nothing_waits_and_a_pause_holds_all_up() -> None:
    clock = Clock()
    limits = Limits(LlmSettings(), clock)
    limits.take(10**9)
    assert limits.wait(10**9) <= 0
    assert [limits.pause(7.0), limits.pause(3.0)] == [True, False]
    assert limits.wait(1) == pytest.approx(7.0)


def test_another_process_goes_on_where_the_limits_of_the_last_one_stand() -> None:
    clock = Clock()
    settings = LlmSettings(requests_per_minute=6, tokens_per_minute=6000)
    first, second = Limits(settings, clock), Limits(settings, clock)
    first.take(950)
    first.pause(2.0)
    assert first.left() == pytest.approx([60 / 5.94, 10.0, 2.0])  # 950 / 95 per second
    second.resume(first.left())
    assert second.wait(1) == pytest.approx(60 / 5.94)
    assert Limits(settings, clock).wait(1) <= 0


def test_what_is_spent_and_what_may_yet_be_spent_stay_within_the_cap() -> None:
    budget = Budget(cap=1.0, spent=0.5, unanswered=0.0)
    assert budget.fits(0.5) and not budget.fits(0.51)
    budget.reserve(0.3)
    assert budget.fits(0.2) and not budget.fits(0.21)
    budget.settle(0.3, 0.1, 0.0)
    assert budget.fits(0.4) and not budget.fits(0.41)
    budget.reserve(0.3)
    budget.settle(0.3, 0.0, 0.3)
    assert budget.fits(0.1) and not budget.fits(0.11)
    assert str(budget.exceeded(0.2)).startswith(
        "the spending cap of 1.0 US dollars is reached: 0.600000 are spent, 0.300000 may be lost on attempts without a usable answer, "
        "and one more call may cost 0.200000. "
    )
    assert "MAX_COST=" in str(budget.exceeded(0.2))
    assert Budget(cap=None, spent=1e9, unanswered=0.0).fits(1e9)


def test_a_second_process_waits_for_its_turn_and_says_so_once(tmp_path: Path) -> None:
    path, said, order = tmp_path / "store.lock", [], []
    waiting = threading.Event()

    def log(message: str) -> None:
        said.append(message)
        waiting.set()

    def second() -> None:
        with hold_turn(path, log):
            order.append("second")

    with hold_turn(path, said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert said == ["another process is asking the service; waiting for its turn to end"]


def test_the_lock_file_carries_the_limits_and_survives_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "store.lock"
    with hold_turn(path, print) as turn:
        assert turn.read() == [0.0, 0.0, 0.0]
        turn.note([1e9, 30.0, 0.0])
    with hold_turn(path, print) as turn:
        requests, tokens, paused = turn.read()
        assert requests == 3600.0 and paused < 0.001  # a clock that was set does not hold a run up for years
        assert 20 < tokens <= 30.001
    for nonsense in ("", "[", "{}", '["x"]', "7", "[1]", "\x00" * 80):
        path.write_text(nonsense)
        with hold_turn(path, print) as turn:
            assert turn.read() == [0.0, 0.0, 0.0]
            with path.open() as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("headers, seconds", [
    ({"Retry-After": "7"}, 7.0), ({"Retry-After": "0.5"}, 0.5), ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
    ({"Retry-After": "Thu, 01 Jan 1970 00:17:10 GMT"}, 30.0), ({"Retry-After": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
    ({"Retry-After": "-3"}, 0.0), ({"Retry-After": "soon"}, None), ({"Retry-After": "inf"}, None), ({"Retry-After": "nan"}, None), ({}, None),
])  # fmt: skip
def test_the_service_may_say_in_many_ways_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_of(headers, now=1000.0) == seconds


CHAT = Request("chat", "m", (("user", "Who?"),), "p1", 0, {"max_tokens": 9})


def read(status: int, body: object, key: str | None = None, request: Request = CHAT) -> Outcome | Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    outcome = Interpreter("api.example", key).read(request, status, {"Retry-After": "3"}, content)
    return outcome[0] if isinstance(outcome, list) else outcome


def chat_reply(content: object, **more: object) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "length"}], **more}


def test_good_replies_are_read_with_their_use_or_with_estimates() -> None:
    assert read(200, chat_reply("Ada.", usage={"prompt_tokens": 12, "completion_tokens": 3})) == Reply("Ada.", 12, 3, "length")
    assert read(200, chat_reply(None, usage={"prompt_tokens": 12, "completion_tokens": 0})) == Reply("", 12, 0, "length")
    assert read(200, chat_reply("Ada.")) == Reply("Ada.", 10, 2, "length")  # "Who?" is 4 bytes: 2 tokens and 8 for the message's role
    assert read(200, chat_reply("Ada.", usage={"prompt_tokens": None})) == Reply("Ada.", 10, 2, "length")
    assert read(200, b'{"choices": [{"message": {"content": "\\ud83d"}}]}') == Reply("?", 10, 1)  # half a character, cut by max_tokens
    prompt = Request("completions", "m", (("", "Who?"),), "p1")
    answer = {"choices": [{"text": "Ada.", "finish_reason": "stop"}], "usage": {"prompt_tokens": 2, "completion_tokens": 2}}
    assert read(200, answer, request=prompt) == Reply("Ada.", 2, 2)


@pytest.mark.parametrize("body", [
    b"<html>", b'{"choices": [{"mess', b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"\xff\xfe", b"[" * 100_000,
    b'{"choices": [{"message": {"content": 7}}]}', b'{"error": {"message": "upstream"}}',
])  # fmt: skip
def test_an_answer_that_is_no_reply_is_tried_again_and_may_have_been_paid(body: bytes) -> None:
    outcome = read(200, body)
    assert isinstance(outcome, Retry) and outcome.paid and not outcome.stop
    assert len(outcome.reason) < 300


def test_every_refusal_has_its_own_consequence() -> None:
    said = {"error": {"message": "no such thing", "code": "x"}}
    for status in (408, 409, 500, 502, 504, 529):
        assert read(status, said) == Retry(f"api.example failed (status {status}: no such thing)", 3.0)
    assert isinstance(slow := read(429, said), Retry) and slow.pause and slow.wait == 3.0 and "llm.requests_per_minute" in slow.stop
    assert isinstance(busy := read(503, said), Retry) and busy.pause and not busy.stop
    for status in (400, 413, 422):
        assert isinstance(refused := read(status, said), CallFailed) and str(refused) == f"api.example refused the call (status {status}: no such thing)"
    for status in (401, 403):
        assert isinstance(wrong := read(status, said, key="k"), UsageError) and "api.example refused the key" in str(wrong) and "OPENAI_API_KEY" in str(wrong)
        assert "What was recorded is kept" in str(wrong)
    for status in (404, 405, 301):
        assert isinstance(unknown := read(status, said), UsageError) and "base_url under [llm]" in str(unknown) and "'m'" in str(unknown)
    for status, error in ((429, {"code": "insufficient_quota"}), (429, {"type": "insufficient_quota"}), (402, {})):
        assert type(empty := read(status, {"error": error})) is VolumeError and "no credit left" in str(empty)


def test_the_key_is_cut_out_of_what_the_service_says_and_long_messages_are_shortened() -> None:
    for status in (200, 400, 401, 404, 429, 500):
        outcome = read(status, {"error": {"message": f"key sk-secret\n is bad {'x' * 1000}"}}, key="sk-secret")
        said = outcome.reason if isinstance(outcome, Retry) else str(outcome)
        assert "sk-secret" not in said and "key *** is bad" in said and len(said) < 500 and "\n" not in said
    for body in (b"plain sk-secret", b'"sk-secret"', b'{"error": "sk-secret"}', b'{"detail": "sk-secret"}'):
        assert "***" in str(read(400, body, key="sk-secret")) and "secret" not in str(read(400, body, key="sk-secret"))
