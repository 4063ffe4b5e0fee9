"""The stages that sample, with a tiny model: what they ask and keep, one bad topic, kills, several processes."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from sampling_volume import PEOPLE, PREFIX, manifest, outputs, stage_command, stage_environment, write_definition, write_volume

from confscoring.answers import find_given_away, questions_of
from volume.command import stage_command as stage_step_command
from volume.datasets import load_definition
from volume.files import write_json
from volume.paths import encode_topic


def fork_stage(volume: Path, stage: str) -> int:
    """Start a stage in a process that has PyTorch loaded already: tests are quick, and a kill meets work and not imports. Return its id."""
    import transformers  # noqa: F401

    child = os.fork()
    if child:
        return child
    log = os.open(volume / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = stage_command(volume, stage)[1:]
    try:
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # pytest's own takes what is written, else
        runpy.run_module(f"confscoring.{stage}", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    finally:
        os._exit(70)


def run_stage(volume: Path, stage: str) -> subprocess.CompletedProcess[str]:
    """Run a stage to its end."""
    status = os.waitstatus_to_exitcode(os.waitpid(fork_stage(volume, stage), 0)[1])
    return subprocess.CompletedProcess([stage], status, "", (volume / "log.txt").read_text())


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    write_definition(write_volume(tmp_path))
    return tmp_path


def read(volume: Path, name: str, folder: str = "atomic_qs_samples/tiny_6samples", end: str = "samples") -> dict:  # type: ignore[type-arg]
    return json.loads((volume / "dataset_mine" / folder / f"{encode_topic(name)}_{end}.json").read_text())


def test_every_question_is_answered_once_and_margins_are_kept(volume: Path) -> None:
    done = run_stage(volume, "answers")
    assert done.returncode == 0, done.stderr
    for name in PEOPLE:
        asked = json.loads((volume / "dataset_mine" / "atomic_qs" / f"{encode_topic(name)}_aqs.json").read_text())
        found = read(volume, name)
        assert [list(row) for row in found["samples"]] == [questions_of(row) for row in asked]
        assert found["samples"][1] == {}  # a response without facts
        distinct = {question for row in found["samples"] for question in row}
        assert set(found["margins"]) == distinct and all(len(margins) == 6 for margins in found["margins"].values())
        assert all(0 <= margin < 1 for margins in found["margins"].values() for margin in margins)
        for question in distinct:  # the same answers wherever it is asked
            assert len({tuple(row[question]) for row in found["samples"] if question in row}) == 1
    counts = manifest(volume, "answers")["counts"]
    assert counts["answers"] == 6 * sum(len(read(volume, name)["margins"]) for name in PEOPLE)  # type: ignore[index]
    assert "in_prefix" not in manifest(volume, "answers")["notes"]  # type: ignore[operator]


def test_responses_keep_margins_and_have_draws_of_their_own(volume: Path) -> None:
    assert run_stage(volume, "responses").returncode == 0
    found = read(volume, PEOPLE[0], "responses", "generations")
    assert [len(row["responses"]) for row in found.values()] == [3, 3]
    assert all(len(row["margins"]) == len(row["tokens"]) == 3 for row in found.values())
    assert len({text for row in found.values() for text in row["responses"]}) == 6


def test_topics_that_the_examples_give_away_are_named(volume: Path) -> None:
    definition = volume / "mine.toml"
    definition.write_text(definition.read_text().replace("Per Holt", "Ada Albane"))
    done = run_stage(volume, "answers")
    assert done.returncode == 0 and "names 1 topic(s) and so gives answers away: Ada Albane" in done.stderr
    assert manifest(volume, "answers")["notes"]["in_prefix"] == ["Ada Albane"]  # type: ignore[index]
    assert find_given_away(["per holt", "Per"], PREFIX) == ["per holt", "Per"] and find_given_away(["Nobody"], "") == []
    assert find_given_away(["Ada", "C++ (language)", "Hol"], "Is Canada large? Yes\nIs C++ (language) old? Yes\n" + PREFIX) == ["C++ (language)"]


def test_a_question_that_a_topic_has_twice_is_asked_once(volume: Path) -> None:
    path = volume / "dataset_mine" / "questions_per_topic_train.json"
    topics = json.loads(path.read_text())
    topics[0]["questions"].append(topics[0]["questions"][0])
    write_json(path, topics)
    assert run_stage(volume, "responses").returncode == 0
    assert [len(row["responses"]) for row in read(volume, PEOPLE[0], "responses", "generations").values()] == [3, 3]
    assert manifest(volume, "responses")["counts"]["responses"] == 3 * 2 * len(PEOPLE)  # type: ignore[index]


@pytest.mark.parametrize("stage", ["responses", "answers"])
def test_a_definition_without_the_section_is_told_of(volume: Path, stage: str) -> None:
    definition = volume / "mine.toml"
    definition.write_text(re.sub(rf"\[{stage}\].*?(?=\n\[|\Z)", "", definition.read_text(), flags=re.DOTALL))
    done = run_stage(volume, stage)
    assert done.returncode != 0 and f"lacks [{stage}]" in done.stderr and "Traceback" not in done.stderr


def test_a_topic_whose_prompt_is_too_long_fails_alone(volume: Path) -> None:
    path = volume / "dataset_mine" / "atomic_qs" / "Oskar Venn_aqs.json"
    rows = json.loads(path.read_text())
    rows[0]["decisions"][0][0]["atomic_question"] = "Where " * 600
    write_json(path, rows)
    done = run_stage(volume, "answers")
    assert done.returncode == 3 and "Oskar Venn: the prompt has" in done.stderr and "the model takes 512" in done.stderr
    assert len(outputs(volume)) == len(PEOPLE) - 1


def test_a_missing_model_is_a_clear_error(volume: Path) -> None:
    definition = volume / "mine.toml"
    definition.write_text(definition.read_text().replace('path = "models/tiny"', 'path = "models/none"'))
    done = run_stage(volume, "answers")
    assert done.returncode == 2 and "models/none holds no model" in done.stderr and "Traceback" not in done.stderr


def test_texts_are_the_same_whatever_the_batch_size(volume: Path) -> None:
    assert run_stage(volume, "answers").returncode == 0
    expected = {name: read(volume, name)["samples"] for name in PEOPLE}
    for rows in (1, 7):
        write_definition(volume, f"batch_rows = {rows}")
        assert run_stage(volume, "answers").returncode == 0
        assert {name: read(volume, name)["samples"] for name in PEOPLE} == expected


def test_processes_that_share_the_topics_out_write_the_same(tmp_path: Path) -> None:
    """The stage started by torchrun, as `make answers GPUS=2` does it."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        write_definition(write_volume(folder), "topics_at_once = 1")
    assert run_stage(alone, "answers").returncode == 0
    step = SimpleNamespace(module="confscoring.answers", args=("--split", "train"))
    given = argparse.Namespace(dataset="synth", data_dir=shared, gpus=2, seed=None, scale=None, limit=None, llm_mode="record", max_cost=None)
    command = stage_step_command(step, load_definition(str(shared / "mine.toml")), given)  # type: ignore[arg-type]
    launcher = command[1 : command.index("confscoring.answers") - 1]
    done = subprocess.run([sys.executable, *launcher, *stage_command(shared, "answers")], env=stage_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nproc_per_node 2" in " ".join(launcher) and done.stderr.count("of its") == 2
    assert outputs(shared) == outputs(alone) and len(outputs(alone)) == len(PEOPLE)
    left, right = (manifest(folder, "answers") for folder in (alone, shared))
    assert left["counts"] == right["counts"] and left["outputs"] == right["outputs"]


def test_killed_at_twenty_moments_and_resumed_the_files_are_the_same(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    people = [f"{first} {last}" for first in ("Ada", "Bo", "Cy", "Di", "Ed", "Flo") for last in ("Albane", "Venn", "Oslund", "Krey")]
    for folder in (calm, rough):
        write_definition(write_volume(folder, people), "topics_at_once = 2")
    draw, kills = random.Random(4), 0
    for stage in ("responses", "answers"):
        start = time.monotonic()
        assert run_stage(calm, stage).returncode == 0
        took = time.monotonic() - start
        for number in range(1, 11):  # ever later, so that all of the work is met
            child = fork_stage(rough, stage)
            time.sleep(took * number / 12 * draw.uniform(0.2, 1.0))
            os.kill(child, signal.SIGKILL)
            kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert run_stage(rough, stage).returncode == 0
    assert kills >= 10  # one that has nothing left to do ends by itself
    assert outputs(rough) == outputs(calm) and len(outputs(calm)) == 2 * len(people)
