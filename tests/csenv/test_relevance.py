"""The stage `relevance`: a scripted service on this machine, over real HTTP, and what evaluation makes of its verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from question_volume import decision, scored
from scripted_service import ScriptedService, faults_by_chance

from confscoring import evaluate, relevance
from confscoring.estimate import ESTIMATORS
from confscoring.relevance_prompt import AGAIN, SYSTEM
from volume.costs import tell_estimate
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.stage import run_topics, run_whole

TOPICS = ("Dorsal fever", "Marsh cough")
CAUSE, TREAT = "What causes {}?", "How is {} treated?"


def facts(topic: str) -> dict[str, list[tuple[str, list[dict[str, Any]]]]]:
    """Return {question: [(response, facts)]}: facts that return in other letters, under another question, and unsupported ones."""
    mite, rest = decision(f"{topic} is caused by a mite."), decision(f"{topic} is treated with rest.")
    wrong = {**decision(f"{topic} is caused by rain."), "is_supported": False}
    return {
        CAUSE.format(topic): [("one", [mite, rest, wrong]), ("two", [{**mite, "atom": f"{topic.upper()}  is caused by a mite"}])],
        TREAT.format(topic): [("three", [rest, decision(f"{topic} is odd.")]), ("four", [])],
    }  # fmt: skip


def write_volume(folder: Path, url: str = "http://127.0.0.1:9/v1", section: str = '[relevance]\nmodel = "scripted"\n') -> DatasetPaths:
    """Write definition, responses and scores of a run."""
    (folder / "mine.toml").write_text(
        f'name = "mine"\ndescription = "conditions"\nsplits = ["train", "dpoval", "test"]\n[runs.fs]\nkind = "sft"\nlabel = "FS"\n[eval]\nbootstrap = 20\n{section}'
        f'[llm]\nbase_url = "{url}"\nbackoff_s = 0.001\ninput_price = 1.0\n'
    )
    paths = DatasetPaths(folder / "dataset_mine")
    write_json(paths.questions("test"), [{"topic": topic, "topic_id": place, "questions": list(facts(topic))} for place, topic in enumerate(TOPICS)])
    for topic in TOPICS:
        rows = [{**scored(topic, own), "generation": text} for entries in facts(topic).values() for text, own in entries]
        texts = {question: {"responses": [text for text, _ in own], "decoding": ["sample", "greedy"]} for question, own in facts(topic).items()}
        write_json(paths.responses(topic, "fs"), texts)
        write_json(paths.factscore(topic, "fs"), rows)
    return paths


def by_question(body: dict[str, Any]) -> str:
    """Play the model: a fact is relevant where it has the question's verb; of one that says nothing it is unsure, first or for good."""
    assert body["messages"][0]["content"] == SYSTEM
    question, fact = asked_about(body)
    if "odd" in fact:
        return "Hard to say."
    if "Marsh" in fact and len(body["messages"]) == 2:
        return "It depends."
    return "Yes." if ("cause" in question) == ("cause" in fact) else "No, it answers something else."


def asked_about(body: dict[str, Any]) -> tuple[str, str]:
    lines = body["messages"][1]["content"].splitlines()
    return lines[1].removeprefix("Question: "), lines[2].removeprefix("Fact: ")


def arguments(paths: DatasetPaths, *more: str) -> list[str]:
    folder = paths.root.parent
    return ["--dataset", str(folder / "mine.toml"), "--data-dir", str(folder), "--run", "fs", "--split", "test", *more]


def run_relevance(paths: DatasetPaths, *more: str) -> int:
    return run_topics("relevance", relevance.prepare, 32, argv=arguments(paths, *more))


def verdicts(paths: DatasetPaths, topic: str) -> list[list[bool | None]]:
    found: list[list[bool | None]] = json.loads(paths.relevance(topic, "fs").read_text())["relevant"]
    return found


EXPECTED = [[True, False, None], [True], [True, None], []]


def test_supported_facts_are_asked_about_once_a_question_and_the_verdicts_stand_in_the_file_s_order(tmp_path: Path) -> None:
    with ScriptedService(by_question) as service:
        paths = write_volume(tmp_path, service.url)
        assert run_relevance(paths) == 0
        calls = list(service.calls)
        assert run_relevance(paths) == 0 and len(service.calls) == len(calls)  # a second run does nothing
    assert [verdicts(paths, topic) for topic in TOPICS] == [EXPECTED, EXPECTED]
    first = [asked_about(body) for body in calls if len(body["messages"]) == 2]
    assert len(first) == len(set(first)) == 4 * len(TOPICS)  # mite, rest; rest, odd: rest under both questions, the mite once
    assert all("rain" not in fact for _, fact in first)
    again = [body["messages"] for body in calls if len(body["messages"]) == 4]
    assert len(again) == 1 + 4 and {messages[-1]["content"] for messages in again} == {AGAIN}
    manifest = json.loads((paths.manifests / "relevance-fs.json").read_text())
    assert {name: manifest["counts"][name] for name in ("facts", "asked", "distinct", "irrelevant", "undecided")} == {
        "facts": 12, "asked": 10, "distinct": 8, "irrelevant": 2, "undecided": 2,
    }  # fmt: skip
    assert manifest["notes"]["relevance"]["model"] == "scripted" and len(manifest["notes"]["relevance"]["prompt_sha256"]) == 64


