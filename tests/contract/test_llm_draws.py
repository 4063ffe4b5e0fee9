"""Several draws from one prompt, asked for by one call and recorded one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from llm_setting import ALL_FAULTS, Setting
from scripted_service import ScriptedService, faults_by_chance

from volume.errors import VolumeError
from volume.llm import CallFailed, CallStore, Reply, Request
from volume.llm.answers import Interpreter, share_tokens
from volume.llm.transfer import export_calls

aiohttp = pytest.importorskip("aiohttp", reason="this environment asks no service")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def ask(number: int, **parameters: object) -> Request:
    return Request("completions", "m", (("user", f"question {number}"),), "p1", 0, {"temperature": 1.0, "max_tokens": 10, "seed": 100 * number} | parameters)


def test_the_draws_of_a_request_count_sample_and_seed_up() -> None:
    assert [(draw.sample, draw.parameters["seed"]) for draw in ask(3).draws(3)] == [(0, 300), (1, 301), (2, 302)]
    chat = Request("chat", "m", (("user", "Who?"),), "p1", 5, {"temperature": 1.0})
    assert [(draw.sample, draw.parameters) for draw in chat.draws(2)] == [(5, {"temperature": 1.0}), (6, {"temperature": 1.0})]
    assert chat.draws(1) == [chat] and "n" not in chat.body() and chat.body(2)["n"] == 2


def test_one_call_gives_what_several_would_and_its_tokens_count_once(setting: Setting, tmp_path: Path) -> None:
    found, usages = [], []
    for together in (1, 4, 20):
        setting.store = tmp_path / f"{together}.sqlite"
        with ScriptedService() as service, setting.client(service, input_price=1.0, output_price=2.0) as client:
            found.append(client.draw([ask(1), ask(2)], 10, together))
            usages.append(client.usage)
            assert len(service.calls) == {1: 20, 4: 6, 20: 2}[together]
        with CallStore(setting.store) as store:
            assert sum(1 for _ in store.rows()) == 20
            assert store.spent("bio") == pytest.approx(usages[-1].spent)
    texts = [[[reply.text for reply in own] for own in replies] for replies in found]  # type: ignore[union-attr]
    assert texts[0] == texts[1] == texts[2] and len({text for own in texts[0] for text in own}) == 20
    assert [usage.prompt_tokens for usage in usages] == [40, 12, 4]  # "question 1" is two words
    assert [usage.completion_tokens for usage in usages] == [40, 40, 40]
    assert [usage.spent for usage in usages] == pytest.approx([120e-6, 92e-6, 84e-6])


def test_equal_requests_are_drawn_from_once(setting: Setting) -> None:
    with ScriptedService() as service, setting.client(service) as client:
        first, second, third = client.draw([ask(1), ask(2), ask(1)], 3, 3)
        assert first == third != second and len(service.calls) == 2


def test_one_attempt_in_five_failing_gives_the_same_draws(tmp_path: Path) -> None:
    exports = []
    for name, share in (("calm", 0.0), ("rough", 0.2)):
        setting = Setting(tmp_path / name)
        with ScriptedService(faults=faults_by_chance(share, ALL_FAULTS)) as service, setting.client(service) as client:
            client.draw([ask(number) for number in range(60)], 7, 3)
            assert len(service.calls) == 180  # 3 + 3 + 1
        export_calls(setting.store, tmp_path / f"{name}.jsonl")
        exports.append((tmp_path / f"{name}.jsonl").read_bytes())
    assert exports[0] == exports[1] and exports[0].count(b"\n") == 420


def test_a_call_that_fails_costs_its_own_draws_alone(setting: Setting) -> None:
    with ScriptedService(faults=lambda body, attempt: "400" if body["seed"] == 104 else None) as service, setting.client(service) as client:
        replies = client.draw([ask(1)], 10, 4)[0]
    assert [isinstance(reply, CallFailed) for reply in replies] == [False] * 4 + [True] * 4 + [False] * 2
    assert setting.recorded() == 6


def test_refresh_asks_for_every_draw_once_more_and_only_once(setting: Setting) -> None:
    with ScriptedService() as service:
        with setting.client(service) as client:
            client.draw([ask(1)], 6, 3)
        with setting.client(service, "refresh") as client:
            client.draw([ask(1)], 6, 3)
            client.draw([ask(1)], 6, 3)
        assert len(service.calls) == 4


def test_the_cap_counts_what_all_choices_of_a_call_may_cost(setting: Setting) -> None:
    most = (4 + 8 + 5 * 10) * 1.0e-6  # "question 1" is at most four tokens and eight of its role; five replies of ten
    with ScriptedService() as service:
        with setting.client(service, max_cost=most * 0.99, input_price=1.0, output_price=1.0) as client, pytest.raises(VolumeError, match="spending cap"):
            client.draw([ask(1)], 5, 5)
        assert not service.times
        with setting.client(service, max_cost=most, input_price=1.0, output_price=1.0) as client:
            assert len(client.draw([ask(1)], 5, 5)[0]) == 5


def test_replies_of_one_call_are_committed_together_or_not_at_all(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield ask(1), Reply("a", 1, 1), 0.5
        raise KeyboardInterrupt

    with CallStore(tmp_path / "calls.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            store.put_all(broken(), "bio")
        assert store.get(ask(1)) is None and store.spent("bio") == 0
        store.put_all([(draw, Reply(str(draw.sample), 1, 1), 0.5) for draw in ask(1).draws(3)], "bio")
        assert [store.get(draw) for draw in ask(1).draws(3)] == [Reply(str(place), 1, 1) for place in range(3)]
        assert store.spent("bio") == 1.5


def test_tokens_are_shared_out_by_length_and_none_is_lost() -> None:
    assert share_tokens(10, [1, 3]) == [3, 7]  # 2 and 4 with their ends: 10 x 2/6 = 3.3
    assert share_tokens(7, [0, 0, 0]) == [2, 2, 3]
    assert share_tokens(5, [9]) == [5] and share_tokens(0, [4, 4]) == [0, 0]
    assert sum(share_tokens(997, list(range(50)))) == 997


def test_choices_are_taken_in_the_order_of_their_numbers() -> None:
    choices = [{"index": place, "text": text, "finish_reason": "stop"} for place, text in ((2, "c"), (0, "a"), (1, "b"))]
    body = json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 6}}).encode()

    def read(most: int) -> object:
        return Interpreter("api.example", None).read(ask(1), 200, {}, body, most)

    assert read(3) == [Reply("a", 9, 2), Reply("b", 0, 2), Reply("c", 0, 2)]
    assert read(2) == [Reply("a", 9, 3), Reply("b", 0, 3)]
