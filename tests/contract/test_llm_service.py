"""Calls to a real service on this machine that fails in every way: what is retried, what stops, what is kept."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from llm_setting import ALL_FAULTS, Setting, ask, number_of, texts, wait_until
from scripted_service import Body, ScriptedService, faults_by_chance

from volume.errors import UsageError, VolumeError
from volume.llm import CallFailed, Client, Reply, Request
from volume.llm.transfer import export_calls
from volume.settings import LlmSettings

aiohttp = pytest.importorskip("aiohttp", reason="this environment asks no service")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_replies_come_in_the_order_of_the_requests_and_equal_ones_are_asked_once(setting: Setting) -> None:
    with ScriptedService(lambda body: f"answer {number_of(body)}") as service, setting.client(service) as client:
        assert texts(client.complete([ask(2), ask(0), ask(2), ask(1)])) == ["answer 2", "answer 0", "answer 2", "answer 1"]
        assert texts(client.complete([ask(1), ask(3)])) == ["answer 1", "answer 3"]
        assert client.complete([]) == []
        assert len(service.calls) == 4
        usage = client.usage
        assert (usage.calls, usage.recorded, usage.prompt_tokens, usage.completion_tokens) == (4, 1, 8, 8)


def test_each_family_is_sent_in_its_own_form(setting: Setting) -> None:
    with ScriptedService(key="sk-1") as service, setting.client(service, key=" sk-1\n", base_url=service.url + "/") as client:
        client.complete([ask(1, top_p=0.9)])
        client.complete([Request("completions", "m", (("", "Once"),), "p1", 3, {"max_tokens": 5, "stop": ["\n"]})])
        assert service.paths == ["/v1/chat/completions", "/v1/completions"]
        assert service.calls == [
            {
                "model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "question 1"}],
                "temperature": 0.0, "max_tokens": 10, "top_p": 0.9,
            },
            {"model": "m", "prompt": "Once", "max_tokens": 5, "stop": ["\n"]},
        ]
        assert service.authorizations == ["Bearer sk-1", "Bearer sk-1"]


def test_without_a_key_no_authorization_is_sent(setting: Setting) -> None:
    with ScriptedService() as service, setting.client(service) as client:
        client.complete([ask(1)])
        assert service.authorizations == [None]


def test_no_more_calls_are_in_flight_than_allowed(setting: Setting) -> None:
    with ScriptedService(latency=0.01) as service, setting.client(service, in_flight=5) as client:
        client.complete([ask(number) for number in range(60)])
        assert 1 < service.most <= 5


def test_one_attempt_in_five_failing_gives_the_same_replies_and_the_same_bytes(tmp_path: Path) -> None:
    requests = [ask(number) for number in range(200)]
    exports, replies, seen = [], [], []
    for name, share in (("calm", 0.0), ("rough", 0.2)):
        setting = Setting(tmp_path / name)
        with ScriptedService(faults=faults_by_chance(share, ALL_FAULTS)) as service, setting.client(service, input_price=1.0) as client:
            replies.append(client.complete(requests))
            assert len(service.calls) == 200
            seen.append(sum(service.seen.values()))
        export_calls(setting.store, tmp_path / f"{name}.jsonl")
        exports.append((tmp_path / f"{name}.jsonl").read_bytes())
    assert replies[0] == replies[1] and exports[0] == exports[1]
    assert seen[0] == 200 and 230 < seen[1] < 280  # 200 / 0.8 = 250


@pytest.mark.parametrize("fault", ALL_FAULTS)
def test_every_passing_fault_is_tried_again(setting: Setting, fault: str) -> None:
    with ScriptedService(faults=lambda body, attempt: fault if attempt <= 2 else None) as service, setting.client(service) as client:
        assert isinstance(client.complete([ask(1)])[0], Reply)
        assert sum(service.seen.values()) == 3


def test_a_service_that_does_not_answer_in_time_is_asked_again(setting: Setting) -> None:
    with ScriptedService(faults=lambda body, attempt: "stall" if attempt == 1 else None) as service, setting.client(service, timeout_s=0.1) as client:
        assert isinstance(client.complete([ask(1)])[0], Reply)
        assert sum(service.seen.values()) == 2


def test_a_call_whose_attempts_run_out_fails_alone_with_the_last_reason(setting: Setting) -> None:
    bad = {1: "500", 3: "garbage", 5: "stall", 7: "close", 9: "400"}
    with ScriptedService(faults=lambda body, attempt: bad.get(number_of(body))) as service, setting.client(service, attempts=3, timeout_s=0.2) as client:
        replies = client.complete([ask(number) for number in range(10)])
        attempts = [sum(count for body, count in service.seen.items() if number_of(json.loads(body)) == number) for number in bad]
    assert [isinstance(reply, CallFailed) for reply in replies] == [number in bad for number in range(10)]
    assert attempts == [3, 3, 3, 3, 1]
    reasons = [str(replies[number]) for number in bad]
    told = ("status 500: The server had an error), after 3 attempts", "Bad gateway", "did not answer within 0.2 s", "broke", "maximum context")
    for reason, words in zip(reasons, told, strict=True):
        assert words in reason and "127.0.0.1" in reason
    assert setting.recorded() == 5


def test_a_reply_without_content_or_without_usage_is_a_reply(setting: Setting) -> None:
    faults = {1: "null", 2: "bare"}
    with ScriptedService(lambda body: "six by", faults=lambda body, attempt: faults.get(number_of(body))) as service, setting.client(service) as client:
        assert client.complete([ask(1), ask(2)]) == [Reply("", 2, 0, "content_filter"), Reply("six by", 3 + 8 + 4 + 8, 2)]


@pytest.mark.parametrize("fault, kind, words", [
    ("401", UsageError, r"127\.0\.0\.1:\d+ asks for a key \(status 401: Incorrect API key provided\)\. Set OPENAI_API_KEY .*What was recorded is kept"),
    (
        "404", UsageError,
        r"knows no such model or address \(status 404: The model does not exist\)\. Check base_url under \[llm\] or \[completions\], and the name of the model, 'm'",
    ),
    ("quota", VolumeError, r"has no credit left \(status 429: You exceeded your current quota\)"),
])  # fmt: skip
def test_what_no_call_can_mend_stops_all_at_once_and_stays_stopped(setting: Setting, fault: str, kind: type[VolumeError], words: str) -> None:
    with ScriptedService(faults=lambda body, attempt: None if number_of(body) == 0 else fault) as service, setting.client(service, in_flight=4) as client:
        client.complete([ask(0)])
        with pytest.raises(kind, match=words):
            client.complete([ask(number) for number in range(100)])
        assert 2 <= len(service.times) <= 5
        before = len(service.times)
        with pytest.raises(kind, match=words):
            client.complete([ask(7)])
        assert len(service.times) == before
        assert isinstance(client.complete([ask(0)])[0], Reply)
    assert setting.recorded() == 1


def test_a_wrong_key_is_told_and_appears_nowhere(setting: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    with ScriptedService(key="sk-right-secret") as service:
        with setting.client(service, key="sk-wrong-secret") as client, pytest.raises(UsageError, match="refused the key") as caught:
            client.complete([ask(0)])
        with setting.client(service, key="sk-right-secret") as client:
            client.complete([ask(number) for number in range(5)])
    export_calls(setting.store, setting.store.with_suffix(".jsonl"))
    written = b"".join(path.read_bytes() for path in setting.store.parent.iterdir())
    assert b"question" in written
    for place in (written.decode("latin-1"), str(caught.value), repr(caught.value.__cause__), *setting.log, *capfd.readouterr(), repr(client)):
        assert "secret" not in place


def test_a_service_that_cannot_be_reached_stops_all(setting: Setting) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = LlmSettings(base_url=f"http://127.0.0.1:{port}/v1", attempts=3, backoff_s=0.001)
    with Client(setting.store, settings) as client, pytest.raises(VolumeError, match=rf"127\.0\.0\.1:{port} cannot be reached: .*after 3 attempts.*base_url"):
        client.complete([ask(number) for number in range(20)])


def test_too_many_requests_for_all_attempts_stops_all(setting: Setting) -> None:
    with ScriptedService(faults=lambda body, attempt: "429-bare") as service, setting.client(service, attempts=3) as client:
        with pytest.raises(VolumeError, match=r"status 429: Rate limit reached\), after 3 attempts.*llm\.requests_per_minute"):
            client.complete([ask(number) for number in range(20)])


@pytest.mark.parametrize("status", ["429", "503"])
def test_a_pause_that_the_service_asks_for_holds_all_calls_up(setting: Setting, status: str) -> None:
    first = threading.Event()

    def fault(body: Body, attempt: int) -> str | None:
        if first.is_set():
            return None
        first.set()
        return status

    with ScriptedService(faults=fault, headers={"retry-after-ms": "250"}) as service, setting.client(service, in_flight=1) as client:
        client.complete([ask(number) for number in range(5)])
        gaps = [later - earlier for earlier, later in zip(service.times, service.times[1:], strict=False)]
    assert len(gaps) == 5 and gaps[0] >= 0.24
    assert number_of(service.calls[0]) == 1  # the others came no earlier than the one that was refused


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C works in the test even in a shell's background job, which is given none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_pause_may_be_given_as_a_date_and_a_long_one_is_told(setting: Setting) -> None:
    headers = {"Retry-After": format_datetime(datetime.now(timezone.utc) + timedelta(hours=2), usegmt=True)}
    with ScriptedService(faults=lambda body, attempt: "429", headers=headers) as service, setting.client(service, in_flight=1) as client:

        def interrupt() -> None:
            wait_until(lambda: bool(setting.log))
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.complete([ask(0), ask(1)])
        thread.join()
        assert len(service.times) == 1
    assert "all calls wait for 7" in setting.log[0] and "status 429" in setting.log[0]


def test_calls_in_flight_are_recorded_before_an_error_is_raised(setting: Setting) -> None:
    with ScriptedService(
        faults=lambda body, attempt: "401" if number_of(body) == 0 else None, latency=lambda body: 0.05 if number_of(body) == 0 else 0.2
    ) as service, setting.client(service) as client:
        with pytest.raises(UsageError, match="401"):
            client.complete([ask(number) for number in range(50)])
        sent = len(service.times)
    assert sent <= 8
    assert setting.recorded() == len(service.calls) == sent - 1
