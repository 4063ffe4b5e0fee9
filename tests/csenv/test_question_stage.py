"""The stage `questions`: by the grammar, by rules, and by a scripted service on this machine, over real HTTP, that misbehaves."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from question_volume import PEOPLE, answer, command, decision, environment, manifest, outputs, run_stage, scored, statement_of, write_definition, write_volume
from scripted_service import ScriptedService, faults_by_chance

from confscoring.question_claims import Asked, Subject, claims_of
from confscoring.questions import add_questions
from confscoring.synthetic.grammar import build_grammar
from confscoring.synthetic.people import create_people
from volume.files import write_json
from volume.settings import WorldSettings


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume whose facts were asked about without any trouble."""
    volume = write_volume(tmp_path_factory.mktemp("calm"))
    with ScriptedService(answer) as service:
        write_definition(volume, url=service.url)
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert set(service.answered.values()) == {1}
        (volume / "calls.json").write_text(json.dumps(service.calls))
    return volume


def decisions(volume: Path, name: str) -> list[list[dict[str, Any]] | None]:
    """Return the decisions of each of a topic's responses."""
    rows = json.loads(outputs(volume)[f"{name}_aqs.json"])
    return [row["decisions"][0] for row in rows]


def test_each_fact_has_its_question_and_the_answer_that_it_gives(calm: Path) -> None:
    found = [one for name in PEOPLE for group in decisions(calm, name) for one in group or []]
    asked = [one for one in found if one["atomic_question"]]
    assert len(asked) > len(found) / 3
    for one in asked:
        assert one["atomic_question"].endswith(" which?") and one["claim_answer"].casefold() in one["atom"].casefold()
        assert one["convert_to_aq_prompt"].startswith("Subject: ") and one["is_supported"] is True
    for one in found:
        if one["kind"] != "claim":
            assert (one["atomic_question"], one["claim_answer"], one["convert_to_aq_prompt"]) == (None, None, None)
    assert [decisions(calm, name)[2] for name in PEOPLE] == [None] * len(PEOPLE)  # as the public code has it


def test_a_fact_that_returns_is_asked_about_once_and_has_the_same_question_everywhere(calm: Path) -> None:
    calls = json.loads((calm / "calls.json").read_text())
    first = [statement_of(body) for body in calls if len(body["messages"]) == 14]
    assert len(first) == len(set(first)) == 4 * len(PEOPLE)  # of five claims: one returns in other letters
    for name in PEOPLE:
        one, other = decisions(calm, name)[0][0], decisions(calm, name)[1][0]  # type: ignore[index]
        assert one["atom"] != other["atom"] and one["atomic_question"] == other["atomic_question"] and one["claim_answer"] == other["claim_answer"]


def test_the_manifest_counts_every_fact_and_says_what_the_questions_depend_on(calm: Path) -> None:
    found = [one for name in PEOPLE for group in decisions(calm, name) for one in group or []]
    questions = [one["atomic_question"] for one in found if one["atomic_question"]]
    counts, notes = manifest(calm)["counts"], manifest(calm)["notes"]
    assert (counts["facts"], counts["questions"], counts["without_question"]) == (7 * len(PEOPLE), len(questions), 7 * len(PEOPLE) - len(questions))
    assert counts["distinct_questions"] == len(set(questions)) < len(questions)
    again = [body for body in json.loads((calm / "calls.json").read_text()) if len(body["messages"]) == 16]
    assert 0 < counts["repaired"] < len(again)
    assert {key: value for key, value in notes["questioner"].items() if key != "prompt_sha256"} == {
        "backend": "llm", "model": "scripted", "temperature": 0.0, "context": 0,
    }  # fmt: skip
    assert len(notes["questioner"]["prompt_sha256"]) == 64 and notes["calls"]["asked"] > 0 == notes["calls"]["recorded"]


def test_a_reply_of_no_use_is_asked_for_once_more_with_what_is_wrong_and_then_the_fact_has_no_question(calm: Path) -> None:
    again = [body["messages"] for body in json.loads((calm / "calls.json").read_text()) if len(body["messages"]) == 16]
    faults = {messages[-1]["content"].partition(" Write")[0] for messages in again}
    assert faults == {"The question contains its answer.", "There is no question that ends with a question mark."}
    assert {messages[-2]["role"] for messages in again} == {"assistant"}
    refused = {statement_of({"messages": messages}) for messages in again if "sorry" in messages[-2]["content"]}
    claims = [one for name in PEOPLE for group in decisions(calm, name) for one in group or [] if one["kind"] == "claim"]
    assert refused and {one["atom"] for one in claims if one["atom"] in refused and one["atomic_question"]} == set()
    assert {one["atom"] for one in claims if not one["atomic_question"] and "  " not in one["atom"]} == refused


