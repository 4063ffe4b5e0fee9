"""Whole runs against a service: interrupted, killed, side by side, under a limit, under a spending cap, on a full disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llm_setting import Setting, ask, number_of, texts, wait_until
from scripted_service import Body, ScriptedService, prompt_of

from volume.errors import VolumeError
from volume.llm import CallStore, Client
from volume.settings import LlmSettings

aiohttp = pytest.importorskip("aiohttp", reason="this environment asks no service")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


CHILD = """
import signal
import sys
from pathlib import Path
from volume.llm import Client, Request
from volume.settings import LlmSettings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is given none
store, url, start, count, per_minute = sys.argv[1:]
settings = LlmSettings(base_url=url, in_flight=8, backoff_s=0.001, requests_per_minute=float(per_minute))
messages = lambda number: (("system", "Be brief."), ("user", f"question {number}"))
requests = [Request("chat", "m", messages(number), "p1", 0, {"temperature": 0.0, "max_tokens": 10}) for number in range(int(start), int(start) + int(count))]
try:
    with Client(Path(store), settings, dataset="bio", log=print) as client:
        print(len(client.complete(requests)))
except KeyboardInterrupt:
    print("interrupted")
"""


def start_child(store: Path, service: ScriptedService, start: int, count: int, per_minute: float = 0.0) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [str(store), service.url, str(start), str(count), str(per_minute)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment, stdout=subprocess.PIPE, text=True)


def test_an_interrupted_run_waits_for_what_it_has_paid_for(setting: Setting) -> None:
    with ScriptedService(latency=0.4) as service:
        child = start_child(setting.store, service, 0, 50)
        wait_until(lambda: len(service.times) >= 8)
        child.send_signal(signal.SIGINT)
        assert child.communicate()[0].splitlines() == ["interrupted: waiting for the 8 call(s) in flight, which are paid for", "interrupted"]
        assert len(service.calls) == 8
    assert setting.recorded() == 8


def test_a_run_that_is_killed_twenty_times_asks_again_only_for_what_was_in_flight(setting: Setting) -> None:
    draw, kills, in_flight = random.Random(7), 20, 8
    recorded: dict[str, int] = {}  # how often the calls that are recorded were asked
    with ScriptedService(latency=0.004) as service:
        for _ in range(kills):
            enough = len(service.times) + draw.randint(1, 24)
            with start_child(setting.store, service, 0, 200) as child:
                wait_until(lambda child=child, enough=enough: len(service.times) >= enough or child.poll() is not None)  # type: ignore[misc]
                child.kill()
            assert all(service.seen[body] == count for body, count in recorded.items())
            with CallStore(setting.store) as store:
                prompts = {json.loads(request)["messages"][1][1] for _, request, _ in store.rows()}
            recorded = {body: count for body, count in service.seen.copy().items() if prompt_of(json.loads(body)) in prompts}
        with start_child(setting.store, service, 0, 200) as child:
            assert child.communicate()[0].split() == ["200"]
        assert len(recorded) > 20 and all(service.seen[body] == count for body, count in recorded.items())
        assert len(service.answered) == 200
        assert sum(count - 1 for count in service.answered.values()) <= kills * in_flight
        with setting.client(service) as client:
            resumed = client.complete([ask(number) for number in range(200)])
            assert (client.usage.calls, client.usage.recorded) == (0, 200)
        with ScriptedService() as calm, Client(setting.store.with_name("calm.sqlite"), LlmSettings(base_url=calm.url)) as client:
            assert client.complete([ask(number) for number in range(200)]) == resumed


def test_calls_arrive_no_faster_than_the_limit(setting: Setting) -> None:
    with ScriptedService() as service, setting.client(service, requests_per_minute=1200) as client:
        client.complete([ask(number) for number in range(20)])
        first, last = service.times[0], service.times[-1]
    assert len(service.times) == 20 and last - first >= 19 * 60 / 1200 - 0.05  # the first may take longer to arrive


def test_recorded_calls_wait_for_no_limit(setting: Setting) -> None:
    with ScriptedService() as service:
        with setting.client(service) as client:
            client.complete([ask(number) for number in range(50)])
        with setting.client(service, requests_per_minute=0.001, tokens_per_minute=0.001) as client:
            assert len(client.complete([ask(number) for number in range(50)])) == 50


def test_two_processes_share_one_limit_and_one_store(setting: Setting) -> None:
    with ScriptedService() as service:
        children = [start_child(setting.store, service, start, 12, 1200) for start in (0, 6)]
        said = [child.communicate()[0].splitlines() for child in children]
        assert [lines[-1] for lines in said] == ["12", "12"]
        assert sorted(number_of(body) for body in service.calls) == list(range(18))  # the six in common were asked once
    assert service.times[-1] - service.times[0] >= 17 * 60 / 1200 - 0.1


def test_a_refresh_asks_each_call_once_more_in_one_process_and_replaces_it(setting: Setting) -> None:
    generation = ["old"]
    with ScriptedService(lambda body: generation[0]) as service:
        with setting.client(service) as client:
            client.complete([ask(0), ask(1)])
        generation[0] = "new"
        with setting.client(service, "refresh") as client:
            assert texts(client.complete([ask(0)])) == ["new"]
            assert texts(client.complete([ask(0), ask(0)])) == ["new", "new"]
        assert len(service.calls) == 3
        with setting.client(service, "replay") as client:
            assert texts(client.complete([ask(0), ask(1)])) == ["new", "old"]


# In the tests of the cap a reply's token costs one dollar, a call may have ten of them and has two.
PRICES: dict[str, Any] = {"output_price": 1e6}


def two_words(body: Body) -> str:
    return "two words"


def test_the_cap_is_never_exceeded_and_holds_over_all_runs_of_the_dataset(setting: Setting) -> None:
    requests = [ask(number) for number in range(50)]
    with ScriptedService(two_words, latency=0.01) as service:
        with setting.client(service, max_cost=31.0, **PRICES) as client:
            with pytest.raises(VolumeError, match=r"cap of 31\.0 US dollars is reached: 22\.0+ are spent, and one more call may cost 10\.0+.*MAX_COST="):
                client.complete(requests)
            assert (client.usage.calls, client.usage.spent) == (11, 22.0)
        assert len(service.calls) == 11  # 20 + 10 <= 31 lets the eleventh go, 22 + 10 not the twelfth
        assert service.most <= 3  # 3 * 10 <= 31
        with setting.client(service, max_cost=31.0, **PRICES) as client, pytest.raises(VolumeError, match="cap"):
            client.complete(requests)
        assert len(service.calls) == 11
        with setting.client(service, dataset="medqa", max_cost=10.0, **PRICES) as client, pytest.raises(VolumeError, match=r"\b2\.0+ are spent"):
            client.complete(requests[20:])
        assert len(service.calls) == 12
        with setting.client(service, max_cost=32.0, **PRICES) as client, pytest.raises(VolumeError, match=r"24\.0+ are spent"):
            client.complete(requests)
    with CallStore(setting.store) as store:
        assert (store.spent("bio"), store.spent("medqa")) == (24.0, 2.0)


def test_attempts_without_a_usable_answer_count_towards_the_cap(setting: Setting) -> None:
    with ScriptedService(two_words, faults=lambda body, attempt: "garbage" if (number_of(body), attempt) == (0, 1) else None) as service:
        with setting.client(service, max_cost=23.0, in_flight=1, **PRICES) as client:
            with pytest.raises(VolumeError, match=r"4\.0+ are spent, 10\.0+ may be lost on attempts without a usable answer"):
                client.complete([ask(number) for number in range(5)])
        assert len(service.calls) == 2  # 10 lost, then 10 + 2 + 2 spent: a third may make it 24


def test_a_full_disk_stops_the_run_and_keeps_what_was_recorded(setting: Setting) -> None:
    with ScriptedService(lambda body: "x" * 2000) as service, setting.client(service) as client:
        client._store._db.execute("PRAGMA max_page_count = 40")
        with pytest.raises(VolumeError, match=r"calls\.sqlite: database or disk is full"):
            client.complete([ask(number) for number in range(200)])
        before = len(service.calls)
        assert before < 100
        client._store._db.execute("PRAGMA max_page_count = 4000")
    kept = setting.recorded()
    assert before - 8 <= kept < before
    with ScriptedService(lambda body: "x" * 2000) as service, setting.client(service) as client:
        assert len(client.complete([ask(number) for number in range(200)])) == 200
        assert len(service.calls) == 200 - kept