def test_an_unreliable_service_changes_nothing_and_a_call_that_fails_for_good_costs_its_topic_alone(tmp_path: Path) -> None:
    with ScriptedService(by_question, faults_by_chance(0.3, ["429", "500", "garbage", "close"])) as service:
        paths = write_volume(tmp_path, service.url)
        assert run_relevance(paths) == 0
    assert [verdicts(paths, topic) for topic in TOPICS] == [EXPECTED, EXPECTED]
    assert run_relevance(paths, "--llm-mode", "replay") == 0
    (tmp_path / "other").mkdir()
    with ScriptedService(by_question, lambda body, _: "400" if "Marsh" in body["messages"][1]["content"] else None) as service:
        paths = write_volume(tmp_path / "other", service.url)
        assert run_relevance(paths) == 3
    assert verdicts(paths, TOPICS[0]) == EXPECTED and not paths.relevance(TOPICS[1], "fs").exists()


def test_scores_of_other_responses_fail_their_topic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedService(by_question) as service:
        paths = write_volume(tmp_path, service.url)
        write_json(paths.factscore(TOPICS[0], "fs"), json.loads(paths.factscore(TOPICS[0], "fs").read_text())[::-1])
        assert run_relevance(paths) == 3
    said = capsys.readouterr().err
    assert "does not score the responses" in said and "Traceback" not in said and verdicts(paths, TOPICS[1]) == EXPECTED


def run_evaluate(paths: DatasetPaths) -> int:
    return run_whole("evaluate", evaluate.produce, argv=arguments(paths))


def read_summary(paths: DatasetPaths) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((paths.eval("fs") / "summary.json").read_text())
    return found


def test_what_has_nothing_to_do_with_the_question_is_not_counted_as_correct(tmp_path: Path) -> None:
    with ScriptedService(by_question) as service:
        paths = write_volume(tmp_path, service.url)
        assert run_relevance(paths) == 0
    assert run_evaluate(paths) == 0
    sample = read_summary(paths)["decodings"]["sample"]["figures"]  # "one" and "three": mite, rest, rain; rest, odd
    assert sample["verifier"]["percent_correct"]["value"] == 60.0  # mite; rest and odd, of 5
    assert (sample["verifier"]["correct"]["value"], sample["verifier"]["incorrect"]["value"], sample["plain"]["irrelevant"]["value"]) == (1.5, 0.5, 0.5)
    assert sample["verifier"]["percent_correct_macro"]["value"] == pytest.approx((1 / 3 + 1) / 2 * 100, abs=1e-5)
    greedy = read_summary(paths)["decodings"]["greedy"]["figures"]
    assert greedy["verifier"]["percent_correct"]["value"] == 100.0 and greedy["plain"]["respond"]["value"] == 50.0
    marked = read_summary(paths)["examples"][0]["facts"]
    assert [fact["status"] for fact in marked] == ["correct", "irrelevant", "incorrect"]


def test_a_topic_without_verdicts_is_missing_and_verdicts_on_other_facts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_volume(tmp_path)
    write_json(paths.relevance(TOPICS[0], "fs"), {"relevant": EXPECTED})
    assert run_evaluate(paths) == 0 and read_summary(paths)["missing"] == [TOPICS[1]]
    for broken in ([[True, False], *EXPECTED[1:]], EXPECTED[:3]):
        write_json(paths.relevance(TOPICS[0], "fs"), {"relevant": broken})
        assert run_evaluate(paths) == 1
        said = capsys.readouterr().err
        assert "Run `make eval` again" in said or "run `make eval` again" in said
        assert "Traceback" not in said


def estimate(paths: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert tell_estimate(["relevance", *arguments(paths)], ESTIMATORS) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_its_calls_are_counted_beforehand_and_recorded_ones_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedService(by_question) as service:
        paths = write_volume(tmp_path, service.url)
        found = estimate(paths, capsys)
        assert (found["calls"], found["recorded"]) == (8, 0) and found["usd"] > 0
        assert run_relevance(paths) == 0
    for path in paths.manifests.glob("*.jsonl"):
        path.unlink()
    assert (estimate(paths, capsys)["calls"], estimate(paths, capsys)["recorded"]) == (0, 8)
    for topic in TOPICS:
        paths.factscore(topic, "fs").unlink()
    found = estimate(paths, capsys)
    assert found["calls"] == 2 * 2 * (4 + 1) * 6 * 4 and "5 responses a question" in found["assumed"][0]
