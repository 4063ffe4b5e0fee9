"""Paths and atomic files of the volume. Run: make pytest ENV=csenv ARGS='tests/contract'"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from volume.checksums import checksums
from volume.errors import UsageError, VolumeError
from volume.files import FileHashes, canonical_json, remove_partial, sha256_file, sha256_value, write_bytes, write_json
from volume.paths import DatasetPaths, encode_topic


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("Ada Lovelace", "Ada Lovelace"),  # spaces are fine in a file name
        ("AC/DC", "AC%2FDC"),
        ("100%", "100%25"),  # the escape character itself, or two topics could share a file
        ("..", "%2E."),
        ("Zoë", "Zoë"),
        ("a:b?", "a%3Ab%3F"),
    ],
)
def test_a_topic_becomes_a_file_name_by_encoding_only_what_a_name_cannot_hold(topic: str, name: str) -> None:
    assert encode_topic(topic) == name


def test_policies_have_their_own_responses_folder() -> None:
    paths = DatasetPaths(Path("/v/dataset_bio"))
    assert paths.responses("A/B") == Path("/v/dataset_bio/responses/A%2FB_generations.json")
    assert paths.responses("A", "sft") == Path("/v/dataset_bio/eval/sft/responses/A_generations.json")


def test_the_rewards_file_is_the_one_that_the_manifest_names(tmp_path: Path) -> None:
    paths = DatasetPaths(tmp_path / "dataset_x")
    for count in (3, 5):
        write_json(paths.rewards("train", count), {})
    with pytest.raises(UsageError, match="several rewards files"):
        paths.current_rewards("train")
    write_json(paths.manifest("rewards-train"), {"outputs": {"dataset_x/rewards/rewards_train_5.json": "x"}})
    assert paths.current_rewards("train").name == "rewards_train_5.json"
    with pytest.raises(UsageError, match="make rewards"):
        paths.current_rewards("dpoval")
    paths.manifest("rewards-train").write_text("{half")
    with pytest.raises(UsageError, match="several rewards files"):
        paths.current_rewards("train")


def test_checksums_name_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    paths = DatasetPaths(tmp_path / "dataset_x")
    with pytest.raises(VolumeError, match="holds no results"):
        checksums(paths, tmp_path)
    write_json(tmp_path / "dataset_x" / "a.json", {})
    write_json(paths.manifest("one"), {"outputs": {"dataset_x/a.json": "what it was then"}})
    assert checksums(paths, tmp_path) == {"dataset_x/a.json": sha256_file(tmp_path / "dataset_x" / "a.json")}
    paths.manifest("one").write_text("{half")
    with pytest.raises(VolumeError, match="one.json is no manifest"):
        checksums(paths, tmp_path)


def test_an_interrupted_write_leaves_the_old_file_and_no_partial_one(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: the write fails half-way with an OSError."""
    target = tmp_path / "out.json"
    target.write_text("old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from volume.errors import VolumeError; from volume.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 5000)\n"
        "except VolumeError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout.startswith("VolumeError cannot write")
    assert "it goes on where it stopped" in done.stdout
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_writing_below_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VolumeError, match="cannot write"):
        write_bytes(tmp_path / "file" / "x.json", b"")


def test_json_with_nan_is_refused() -> None:
    with pytest.raises(ValueError):
        canonical_json({"score": float("nan")})


def test_a_value_has_one_hash_whatever_the_order_of_its_keys() -> None:
    assert sha256_value({"a": 1, "b": 2}) == sha256_value({"b": 2, "a": 1})
    assert sha256_value([1, 2]) != sha256_value([2, 1])


def test_a_changed_file_is_hashed_anew_and_a_missing_one_has_no_hash(tmp_path: Path) -> None:
    store, file = tmp_path / "hashes.json", tmp_path / "a"
    file.write_text("one")
    os.utime(file, (1, 1))  # old enough to be trusted
    hashes = FileHashes(store)
    first = hashes.of(file)
    hashes.save()
    assert json.loads(store.read_text())
    assert FileHashes(store).of(file) == first
    file.write_text("two")
    assert FileHashes(store).of(file) != first
    file.unlink()
    assert FileHashes(store).of(file) is None


def test_a_damaged_hash_cache_costs_time_and_nothing_else(tmp_path: Path) -> None:
    store, file = tmp_path / "hashes.json", tmp_path / "a"
    store.write_text("{half")
    file.write_text("one")
    assert FileHashes(store).of(file)


def test_what_a_killed_write_left_is_removed_for_its_own_output_only(tmp_path: Path) -> None:
    """Two steps write into one folder side by side; each may clean up after itself alone."""
    ours, theirs = tmp_path / "Ada Lovelace_fs_out.json", tmp_path / "Ada Lovelock_fs_out.json"
    code = (
        "import os, signal, sys; from pathlib import Path; from volume import files\n"
        "files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_bytes(Path(sys.argv[1]), b'x')"
    )
    for path in (ours, theirs):
        subprocess.run([sys.executable, "-c", code, str(path)], env=dict(os.environ), check=False)
    assert len(list(tmp_path.iterdir())) == 2
    remove_partial([ours])
    assert [path.name.startswith(".Ada Lovelock") for path in tmp_path.iterdir()] == [True]
