"""`make verify`: what is said where all is the same, and where something is not."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from toy import ROOT, TOY, environment

sys.path.insert(0, str(ROOT / "volume" / "src"))
from volume.verify import StepDigest, digest_files, format_digests, parse_digests  # noqa: E402


def verify(volume: Path, *extra: str, dataset: str = str(TOY)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "volume.verify", "--dataset", dataset, "--data-dir", str(volume), *extra]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_a_step_s_digest_is_that_of_sha256sum_s_lines_sorted_by_name() -> None:
    lines = f"{'1' * 64}  a\n{'0' * 64}  b/c\n"
    assert digest_files({"b/c": "0" * 64, "a": "1" * 64}) == StepDigest(hashlib.sha256(lines.encode()).hexdigest(), 2)
    assert digest_files({"a": "1" * 64, "b/d": "0" * 64}).digest != digest_files({"a": "1" * 64, "b/c": "0" * 64}).digest


def test_what_is_committed_is_read_back() -> None:
    digests = {"world": StepDigest("a" * 64, 13), "factscore-train": StepDigest("b" * 64, 12345)}
    assert parse_digests(format_digests(digests)) == digests


def test_a_finished_world_is_the_same_as_its_own_checksums_and_a_changed_one_names_its_stage(finished: Path, tmp_path: Path) -> None:
    committed = tmp_path / "toy.sha256"
    written = verify(finished, "--checksums", str(committed), "--write")
    assert written.returncode == 0, written.stderr
    same = verify(finished, "--checksums", str(committed))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "verified: all" in same.stdout and "up to date, nothing to do" in same.stdout
    steps = parse_digests(committed.read_text())
    steps["answers-train"] = StepDigest("0" * 64, steps["answers-train"].files)
    committed.write_text(format_digests(steps))
    changed = verify(finished, "--checksums", str(committed))
    assert changed.returncode == 1
    assert "answers" in changed.stdout and "1 of 2 steps differ: answers-train" in changed.stdout
    assert "first in step answers-train" in changed.stderr and "make checksums" in changed.stderr and "Traceback" not in changed.stderr
    del steps["answers-train"]
    committed.write_text(format_digests(steps))
    assert verify(finished, "--checksums", str(committed)).returncode == 1


@pytest.mark.parametrize(
    ("extra", "dataset", "message"),
    [
        ((), "bio", "no checksums of 'bio' on the paper stack are committed, only of: "),
        (("--seed", "5"), "synth", "no checksums of 'synth-seed5'"),
        (("--limit", "3"), "synth", "--limit: checksums are those of the whole dataset"),
        (("--gpus", "2"), "synth", "trained in one process"),
        (("--checksums", "/dev/null/none"), "synth", "holds no checksums of steps"),
    ],
)
def test_what_has_no_checksums_is_refused_before_anything_runs(tmp_path: Path, extra: tuple[str, ...], dataset: str, message: str) -> None:
    done = verify(tmp_path / "volume", *extra, dataset=dataset)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tmp_path / "volume").exists()
