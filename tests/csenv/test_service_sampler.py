"""Sampling from a served model: what is sent, what is recorded, what goes wrong, against a real server on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sampling_volume import outputs, run_stage, write_definition, write_volume
from scripted_service import Body, ScriptedService, echo_hash, faults_by_chance

from confscoring.sampling import Prompt
from confscoring.service_sampler import ServiceSampler, requests_for, seed_of
from volume.errors import ItemError, VolumeError
from volume.llm import Client, Mode
from volume.settings import LlmSettings, SamplingSettings

PROMPTS = [Prompt("q/1", "Where was Ada born?"), Prompt("q/2", "Who taught her?", 3)]


def settings(**changes: Any) -> SamplingSettings:
    return SamplingSettings(**{"model": "m", "n": 4, "max_new_tokens": 9, "temperature": 0.8, "top_p": 0.9, "stop": ("\n",), "prefix": "Q? A\n", **changes})


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with ScriptedService(answer=lambda body: f" {echo_hash(body)}\nnext line") as running:
        yield running


def open_client(tmp_path: Path, service: ScriptedService, mode: Mode = "record", **more: Any) -> Client:
    return Client(tmp_path / "calls.sqlite", LlmSettings(base_url=service.url, backoff_s=0.001, **more), mode, dataset="mine", log=lambda _: None)


def texts(found: list[Any]) -> list[list[str]]:
    return [[sample.text for sample in row] for row in found]


def test_a_call_carries_the_prompt_and_all_that_decides_the_sample(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path, service) as client:
        found = ServiceSampler(client, "somebody/tiny", 7, "mine").sample(PROMPTS, settings(top_k=50))
    assert service.paths == ["/v1/completions"] * 8
    bodies = sorted(service.calls, key=lambda body: (body["prompt"], body["seed"]))
    first = next(body for body in bodies if body["seed"] == seed_of(7, "mine", "q/1", 0))
    assert first == {
        "model": "somebody/tiny", "prompt": "Q? A\nWhere was Ada born?", "max_tokens": 9, "temperature": 0.8, "top_p": 0.9, "top_k": 50, "stop": ["\n"],
        "seed": seed_of(7, "mine", "q/1", 0),
    }  # fmt: skip
    assert {body["max_tokens"] for body in bodies if "taught" in body["prompt"]} == {3}
    assert len({body["seed"] for body in bodies}) == 8  # every sample has a seed of its own
    assert all(0 <= body["seed"] < 2**31 for body in bodies)
    assert [len(row) for row in found] == [4, 4] and len({text for row in texts(found) for text in row}) == 8
    assert all("\n" not in text and text == text.strip() for row in texts(found) for text in row)  # cut though the server did not
    assert all(sample.margin is None and sample.tokens == 4 for row in found for sample in row)  # type: ignore[union-attr]


def test_what_is_not_set_is_not_sent(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path, service) as client:
        ServiceSampler(client, "m", 0, "mine").sample(PROMPTS[:1], settings(n=1, stop=()))
    assert set(service.calls[0]) == {"model", "prompt", "max_tokens", "temperature", "top_p", "seed"}


def test_recorded_samples_are_not_asked_for_again_and_more_of_them_only_the_rest(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path, service) as client:
        four = texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings()))
        six = texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=6)))
    assert [row[:4] for row in six] == four
    assert len(service.calls) == 12 and max(service.answered.values()) == 1
    with open_client(tmp_path, service, "replay") as client:
        assert texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=6))) == six
        with pytest.raises(VolumeError, match="2 of 14 calls are not recorded"):
            ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=7))
    assert len(service.calls) == 12


def test_several_samples_may_be_asked_for_at_once(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path, service) as client:
        found = ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=5, samples_per_call=2))
    assert sorted((body.get("n", 1)) for body in service.calls) == [1, 1, 2, 2, 2, 2]
    assert [len(row) for row in found] == [5, 5] and len({text for row in texts(found) for text in row}) == 10
    assert [request.sample for request in requests_for(PROMPTS[0], settings(n=5, samples_per_call=2), "m", 0, "mine")] == [0, 2, 4]
    with open_client(tmp_path, service, "replay") as client:
        assert texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=5, samples_per_call=2))) == texts(found)


def test_a_server_that_gives_fewer_choices_than_asked_for_is_told_of(tmp_path: Path) -> None:
    class OneChoice(ScriptedService):
        def _reply(self, body: Body, first: str, fault: str | None) -> bytes:
            return super()._reply({**body, "n": 1}, first, fault)

    with OneChoice() as service, open_client(tmp_path, service) as client:
        found = ServiceSampler(client, "m", 0, "mine").sample(PROMPTS[:1], settings(samples_per_call=4))
    assert isinstance(found[0], ItemError) and "gave 1 of 4 choices" in str(found[0]) and "samples_per_call = 1" in str(found[0])


def test_a_prompt_that_is_refused_fails_alone(tmp_path: Path) -> None:
    with ScriptedService(faults=lambda body, _: "400" if "taught" in body["prompt"] else None) as service, open_client(tmp_path, service) as client:
        found = ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings())
    assert len(found[0]) == 4 and isinstance(found[1], ItemError)  # type: ignore[arg-type]
    assert "maximum context length" in str(found[1])


def test_the_stages_sample_from_a_server_that_fails_every_fifth_time_and_write_the_same(tmp_path: Path) -> None:
    seen = []
    for name, share in (("calm", 0.0), ("rough", 0.2)):
        with ScriptedService(faults=faults_by_chance(share, ["429", "500", "garbage", "truncated", "close", "empty"])) as service:
            volume = write_volume(tmp_path / name)
            write_definition(volume, 'backend = "openai"', f"[completions]\nbase_url = '{service.url}'\nbackoff_s = 0.001\nattempts = 20")
            for stage in ("responses", "answers"):
                done = run_stage(volume, stage, OPENAI_API_KEY="sk-not-yours")
                assert done.returncode == 0, done.stderr
            assert service.authorizations and set(service.authorizations) == {None}  # the key is that of [llm] alone
            assert {body["model"] for body in service.calls} == {"somebody/tiny"}
            seen.append(outputs(volume))
    assert seen[0] == seen[1] and len(seen[0]) == 10
    assert "margins" not in next(iter(seen[0].values()))
    write_definition(volume, 'backend = "openai"', "[completions]\nbase_url = 'http://127.0.0.1:9/v1'")
    again = run_stage(volume, "answers", "--llm-mode", "replay")
    assert again.returncode == 0 and outputs(volume) == seen[1]
    answered = json.loads(next(text for name, text in seen[1].items() if "samples" in name and "Ada" in name))["samples"][0]
    assert all(len(answers) == 6 for answers in answered.values())
