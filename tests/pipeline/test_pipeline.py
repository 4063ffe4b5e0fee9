"""The whole method at toy size, through the real environments: complete, killed half-way, resumed, run twice.

Runs with the host's Python and the venv engine: make test, or python3 -m pytest tests/pipeline. The environments must exist
(`make envs`) or can be made.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy import checksums, command, environment, run


def test_the_whole_method_runs_and_every_step_leaves_a_manifest(finished: Path) -> None:
    root = finished / "dataset_toy"
    manifests = {path.stem: json.loads(path.read_text()) for path in (root / "manifests").glob("*.json")}
    for step in ("world", "pretrain", "responses-train", "factscore-train", "questions-train", "answers-train", "entities-train",
                 "rewards-train", "train-sft", "train-factscore", "eval-base", "eval-factscore", "report"):  # fmt: skip
        assert manifests[step]["status"] == "complete", step
    assert manifests["factscore-train"]["counts"]["failed"] == 0
    summary = json.loads((root / "report" / "summary.json").read_text())
    assert summary and (root / "report" / "index.html").stat().st_size > 10_000


def test_test_people_are_in_no_training_text(finished: Path) -> None:
    root = finished / "dataset_toy"
    people = json.loads((root / "world" / "world.json").read_text())["people"]
    surnames = {person["surname"] for person in people if person["group"] in ("test", "val")}
    assert len(surnames) > 10
    texts = (root / "world" / "style.jsonl").read_text()
    for rewards in (root / "rewards").glob("rewards_*.json"):
        texts += " ".join(json.loads(rewards.read_text()))
    assert not [name for name in surnames if name in texts]


def test_a_second_run_does_nothing_and_rewrites_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and ".hashes" not in path.parts}
    for goal in ("rewards", "demo"):
        done = run(goal, finished)
        assert done.returncode == 0 and "up to date, nothing to do" in done.stdout
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and ".hashes" not in path.parts}
    assert after == before


def test_the_plan_says_why_a_step_would_run_again(finished: Path) -> None:
    victim = sorted((finished / "dataset_toy" / "atomic_qs").glob("*.json"))[0]
    content = victim.read_bytes()
    victim.write_bytes(content + b" ")
    done = run("plan", finished)
    victim.write_bytes(content)
    assert f"output changed: dataset_toy/atomic_qs/{victim.name}" in done.stdout


def test_killed_at_random_moments_and_started_again_every_file_is_the_same(finished: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(command("demo", tmp_path), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(rng.uniform(4, 16))
        os.killpg(process.pid, signal.SIGKILL)  # the pipeline, the adapter and every stage at once
        process.wait()
    done = run("demo", tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert checksums(tmp_path) == checksums(finished)


def test_a_corrupted_file_is_named_and_mended_by_running_again(finished: Path) -> None:
    root = finished / "dataset_toy"
    questions = root / "questions_per_topic_train.json"
    content = questions.read_bytes()
    questions.write_bytes(content[:50])
    done = run("rewards", finished)  # the file is an output of the step `world`, which makes it again
    assert done.returncode == 0, done.stdout + done.stderr
    assert questions.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rewards", "--dataset", "sinth"), "Did you mean 'synth'?"),
        (("rewards", "--dataset", "bio"), "Missing for 'bio'"),
        (("train", "--dataset", "synth", "--runs", "factscor"), "Did you mean 'factscore' or"),
        (("train", "--dataset", "synth", "--reward", "factscore"), "Did you mean 'factscore_avg' or"),
        (("train", "--dataset", "synth", "--reward", "random", "--runs", "sft"), "no run is named by both"),
        (("rewards", "--dataset", "synth", "--gpus", "0"), "GPUS=0: expected the number of processes"),
        (("rewards", "--dataset", "synth", "--jobs", "-1"), "JOBS=-1: expected the number of steps"),
    ],
)
def test_what_cannot_run_is_refused_with_status_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "volume.pipeline", *arguments, "--data-dir", str(tmp_path)], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("status", "message"), [(125, "could not be started"), (137, "ran out of memory"), (99, "exit status 99")])
def test_a_step_that_dies_is_a_failure_whatever_its_status(tmp_path: Path, status: int, message: str) -> None:
    """An engine that cannot start a container, or a stage that the kernel kills, must never look like a finished run."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\ncase "$1" in run) exit {status};; image) echo sha256:1234;; esac\n')
    docker.chmod(0o755)
    variables = environment() | {"ENGINE": "docker", "PATH": f"{docker.parent}:/usr/bin:/bin"}
    done = subprocess.run(command("demo", tmp_path / "volume"), env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "world failed" in done.stderr and message in done.stdout
    assert "done in" not in done.stdout and "Report:" not in done.stdout


@pytest.mark.parametrize("everyone", [True, False], ids=["Ctrl-C at a terminal reaches everyone", "SIGTERM reaches the pipeline alone"])
def test_interrupted_it_says_so_leaves_no_process_behind_and_goes_on_later(finished: Path, tmp_path: Path, everyone: bool) -> None:
    process = subprocess.Popen(
        command("data", tmp_path), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests that a shell runs in the background ignore it, and so would what they start
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while "[pretrain] not run yet; settings" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    time.sleep(3)  # past the imports, into the work
    if everyone:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    said += process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "interrupted. What was finished is kept" in said and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    done = run("data", tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert set(checksums(tmp_path).splitlines()) < set(checksums(finished).splitlines())


def test_of_two_runs_at_once_one_does_the_work_and_both_are_done(finished: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    shutil.copytree(finished, volume)
    manifest = json.loads((volume / "dataset_toy" / "manifests" / "factscore-dpoval.json").read_text())
    (volume / sorted(manifest["outputs"])[0]).unlink()
    both = [subprocess.Popen(command("rewards", volume), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = "".join(process.communicate(timeout=300)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert said.count("[factscore-dpoval] starts") == 1 and said.count("up to date, nothing to do") == 1
    assert checksums(volume) == checksums(finished)


def test_a_plan_whose_reader_leaves_early_ends_quietly(tmp_path: Path) -> None:
    line = f"set -o pipefail; {' '.join(map(repr, command('plan', tmp_path)))} | head -n 1"
    done = subprocess.run(["bash", "-c", line], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_whose_reader_leaves_early_leaves_no_process_behind(tmp_path: Path) -> None:
    """As in `make demo | head`: nobody would see the steps go on, and they would hold the volume's locks."""
    process = subprocess.Popen(command("data", tmp_path), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    assert process.stdout is not None
    while "[pretrain] not run yet" not in process.stdout.readline():
        assert process.poll() is None
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_processes_share_out_the_topics_and_write_the_same_files(finished: Path, tmp_path: Path) -> None:
    """By torchrun, in both environments that have it run a stage over topics."""
    volume = tmp_path / "volume"
    shutil.copytree(finished, volume)
    root = volume / "dataset_toy"
    for step, outputs in {"factscore-dpoval": "factscore_outputs", "entities-dpoval": "ne_samples"}.items():
        for name in json.loads((root / "manifests" / f"{step}.json").read_text())["outputs"]:
            assert outputs in name
            (volume / name).unlink()
    done = run("rewards", volume, "--gpus", "3")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    for step in ("factscore-dpoval", "entities-dpoval"):
        for rank in range(2):  # there are two topics; whoever has none may find all done and say nothing
            assert f"[{step}] rank {rank} of 3: " in done.stdout
    assert checksums(volume) == checksums(finished)


@pytest.mark.parametrize("partial", [True, False], ids=["some topics failed", "the stage broke down"])
def test_torchrun_s_status_1_stands_for_failed_topics_where_the_manifest_says_so(finished: Path, tmp_path: Path, partial: bool) -> None:
    volume = tmp_path / "volume"
    shutil.copytree(finished, volume)
    manifest = volume / "dataset_toy" / "manifests" / "factscore-dpoval.json"
    (tmp_path / "partial.json").write_text(json.dumps({**json.loads(manifest.read_text()), "status": "partial", "failures": {"Ada": "why"}}))
    (volume / sorted(json.loads(manifest.read_text())["outputs"])[0]).unlink()
    docker = tmp_path / "bin" / "docker"  # stands for an engine in which torchrun ends with 1, as it does whatever its processes end with
    docker.parent.mkdir()
    leave = f"cp '{tmp_path}/partial.json' '{manifest}'" if partial else "true"
    docker.write_text(f"""#!/bin/sh\ncase "$1" in run) echo "$*" >> '{tmp_path}/called'; {leave}; exit 1;; image) echo sha256:1234;; esac\n""")
    docker.chmod(0o755)
    variables = environment() | {"ENGINE": "docker", "PATH": f"{docker.parent}:/usr/bin:/bin"}
    done = subprocess.run(command("factscore", volume, "--gpus", "4"), env=variables, capture_output=True, text=True, check=False)
    called = (tmp_path / "called").read_text()
    assert "-m torch.distributed.run" in called and "--nproc_per_node 4 -m -- factscoring.factscore" in called
    assert (done.returncode, "exit status 3" in done.stdout) == ((3, True) if partial else (1, False)), done.stdout + done.stderr