def test_an_empty_reply_is_asked_for_once_more_without_it(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, people=PEOPLE[:1])
    with ScriptedService(lambda body: "") as service:
        write_definition(volume, url=service.url)
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert {len(body["messages"]) for body in service.calls} == {14} and set(service.answered.values()) == {2}
    assert manifest(volume)["counts"]["questions"] == 0


def test_facts_before_a_fact_are_shown_with_it_where_the_definition_says_so(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, people=PEOPLE[:1])
    with ScriptedService(answer) as service:
        write_definition(volume, 'backend = "llm"\nmodel = "scripted"\ncontext = 2', service.url)
        assert run_stage(volume).returncode == 0
        last = [body["messages"][-1]["content"] for body in service.calls if len(body["messages"]) == 16 and body["messages"][-1]["content"].startswith("Subject")]
    shown = {text.rpartition("Statement: ")[2]: text.count("Ada Albane") - 2 for text in last}  # the subject's line and the statement name her too
    assert shown["Ada Albane was born in Albaneville."] == 0 and shown["Ada Albane became a surveyor in 1910."] == 1
    assert shown["Ada Albane painted Albaneville in blue."] == 2 and shown["Ada Albane had 10 sons."] == 1
    assert manifest(volume)["notes"]["questioner"]["context"] == 2


