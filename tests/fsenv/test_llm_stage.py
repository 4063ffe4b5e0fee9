"""The stage with a service for facts and verdicts: a scripted one on this machine, over real HTTP, that misbehaves."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from own_volume import PEOPLE, manifest, outputs, run_stage, stage_command, stage_environment, write_definition, write_volume
from scripted_judges import answer
from scripted_service import ScriptedService, faults_by_chance

CALM = {"topics": 12, "done": 12, "failed": 0, "responses": 36, "abstained": 12, "without_facts": 12, "empty": 0}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume that was scored without any trouble."""
    volume = write_volume(tmp_path_factory.mktemp("calm"))
    with ScriptedService(answer) as service:
        write_definition(volume, service.url)
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert not [body for body, times in service.answered.items() if times > 1]
    return volume


def test_facts_and_verdicts_come_from_the_service_and_every_response_is_counted(calm: Path) -> None:
    counts: Any = manifest(calm)["counts"]
    assert {key: counts[key] for key in CALM} == CALM
    scored = [json.loads(text) for text in outputs(calm).values()]
    decisions = [decision for responses in scored for response in responses for decision in response["decisions"][0]]
    assert 0 < counts["supported"] < counts["facts"] == len(decisions)
    assert counts["undecided"] == sum("undecided" in decision for decision in decisions) > 0
    assert not [decision for decision in decisions if decision.get("undecided") and decision["is_supported"]]
    sentence = scored[0][0]["decisions"][0][0]["sentence"]
    assert sentence in scored[0][0]["generation"] and scored[0][0]["decisions"][0][0]["atom"].startswith("Ada Albane: ")
    for responses in scored:
        last = responses[-1]
        assert (last["abstained"], last["decisions"], last["init_score"], last["respond_ratio"]) == (True, [[]], None, 0.0)


def test_the_manifest_says_who_judged_with_what(calm: Path) -> None:
    notes: Any = manifest(calm)["notes"]
    evaluator = notes["evaluator"]
    assert {key: evaluator[key] for key in ("facts", "facts_model", "verifier", "verifier_model", "retrieval", "k", "npm", "gamma", "knowledge")} == {
        "facts": "llm", "facts_model": "scripted", "verifier": "llm", "verifier_model": "scripted", "retrieval": "bm25", "k": 2,
        "npm": False, "gamma": 10, "knowledge": "mine.db",
    }  # fmt: skip
    assert all(len(evaluator[key]) == 64 for key in ("facts_prompt_sha256", "verifier_prompt_sha256", "knowledge_sha256"))
    assert "sentencizer" in evaluator["splitter"] or "punkt" in evaluator["splitter"]
    assert notes["calls"]["asked"] > 0 == notes["calls"]["recorded"]


def test_one_request_in_five_failing_changes_no_byte(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    faults = faults_by_chance(0.2, ["429", "429-bare", "500", "garbage", "truncated", "close"])
    with ScriptedService(answer, faults) as service:
        write_definition(volume, service.url)
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        failed = sum(service.seen.values()) - len(service.calls)
        assert failed > len(service.calls) / 10  # it did misbehave
    assert outputs(volume) == outputs(calm)


def test_killed_twenty_times_it_ends_with_the_same_bytes_and_pays_no_call_twice_but_those_in_flight(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    draw = random.Random(20)
    kills, in_flight = 0, 4
    with ScriptedService(answer, latency=0.02) as service:
        write_definition(volume, service.url, more=f"in_flight = {in_flight}")
        while kills < 20:
            already = len(service.calls)
            process = subprocess.Popen(stage_command(volume), env=stage_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wanted = already + draw.randint(0, 8)  # calls after which it is killed: a moment in its work, not in its start
            while len(service.calls) < wanted and process.poll() is None:
                time.sleep(0.002)
            time.sleep(draw.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            if process.returncode == 0:
                break
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        twice = sum(times - 1 for times in service.answered.values())
    assert kills == 20
    assert twice <= kills * in_flight
    assert outputs(volume) == outputs(calm)


def test_replay_needs_no_service_and_no_key_and_a_missing_store_is_said(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    write_definition(volume)  # nobody listens there
    done = run_stage(volume, "--llm-mode", "replay")
    assert done.returncode == 1 and "are not recorded" in done.stderr and "Traceback" not in done.stderr
    (volume / "llm_calls.sqlite").unlink()
    (volume / "llm_calls.sqlite").write_bytes((calm / "llm_calls.sqlite").read_bytes())
    done = run_stage(volume, "--llm-mode", "replay")
    assert done.returncode == 0, done.stderr
    assert outputs(volume) == outputs(calm)
    notes: Any = manifest(volume)["notes"]
    assert notes["calls"]["asked"] == 0 < notes["calls"]["recorded"]


def test_a_wrong_key_stops_at_once_and_stands_in_no_file(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    with ScriptedService(answer, key="right") as service:
        write_definition(volume, service.url, more="in_flight = 2")
        done = run_stage(volume, OPENAI_API_KEY="sk-planted-wrong")
        assert (done.returncode, len(service.calls)) == (2, 0), done.stderr
        assert sum(service.seen.values()) <= 2
        assert "OPENAI_API_KEY" in done.stderr and "Traceback" not in done.stderr
        done = run_stage(volume, OPENAI_API_KEY="right")
        assert done.returncode == 0, done.stderr
    for path in volume.rglob("*"):
        if path.is_file():
            assert b"sk-planted-wrong" not in path.read_bytes(), path
    assert "sk-planted-wrong" not in done.stderr


def test_a_call_that_fails_for_good_costs_its_own_topic_alone(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)

    def fault(body: dict[str, Any], _attempt: int) -> str | None:
        return "400" if "Subject: Marit Venn" in body["messages"][-1]["content"] else None

    with ScriptedService(answer, fault) as service:
        write_definition(volume, service.url)
        done = run_stage(volume)
        assert done.returncode == 3, done.stderr
    failures: Any = manifest(volume)["failures"]
    assert list(failures) == ["Marit Venn"] and failures["Marit Venn"].startswith("facts: ")
    assert outputs(volume) == {name: text for name, text in outputs(calm).items() if not name.startswith("Marit Venn")}


def test_the_cap_on_money_stops_before_it_is_exceeded_and_what_was_paid_is_kept(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    with ScriptedService(answer) as service:
        write_definition(volume, service.url, more="in_flight = 4\ninput_price = 10.0\noutput_price = 20.0")
        done = run_stage(volume, "--max-cost", "0.03")
        paid = len(service.calls)
        assert done.returncode == 1 and "MAX_COST" in done.stderr and paid > 0, done.stderr
        done = run_stage(volume, "--max-cost", "100")
        assert done.returncode == 0, done.stderr
        assert max(service.answered.values()) == 1  # nothing is paid again
    assert outputs(volume) == outputs(calm)


def test_an_unknown_title_costs_no_call(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, people=PEOPLE[:2])
    path = volume / "dataset_mine" / "questions_per_topic_train.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"topic": "Ada Alban", "topic_id": 9, "questions": ["Who?"]}]))
    (volume / "dataset_mine" / "responses" / "Ada Alban_generations.json").write_text(json.dumps({"Who?": {"responses": ["Ada Alban was a pilot."]}}))
    with ScriptedService(answer) as service:
        write_definition(volume, service.url)
        done = run_stage(volume)
        assert done.returncode == 3 and "Nearest titles: 'Ada Albane'" in done.stderr
        assert not [body for body in service.calls if "pilot" in json.dumps(body)]
