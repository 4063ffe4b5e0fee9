"""The stage loop: resume, fingerprints, failures, exit statuses. The stage under test is `questions`, with work of our own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from volume.context import Context
from volume.errors import ItemError, RecordError
from volume.files import write_json
from volume.records import Topic
from volume.stage import run_topics

NAMES = ["Ada", "Bo", "Cy", "Di"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    root = tmp_path / "dataset_synth"
    write_json(root / "questions_per_topic_train.json", [{"topic": name, "topic_id": index, "questions": ["Who?"]} for index, name in enumerate(NAMES)])
    write_json(root / "world" / "grammar.json", {})
    for name in NAMES:
        write_json(root / "factscore_outputs" / f"{name}_fs_out.json", [])
    return tmp_path


def run(volume: Path, called: list[str], bad: tuple[str, ...] = (), extra: tuple[str, ...] = (), group: int = 2) -> int:
    def prepare(ctx: Context) -> Any:
        def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
            results: dict[str, list[Any] | ItemError] = {}
            for topic in topics:
                called.append(topic["topic"])
                ctx.count("facts", 2, topic=topic["topic"])
                results[topic["topic"]] = ItemError("no such title") if topic["topic"] in bad else [{"of": topic["topic"]}]
            return results

        return work

    return run_topics("questions", prepare, group=group, argv=["--dataset", "synth", "--data-dir", str(volume), "--split", "train", *extra])


def manifest(volume: Path) -> dict[str, Any]:
    return json.loads((volume / "dataset_synth" / "manifests" / "questions-train.json").read_text())


def test_a_second_run_does_nothing_and_the_manifest_tells_what_was_done(volume: Path) -> None:
    called: list[str] = []
    assert run(volume, called) == 0 and called == NAMES
    stamp = {path: path.stat().st_mtime_ns for path in volume.rglob("*_aqs.json")}
    assert run(volume, called) == 0 and called == NAMES
    assert stamp == {path: path.stat().st_mtime_ns for path in volume.rglob("*_aqs.json")}
    found = manifest(volume)
    assert found["counts"] == {"topics": 4, "done": 4, "failed": 0, "facts": 8}
    assert found["status"] == "complete" and len(found["outputs"]) == 4
    assert found["environment"]["python"] and found["started"].endswith("+00:00")


def test_a_failed_topic_is_recorded_costs_no_other_and_is_tried_again(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called: list[str] = []
    assert run(volume, called, bad=("Bo",)) == 3
    assert manifest(volume)["failures"] == {"Bo": "no such title"}
    assert "failed: Bo: no such title" in capsys.readouterr().err
    called.clear()
    assert run(volume, called) == 0 and called == ["Bo"]
    assert manifest(volume)["counts"]["facts"] == 8


def test_an_exception_on_one_topic_of_a_group_costs_only_that_topic(volume: Path) -> None:
    def prepare(ctx: Context) -> Any:
        def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
            if any(topic["topic"] == "Cy" for topic in topics):
                raise ValueError("odd input")
            return {topic["topic"]: [[]] for topic in topics}

        return work

    assert run_topics("questions", prepare, group=4, argv=["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]) == 3
    assert manifest(volume)["failures"] == {"Cy": "ValueError: odd input"}


def test_a_group_that_fails_as_a_whole_is_counted_once(volume: Path) -> None:
    def prepare(ctx: Context) -> Any:
        def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
            for topic in topics:
                ctx.count("facts", 2, topic=topic["topic"])
            if len(topics) > 1:
                raise ValueError("too much at once")
            return {topic["topic"]: [[]] for topic in topics}

        return work

    assert run_topics("questions", prepare, group=4, argv=["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]) == 0
    assert manifest(volume)["counts"]["facts"] == 8


@pytest.mark.parametrize("group", [1, 3, 4])
def test_a_file_that_cannot_be_read_costs_its_own_topic_only_however_large_the_group(volume: Path, group: int) -> None:
    def prepare(_ctx: Context) -> Any:
        def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
            if any(topic["topic"] == "Di" for topic in topics):
                raise RecordError("Di.json: not valid JSON")
            return {topic["topic"]: [[]] for topic in topics}

        return work

    assert run_topics("questions", prepare, group=group, argv=["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]) == 3
    assert manifest(volume)["failures"] == {"Di": "Di.json: not valid JSON"} and manifest(volume)["counts"]["done"] == 3


def test_a_topic_that_the_stage_says_nothing_of_has_failed(volume: Path) -> None:
    argv = ["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]
    assert run_topics("questions", lambda ctx: lambda topics: {"Ada": [[]]}, group=4, argv=argv) == 3
    assert manifest(volume)["failures"] == dict.fromkeys(NAMES[1:], "the stage gave no result for it")


def test_a_topic_whose_input_is_missing_fails_with_the_file_named(volume: Path) -> None:
    (volume / "dataset_synth" / "factscore_outputs" / "Di_fs_out.json").unlink()
    assert run(volume, []) == 3
    assert "Di_fs_out.json is missing" in manifest(volume)["failures"]["Di"]


def test_a_changed_input_redoes_its_own_topic_only(volume: Path) -> None:
    called: list[str] = []
    run(volume, called)
    called.clear()
    write_json(volume / "dataset_synth" / "factscore_outputs" / "Cy_fs_out.json", [1])
    assert run(volume, called) == 0 and called == ["Cy"]


def test_a_damaged_or_deleted_output_is_made_again(volume: Path) -> None:
    called: list[str] = []
    run(volume, called)
    called.clear()
    outputs = volume / "dataset_synth" / "atomic_qs"
    (outputs / "Ada_aqs.json").unlink()
    (outputs / "Bo_aqs.json").write_text("{}")
    assert run(volume, called) == 0 and called == ["Ada", "Bo"]


def test_a_limit_takes_the_first_topics_and_keeps_them_when_it_is_lifted(volume: Path) -> None:
    called: list[str] = []
    assert run(volume, called, extra=("--limit", "3")) == 0 and called == NAMES[:3]
    called.clear()
    assert run(volume, called) == 0 and called == ["Di"]


def test_a_half_written_journal_line_is_ignored(volume: Path) -> None:
    called: list[str] = []
    run(volume, called)
    called.clear()
    journal = volume / "dataset_synth" / "manifests" / "questions-train.items.jsonl"
    journal.write_text(journal.read_text()[:-9])
    (volume / "dataset_synth" / "manifests" / "questions-train.json").unlink()
    assert run(volume, called) == 0 and called == ["Di"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset", "sinth", "--split", "train"], "Did you mean 'synth'"),
        (["--dataset", "synth", "--split", "tran"], "takes one of: --split train; --split dpoval"),
        (["--dataset", "synth", "--split", "dpoval"], "questions_per_topic_dpoval.json is missing"),
    ],
)
def test_a_usage_error_is_one_clear_line_and_status_2(volume: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_topics("questions", lambda ctx: lambda topics: {}, argv=[*argv, "--data-dir", str(volume)]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


KILLED = """
import sys, time
from volume.stage import run_topics
def prepare(ctx):
    def work(topics):
        time.sleep(0.15)
        return {topic["topic"]: [{"of": topic["topic"]}] for topic in topics}
    return work
sys.exit(run_topics("questions", prepare, argv=sys.argv[1:]))
"""


def test_killed_five_times_and_started_again_the_files_are_the_same(volume: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, "--dataset", "synth", "--data-dir", str(volume), "--split", "train"]
    outputs = volume / "dataset_synth" / "atomic_qs"
    for wait in (0.1, 0.35, 0.3, 0.45, 0.2):
        process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, env=dict(os.environ), stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert {path.name: json.loads(path.read_text()) for path in outputs.iterdir()} == {f"{name}_aqs.json": {"of": name} for name in NAMES}


def test_two_processes_cannot_run_one_step_at_once(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def prepare(ctx: Context) -> Any:
        assert run(volume, []) == 1  # a second one, while the first holds the step
        return lambda topics: {topic["topic"]: [[]] for topic in topics}

    assert run_topics("questions", prepare, argv=["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]) == 0
    assert "run by another process" in capsys.readouterr().err
