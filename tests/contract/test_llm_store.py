"""Recorded calls: committed before use, replayed without a service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from volume.errors import UsageError, VolumeError
from volume.llm import CallStore, Client, Reply, Request


class Echo:
    """A service that answers with the sample's index and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def send(self, requests: Sequence[Request]) -> list[Reply]:
        self.calls += len(requests)
        return [Reply(f"reply {request.sample}", 3, 2) for request in requests]


def ask(sample: int) -> Request:
    return Request("chat", "m", (("user", "Who?"),), "p1", sample, {"temperature": 0.7})


def test_a_recorded_reply_is_not_asked_for_again_and_samples_stay_apart(tmp_path: Path) -> None:
    service = Echo()
    client = Client(CallStore(tmp_path / "llm_calls.sqlite"), "record", service)
    assert [reply.text for reply in client.complete([ask(0), ask(1)])] == ["reply 0", "reply 1"]
    assert [reply.text for reply in client.complete([ask(1), ask(2)])] == ["reply 1", "reply 2"]
    assert service.calls == 3


def test_replay_needs_no_service_and_a_miss_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "llm_calls.sqlite"
    Client(CallStore(path), "record", Echo()).complete([ask(0)])
    replay = Client(CallStore(path), "replay")
    assert replay.complete([ask(0)]) == [Reply("reply 0", 3, 2)]
    with pytest.raises(VolumeError, match="1 of 2 calls are not recorded"):
        replay.complete([ask(0), ask(9)])


def test_every_parameter_is_part_of_the_key() -> None:
    base = ask(0)
    others = [
        Request("completions", "m", base.messages, "p1", 0, base.parameters), Request("chat", "m2", base.messages, "p1", 0, base.parameters),
        Request("chat", "m", base.messages, "p2", 0, base.parameters), ask(1), Request("chat", "m", base.messages, "p1", 0, {"temperature": 0.8}),
    ]  # fmt: skip
    assert len({request.key() for request in [base, *others]}) == 6


def test_recording_without_a_service_and_a_broken_store_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not available yet"):
        Client(CallStore(tmp_path / "a.sqlite"))
    (tmp_path / "b.sqlite").write_text("no database at all, but long enough to look like one" * 30)
    with pytest.raises(VolumeError, match="b.sqlite is no store"):
        CallStore(tmp_path / "b.sqlite")
