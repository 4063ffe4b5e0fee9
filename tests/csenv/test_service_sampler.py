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
from confscoring.service_sampler import ServiceSampler, seed_of
from volume.errors import ItemError, UsageError, VolumeError
from volume.llm import Client, Mode
from volume.llm.transfer import export_calls, import_calls
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
    first = next(body for body in bodies if body["seed"] == seed_of(7, "mine", "q/1"))
    assert first == {
        "model": "somebody/tiny", "prompt": "Q? A\nWhere was Ada born?", "max_tokens": 9, "temperature": 0.8, "top_p": 0.9, "top_k": 50, "stop": ["\n"],
        "seed": seed_of(7, "mine", "q/1"),
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


def test_several_samples_may_be_asked_for_by_one_call_and_are_recorded_like_those_of_several(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path / "one", service) as client:
        alone = ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=5))
    prompt_tokens = client.usage.prompt_tokens
    service.calls.clear()
    with open_client(tmp_path / "many", service) as client:
        found = ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=5, samples_per_call=3))
        assert (client.usage.calls, client.usage.prompt_tokens) == (10, prompt_tokens * 2 // 5)  # two prompts sent for five samples
    assert [(body.get("n", 1), body["seed"]) for body in service.calls if "Ada" in body["prompt"]] == [
        (3, seed_of(0, "mine", "q/1")), (2, seed_of(0, "mine", "q/1") + 3)
    ]  # fmt: skip
    assert found == alone and len({text for row in texts(found) for text in row}) == 10
    exported = []
    for name in ("one", "many"):
        export_calls(tmp_path / name / "calls.sqlite", tmp_path / f"{name}.jsonl")
        exported.append([(row["key"], row["reply"]["text"]) for row in map(json.loads, (tmp_path / f"{name}.jsonl").read_text().splitlines())])
    assert exported[0] == exported[1] and len(exported[0]) == 10


def test_only_samples_that_are_missing_are_asked_for(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path, service) as client:
        expected = texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=6, samples_per_call=6)))
    export_calls(tmp_path / "calls.sqlite", tmp_path / "all.jsonl")
    lines = [line for line in (tmp_path / "all.jsonl").read_text().splitlines() if json.loads(line)["request"]["sample"] not in (1, 4, 5)]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    service.calls.clear()
    (tmp_path / "again").mkdir()
    import_calls(tmp_path / "again" / "calls.sqlite", tmp_path / "some.jsonl")
    with open_client(tmp_path / "again", service) as client:
        assert texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(n=6, samples_per_call=6))) == expected
        assert (client.usage.recorded, client.usage.calls) == (6, 6)
    first = seed_of(0, "mine", "q/2")
    assert [(body["seed"] - first, body.get("n", 1)) for body in service.calls if "taught" in body["prompt"]] == [(1, 1), (4, 2)]


def test_a_server_that_knows_no_n_is_asked_until_all_samples_are_there(tmp_path: Path, service: ScriptedService) -> None:
    with open_client(tmp_path / "all", service) as client:
        expected = ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(samples_per_call=4))
    with ScriptedService(lambda body: f" {echo_hash(body)}\nnext line", lambda body, _: "one") as single, open_client(tmp_path / "one", single) as client:
        assert texts(ServiceSampler(client, "m", 0, "mine").sample(PROMPTS, settings(samples_per_call=4))) == texts(expected)
        assert sorted(body.get("n", 1) for body in single.calls) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_server_that_refuses_a_parameter_is_told_of_with_the_remedy(tmp_path: Path) -> None:
    with ScriptedService(faults=lambda body, _: "n" if body.get("n", 1) > 1 else None) as service, open_client(tmp_path, service) as client:
        sampler = ServiceSampler(client, "m", 0, "mine")
        refused = sampler.sample(PROMPTS, settings(samples_per_call=4))
        assert all(isinstance(one, ItemError) and "Only one completion choice" in str(one) and "samples_per_call = 1" in str(one) for one in refused)
        assert all(isinstance(one, list) for one in sampler.sample(PROMPTS, settings()))
    with ScriptedService(faults=lambda body, _: "top_k" if "top_k" in body else None) as service, open_client(tmp_path / "k", service) as client:
        sampler = ServiceSampler(client, "m", 0, "mine")
        with pytest.raises(UsageError, match="Unrecognized request argument supplied: top_k.*set top_k = 0"):
            sampler.sample(PROMPTS, settings(top_k=50))
        assert all(isinstance(one, list) for one in sampler.sample(PROMPTS, settings()))


def test_a_server_that_gives_nothing_but_copies_is_refused(tmp_path: Path) -> None:
    prompts = [Prompt(f"q/{number}", f"Question {number}?") for number in range(40)]

    def same(body: Body) -> str:
        return "yes" if "Question 7?" not in body["prompt"] else f"yes {body['seed']}"

    with ScriptedService(lambda body: body["prompt"]) as service, open_client(tmp_path, service) as client:
        for fine in (settings(temperature=0.0), settings(n=1), settings(top_k=1)):
            assert len(ServiceSampler(client, "m", 0, "mine").sample(prompts, fine)) == 40
        sampler = ServiceSampler(client, "m", 0, "mine")
        assert len(sampler.sample(prompts[:31], settings())) == 31  # so few may be by chance
        with pytest.raises(UsageError, match="4 samples of each of 32 prompts.*always the same text.*LLM_MODE=refresh"):
            sampler.sample(prompts[31:32], settings())
    with ScriptedService(same) as service, open_client(tmp_path / "7", service) as client:
        sampler = ServiceSampler(client, "m", 0, "mine")
        assert len(sampler.sample(prompts[:20], settings())) == 20  # one that it is not sure of will do
        assert len(sampler.sample(prompts[20:], settings()) + sampler.sample(prompts[:7] * 5, settings())) == 55


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
                done = run_stage(volume, stage, OPENAI_API_KEY="sk-not-yours", COMPLETIONS_API_KEY="sk-own")
                assert done.returncode == 0, done.stderr
            assert service.authorizations and set(service.authorizations) == {"Bearer sk-own"}  # the other key is that of [llm] alone
            assert {body["model"] for body in service.calls} == {"somebody/tiny"}
            seen.append(outputs(volume))
    assert seen[0] == seen[1] and len(seen[0]) == 10
    assert "margins" not in next(iter(seen[0].values()))
    write_definition(volume, 'backend = "openai"', "[completions]\nbase_url = 'http://127.0.0.1:9/v1'")
    again = run_stage(volume, "answers", "--llm-mode", "replay")
    assert again.returncode == 0 and outputs(volume) == seen[1]
    answered = json.loads(next(text for name, text in seen[1].items() if "samples" in name and "Ada" in name))["samples"][0]
    assert all(len(answers) == 6 for answers in answered.values())
