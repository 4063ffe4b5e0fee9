"""Two runs on one volume: one writes, the other waits for it, however the first one ends.

The real pipeline with an engine that says when a step is at work and ends it when told so.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toy import ROOT

sys.path.insert(0, str(ROOT / "volume" / "src"))
from volume.holding import hold_dataset  # noqa: E402

ENGINE = """
import os, sys, time
from pathlib import Path
words, here = sys.argv[1:], Path(os.environ["MARKS"])
if words[0] == "run":
    try:
        (here / "busy").mkdir()
    except FileExistsError:
        (here / "overlap").touch()
    print("at work", flush=True)
    while not (here / "go").exists():
        time.sleep(0.02)
    (here / "busy").rmdir()
elif words[0] == "which":
    print("venv")
"""


class Volume:
    """A checkout whose engine is the one above, and a volume."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.data, self.folder = folder / "checkout", folder / "a volume", folder
        shutil.copytree(ROOT / "volume" / "src", self.checkout / "volume" / "src", ignore=shutil.ignore_patterns("__pycache__"))
        (self.checkout / "docker").mkdir()
        (self.checkout / "docker" / "engine.py").write_text(ENGINE)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str, prepare: Callable[[], None] | None = None, module: str = "pipeline", data: Path | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.checkout / "volume" / "src"), "MARKS": str(self.folder)}
        command = [sys.executable, "-m", f"volume.{module}", *words, "--data-dir", str(data or self.data)]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, preexec_fn=prepare,
        )  # fmt: skip
        self.started.append(process)
        return process

    def go(self) -> None:
        """Have every step end, now and from now on."""
        (self.folder / "go").touch()


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path)
    yield made
    made.go()
    for process in made.started:
        process.kill()
        process.communicate(timeout=60)
    assert not (tmp_path / "overlap").exists(), "two steps were at work at once"


def read_until(process: subprocess.Popen[str], *parts: str) -> str:
    """Return the first line that has all ``parts``."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if all(part in line for part in parts):
            return line
        assert "at work" not in line, said
    raise AssertionError(f"{parts} in none of: {said}")


def begin(volume: Volume, *words: str) -> subprocess.Popen[str]:
    first = volume.start("data", "--jobs", "1", *words)
    read_until(first, "[world] at work")
    return first


def test_the_second_run_waits_says_for_whom_and_goes_on(volume: Volume) -> None:
    first = begin(volume)
    second = volume.start("data", "--jobs", "1")
    line = read_until(second, "waiting for it")
    assert f"dataset_synth is being written by process {first.pid} on " in line and " UTC (make data)" in line
    volume.go()
    assert first.wait(timeout=60) == second.wait(timeout=60) == 0


def test_what_only_looks_waits_for_nobody_and_other_datasets_neither(volume: Volume) -> None:
    begin(volume)
    for words in (("plan",), ("plan", "--seed", "1")):
        said, _ = volume.start(*words).communicate(timeout=60)
        assert "steps would run" in said and "waiting" not in said
    (volume.folder / "busy").rmdir()  # that steps of two datasets are at work at once is all right
    read_until(volume.start("data", "--jobs", "1", "--seed", "1"), "[world] at work")
    (volume.folder / "busy").rmdir()
    volume.go()


def test_whoever_will_not_wait_is_refused(volume: Volume) -> None:
    first = begin(volume)
    second = volume.start("rewards", "--no-wait")
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 2 and f"by process {first.pid}" in said and "Run this again when that is done." in said


def test_a_pipeline_killed_alone_keeps_the_dataset_until_its_step_has_ended(volume: Volume) -> None:
    first = begin(volume)
    first.kill()  # SIGKILL: the adapter and its step go on
    first.wait()
    second = volume.start("data", "--jobs", "1")
    line = read_until(second, "waiting for it")
    assert f"still being written by a step of process {first.pid}" in line and "which was killed" in line
    volume.go()
    assert second.wait(timeout=60) == 0


def test_a_run_killed_whole_leaves_nothing_that_anybody_would_wait_for(volume: Volume) -> None:
    first = begin(volume)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    (volume.folder / "busy").rmdir()
    second = volume.start("data", "--jobs", "1")
    read_until(second, "[world] at work")  # at once: `read_until` would read of the waiting, and the step not start


def test_the_one_who_waits_can_be_interrupted_and_the_other_goes_on(volume: Volume) -> None:
    first = begin(volume)
    second = volume.start("data")
    read_until(second, "waiting for it")
    second.send_signal(signal.SIGTERM)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1 and "interrupted" in said and "Traceback" not in said
    assert first.poll() is None
    volume.go()
    assert first.wait(timeout=60) == 0


def test_a_dataset_that_is_being_written_is_not_deleted(volume: Volume) -> None:
    first = begin(volume)
    clean = volume.start(module="clean")
    said, _ = clean.communicate("y\n", timeout=60)
    assert clean.returncode == 2 and f"by process {first.pid}" in said and (volume.data / "dataset_synth").is_dir()


def test_a_dataset_deleted_meanwhile_is_held_anew(volume: Volume) -> None:
    """Whoever waited has an open file that no longer has a name; a third run must not find another one free."""
    folder = volume.data / "dataset_synth"
    with hold_dataset(folder, "make clean"):
        second = volume.start("data", "--jobs", "1")
        assert f"by process {os.getpid()}" in read_until(second, "waiting for it", "(make clean)")
        shutil.rmtree(folder)
    read_until(second, "[world] at work")
    said, _ = volume.start("data", "--no-wait").communicate(timeout=60)
    assert f"by process {second.pid}" in said


def test_a_volume_that_cannot_be_written_is_named(volume: Volume) -> None:
    refused = volume.start("data", data=Path("/sys/kernel"))
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode == 1 and "/sys/kernel/dataset_synth cannot be written (" in said and "Traceback" not in said
    full = volume.start("data", prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    said, _ = full.communicate(timeout=60)
    assert full.returncode == 1 and "dataset_synth cannot be written (" in said and "free some space" in said