def test_all_facts_of_all_topics_are_in_flight_together(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    with ScriptedService(answer, latency=0.3) as service:
        write_definition(volume, url=service.url)
        assert run_stage(volume).returncode == 0
        assert service.most > 3 * len(PEOPLE)  # four facts a topic


def test_one_request_in_five_failing_changes_no_byte(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    faults = faults_by_chance(0.2, ["429", "429-bare", "500", "garbage", "truncated", "close"])
    with ScriptedService(answer, faults) as service:
        write_definition(volume, url=service.url)
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert sum(service.seen.values()) > 1.1 * len(service.calls)  # it did misbehave
    assert outputs(volume) == outputs(calm)


def test_killed_and_started_again_it_ends_with_the_same_bytes_and_pays_no_call_twice_but_those_in_flight(calm: Path, tmp_path: Path) -> None:
    volume, draw = write_volume(tmp_path), random.Random(4)
    kills, in_flight = 0, 4
    with ScriptedService(answer, latency=0.02) as service:
        write_definition(volume, url=service.url, more=f"in_flight = {in_flight}")
        for _ in range(5):
            wanted = len(service.calls) + draw.randint(1, 8)  # calls after which it is killed: a moment in its work, not in its start
            process = subprocess.Popen(command(volume), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(service.calls) < wanted and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert sum(times - 1 for times in service.answered.values()) <= kills * in_flight
    assert kills == 5
    assert outputs(volume) == outputs(calm)


def test_replay_needs_no_service_and_a_missing_store_is_said(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)  # nobody listens there
    done = run_stage(volume, "--llm-mode", "replay")
    assert done.returncode == 1 and "are not recorded" in done.stderr and "Traceback" not in done.stderr
    (volume / "llm_calls.sqlite").write_bytes((calm / "llm_calls.sqlite").read_bytes())
    done = run_stage(volume, "--llm-mode", "replay")
    assert done.returncode == 0, done.stderr
    assert outputs(volume) == outputs(calm)
    assert manifest(volume)["notes"]["calls"]["asked"] == 0 < manifest(volume)["notes"]["calls"]["recorded"]


def test_a_wrong_key_stops_at_once_and_stands_in_no_file(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    with ScriptedService(answer, key="right") as service:
        write_definition(volume, url=service.url, more="in_flight = 2")
        done = run_stage(volume, OPENAI_API_KEY="sk-planted-wrong")
        assert (done.returncode, len(service.calls)) == (2, 0), done.stderr
        assert sum(service.seen.values()) <= 2 and "OPENAI_API_KEY" in done.stderr and "Traceback" not in done.stderr
    assert [path for path in volume.rglob("*") if path.is_file() and b"sk-planted-wrong" in path.read_bytes()] == []


def test_a_call_that_fails_for_good_costs_its_own_topic_alone_and_what_was_paid_is_kept(calm: Path, tmp_path: Path) -> None:
    volume = write_volume(tmp_path)

    broken = ["Marit Venn had"]

    def fault(body: dict[str, Any], _attempt: int) -> str | None:
        return "400" if any(text in body["messages"][-1]["content"] for text in broken) else None

    with ScriptedService(answer, fault) as service:
        write_definition(volume, url=service.url)
        done = run_stage(volume)
        assert done.returncode == 3, done.stderr
        failures = manifest(volume)["failures"]
        assert list(failures) == ["Marit Venn"] and failures["Marit Venn"].startswith("question: ")
        assert outputs(volume) == {name: text for name, text in outputs(calm).items() if not name.startswith("Marit Venn")}
        paid = len(service.calls)
        broken.clear()
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert len(service.calls) <= paid + 2 and set(service.answered.values()) == {1}
    assert outputs(volume) == outputs(calm)


def test_a_file_that_cannot_be_read_costs_its_own_topic_alone(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, 'backend = "rules"', people=PEOPLE[:2])
    (volume / "dataset_mine" / "factscore_outputs" / f"{PEOPLE[0]}_fs_out.json").write_text("[{")
    done = run_stage(volume)
    assert done.returncode == 3 and "is not valid JSON" in done.stderr
    assert list(outputs(volume)) == [f"{PEOPLE[1]}_aqs.json"]


def test_rules_ask_without_a_service_and_count_what_they_cannot_read(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, 'backend = "rules"', people=PEOPLE[:1])
    done = run_stage(volume)
    assert done.returncode == 0, done.stderr
    first, second, _ = decisions(volume, PEOPLE[0])
    assert first is not None and second is not None
    assert [(one["atomic_question"], one["claim_answer"]) for one in first] == [
        ("Where was Ada Albane born?", "Albaneville"),
        ("When did Ada Albane become a surveyor?", "1910"),
        ("In what did Ada Albane paint Albaneville?", "blue"),
        (None, None),
    ]
    assert second[0]["claim_answer"] == "Albaneville" and second[2]["atomic_question"] == "How many sons did Ada Albane have?"
    assert not (volume / "llm_calls.sqlite").exists()
    assert manifest(volume)["counts"]["without_question"] == 2 and manifest(volume)["notes"]["questioner"] == {"backend": "rules", "version": "rules-1"}
    assert run_stage(volume).stderr.strip().endswith("up to date")


def test_a_definition_without_questions_is_told_so(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, people=PEOPLE[:1])
    path = volume / "mine.toml"
    path.write_text(path.read_text().replace('[questions]\nbackend = "llm"\nmodel = "scripted"\n', ""))
    done = run_stage(volume)
    assert done.returncode == 2 and "lacks [questions]" in done.stderr


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    """Two people of the synthetic world."""
    root = tmp_path / "dataset_synth"
    write_json(root / "world" / "grammar.json", build_grammar(create_people(0, WorldSettings(people=60))[1]))
    write_json(root / "questions_per_topic_train.json", [{"topic": name, "topic_id": 0, "questions": ["Q?"]} for name in ("Ada Beck", "Bo Crest")])
    for name in ("Ada Beck", "Bo Crest"):
        own = [{**decision(f"{name}'s home town is {value}."), "attribute": "home_town", "value": value} for value in ("Melby", "Ilby")]
        other = [{**own[0], "kind": "off_topic"}, {"atom": "??", "is_supported": False, "kind": "unparsed", "attribute": None, "value": None}]
        unknown = {**own[0], "atom": "x", "attribute": "shoe size"}
        write_json(root / "factscore_outputs" / f"{name}_fs_out.json", [scored(name, [*own, *other, unknown]), scored(name, []), scored(name, None)])
    return tmp_path


def test_the_grammar_asks_for_the_attribute_and_the_value_is_the_answer(synthetic: Path) -> None:
    call = [*command(synthetic)[:3], "--dataset", "synth", "--data-dir", str(synthetic), "--split", "train"]
    done = subprocess.run(call, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((synthetic / "dataset_synth" / "atomic_qs" / "Ada Beck_aqs.json").read_text())
    assert [(one["atomic_question"], one["claim_answer"]) for one in rows[0]["decisions"][0]] == [
        ("Which town does Ada Beck live in?", "Melby"), ("Which town does Ada Beck live in?", "Ilby"), (None, None), (None, None), (None, None),
    ]  # fmt: skip
    assert [row["decisions"] for row in rows[1:]] == [[[]], [None]]
    about = json.loads((synthetic / "dataset_synth" / "manifests" / "questions-train.json").read_text())
    assert (about["counts"]["facts"], about["counts"]["questions"], about["counts"]["distinct_questions"]) == (10, 4, 2)
    assert about["notes"]["questioner"]["backend"] == "grammar" and not (synthetic / "llm_calls.sqlite").exists()


def test_nothing_of_a_response_changes_but_its_decisions_questions() -> None:
    row: Any = {**scored("Ada Beck", [{**decision("Ada Beck ran."), "p_true": 0.5}]), "refused": 2}
    (claim,) = claims_of(row, Subject("Ada Beck", "Ada Beck", "her"))
    assert claim is not None
    asked = add_questions(row, [claim], {claim.key: Asked("Who?", "Bo", "P")})
    assert asked == {**row, "decisions": [[{**row["decisions"][0][0], "atomic_question": "Who?", "claim_answer": "Bo", "convert_to_aq_prompt": "P"}]]}
