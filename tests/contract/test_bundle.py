"""Bundles without the stages: the archive and its index, what is compared, and how a plan takes a step that is given."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volume.archive import Archive, Member, scratch_beside, write_archive
from volume.bundle import service_models
from volume.comparison import compare_outputs, find_gap, tell_gap
from volume.datasets import load_definition
from volume.errors import RecordError, UsageError, VolumeError
from volume.files import sha256_bytes, write_json
from volume.manifest import Fingerprint
from volume.paths import DatasetPaths
from volume.plan import make_plan
from volume.step import Step
from volume.steps import build_steps

LARGE = bytes(range(256)) * 9000


def pack(folder: Path, name: str = "a.tar.gz") -> Path:
    """An archive of three files, one of them from the disk."""
    (folder / "large.bin").write_bytes(LARGE)
    members = [Member(f"volume/{topic}.json", topic.encode(), sha256_bytes(topic.encode()), "texts") for topic in ("Zoë Ø", "Ada")]
    members.append(Member("volume/models/large.bin", folder / "large.bin", sha256_bytes(LARGE), "models"))
    write_archive(folder / name, "bundle-mine", {"format": 1}, members)
    return folder / name


def unpack(file: Path, into: Path, here: set[str] | None = None) -> None:
    into.mkdir(exist_ok=True)
    with Archive(file) as archive:
        archive.unpack(lambda name: into / name, here or set(), into / ".partial")


def test_the_same_files_give_the_same_bytes_whenever_and_whoever_packs_them(tmp_path: Path) -> None:
    first = pack(tmp_path).read_bytes()
    os.utime(tmp_path / "large.bin", (1, 1))
    os.chmod(tmp_path / "large.bin", 0o600)
    assert pack(tmp_path, "another name.tar.gz").read_bytes() == first
    assert first[4:8] == bytes(4)  # gzip's own time
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        entries = tar.getmembers()
    assert [entry.name for entry in entries] == [f"bundle-mine/{name}" for name in ("index.json", "volume/Ada.json", "volume/Zoë Ø.json", "volume/models/large.bin")]
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) for entry in entries} == {(0, 0, 0, "", 0o644)}


def test_what_is_packed_comes_out_and_what_is_there_already_is_checked_but_not_rewritten(tmp_path: Path) -> None:
    file = pack(tmp_path)
    unpack(file, tmp_path / "out")
    assert (tmp_path / "out" / "volume" / "models" / "large.bin").read_bytes() == LARGE
    assert (tmp_path / "out" / "volume" / "Zoë Ø.json").read_text() == "Zoë Ø"
    assert not (tmp_path / "out" / ".partial").exists()
    unpack(file, tmp_path / "again", {"volume/models/large.bin"})
    assert sorted(path.name for path in (tmp_path / "again").rglob("*") if path.is_file()) == ["Ada.json", "Zoë Ø.json"]


def repack(file: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The archive with something changed, well packed again."""
    with tarfile.open(file) as tar:
        entries = [(entry, tar.extractfile(entry).read()) for entry in tar.getmembers()]  # type: ignore[union-attr]
    change(entries)
    target = file.with_name("changed.tar.gz")
    with tarfile.open(target, "w:gz") as tar:
        for entry, content in entries:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))
    return target


def another_byte(entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    entries[3] = (entries[3][0], entries[3][1][:-1] + b"!")


def named(name: str) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        entries.append((tarfile.TarInfo(name), b"x"))

    return change


def linked(entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    entries[1][0].type, entries[1][0].linkname = tarfile.SYMTYPE, "/tmp"


@pytest.mark.parametrize("change, words", [
    (another_byte, "large.bin is not what the index says"),
    (lambda entries: entries.pop(2), "Zoë Ø.json and perhaps more of its 3 members are missing"),
    (lambda entries: entries.append(entries[1]), "'bundle-mine/volume/Ada.json', which it may not: the index does not name it so"),
    (lambda entries: entries.pop(0), "does not begin with an index"),
    (named("bundle-mine/volume/more.json"), "the index does not name it so"),
    (named("bundle-mine/volume/../../more.json"), "no plain file below"),
    (named("/bundle-mine/more.json"), "no plain file below"),
    (named("more.json"), "no plain file below"),
    (linked, "no plain file below"),
])  # fmt: skip
def test_a_changed_archive_is_refused_and_nothing_of_the_change_is_unpacked(tmp_path: Path, change: Any, words: str) -> None:
    file = repack(pack(tmp_path), change)
    with pytest.raises(RecordError, match=words):
        unpack(file, tmp_path / "out")
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".json"):
        assert path.is_relative_to(tmp_path / "out" / "volume") and path.stem in ("Ada", "Zoë Ø")
    assert not (tmp_path / "out" / "volume" / "models").exists() or (tmp_path / "out" / "volume" / "models" / "large.bin").read_bytes() == LARGE


def test_an_archive_that_is_cut_short_or_none_is_told_in_one_line(tmp_path: Path) -> None:
    file = pack(tmp_path)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:200], b"", b"text", gzip.compress(b"text" * 500)):
        file.write_bytes(content)
        with pytest.raises(RecordError, match="is no bundle|Get it anew"):
            unpack(file, tmp_path / "out")
    with pytest.raises(UsageError, match="there is no such file"):
        Archive(tmp_path / "none.tar.gz")


def test_a_file_that_changes_while_it_is_packed_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    with pytest.raises(VolumeError, match="was changed while it was being packed"):
        write_archive(tmp_path / "a.tar.gz", "bundle-mine", {}, [Member("volume/a", tmp_path / "a", sha256_bytes(b"old"), "texts")])


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    script = """
import os, resource, sys
from pathlib import Path
from volume.archive import Member, scratch_beside, write_archive
from volume.errors import tell_errors
from volume.files import sha256_bytes
def run():
    with scratch_beside(Path(sys.argv[1])) as scratch:
        noise = os.urandom(3_000_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        write_archive(scratch / "a", "bundle-mine", {}, [Member("volume/a", noise, sha256_bytes(noise), "texts")])
sys.exit(tell_errors(lambda: run() or 0))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.tar.gz")], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot write" in done.stderr and "Nothing is left of it" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_and_two_at_once_are_refused(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from volume.archive import scratch_beside
with scratch_beside(Path(sys.argv[1])) as scratch:
    (scratch / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.tar.gz")], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert list(tmp_path.rglob("half"))
    with scratch_beside(tmp_path / "a.tar.gz") as scratch:
        assert list(scratch.iterdir()) == []
        with pytest.raises(VolumeError, match="is being written by another process"), scratch_beside(tmp_path / "a.tar.gz"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_files_are_compared_by_name_and_hash() -> None:
    found = compare_outputs({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "c": None, "d": "1"})
    assert (found.same, found.differing, found.missing, found.further, found.equal) == (1, ["b"], ["c"], ["d"], False)
    assert compare_outputs({"a": "1"}, {"a": "1"}).equal


def test_figures_are_compared_place_by_place(tmp_path: Path) -> None:
    before = {"Ada": {"responses": ["x", "y"], "score": [0.5, 1, None]}, "Pim": {"score": [2.0]}, "flag": True}
    now = {"Ada": {"responses": ["x", "z"], "score": [0.5, 1.5, 0.0]}, "Pim": {"score": [1.75, 3.0]}, "new": [1, 2], "flag": 1}
    gap = find_gap(before, now)
    # By hand: 0.5 and 0.5, 1 and 1.5, 2 and 1.75; null and 0, the further 3, the two new ones and true for 1 have no partner.
    assert (gap.numbers, gap.unequal, gap.largest, gap.places) == (3, 2, 0.5, ["$.Ada.score[1]"])
    assert (gap.texts, gap.other_texts, gap.lost) == (2, 1, 5)
    for name, value in (("a", before), ("b", now)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    assert tell_gap(tmp_path / "a.json", tmp_path / "b.json").startswith("2 of 3 numbers differ, by at most 0.5 (at $.Ada.score[1]); 1 of 2 texts differ")
    assert tell_gap(tmp_path / "a.json", tmp_path / "none.json") == ""


@pytest.fixture
def planned(tmp_path: Path) -> tuple[dict[str, Step], DatasetPaths, Path]:
    """Two steps: the first has run elsewhere, from a model that is not here."""
    paths = DatasetPaths(tmp_path / "dataset_bio")
    steps = {
        "one": Step("one", "data", "csenv", "m", (), (), ("seed",), lambda: [tmp_path / "models" / "weights"]),
        "two": Step("two", "rewards", "csenv", "m", (), ("one",), ("seed",), lambda: [tmp_path / "made"]),
    }
    (tmp_path / "made").write_text("made")
    made_from = Fingerprint({"seed": 7}, "other code", "other lock", {"models/weights": "1" * 64})
    write_json(paths.manifest("one"), {
        "format": 1, "status": "complete", "fingerprint": made_from.digest(), "failures": {}, "outputs": {"made": sha256_bytes(b"made")},
        "depends_on": {"settings": made_from.settings, "code": made_from.code, "lock": made_from.lock, "inputs": made_from.inputs}, "given": {"bundle": "x"},
    })  # fmt: skip
    return steps, paths, tmp_path


def test_a_given_step_counts_while_its_files_are_whole_and_others_are_planned_as_ever(planned: tuple[dict[str, Step], DatasetPaths, Path]) -> None:
    steps, paths, data_dir = planned
    assert make_plan(steps, load_definition("bio"), paths, data_dir).reasons == {"one": None, "two": "not run yet"}
    (data_dir / "made").write_text("changed")
    assert make_plan(steps, load_definition("bio"), paths, data_dir).reasons == {"one": "output changed: made", "two": "after one"}


def test_a_given_step_stays_given_when_one_before_it_runs_again(planned: tuple[dict[str, Step], DatasetPaths, Path]) -> None:
    steps, paths, data_dir = planned
    both = {"two": steps["two"], "one": Step(**{**steps["one"].__dict__, "needs": ("two",)})}
    assert make_plan(both, load_definition("bio"), paths, data_dir).reasons == {"two": "not run yet", "one": None}


def test_without_the_mark_the_same_manifest_is_stale(planned: tuple[dict[str, Step], DatasetPaths, Path]) -> None:
    steps, paths, data_dir = planned
    manifest = json.loads(paths.manifest("one").read_text())
    del manifest["given"]
    write_json(paths.manifest("one"), manifest)
    assert make_plan(steps, load_definition("bio"), paths, data_dir).reasons["one"] == "setting changed: seed"


def test_only_the_calls_of_models_that_the_steps_ask_go_into_a_bundle(tmp_path: Path) -> None:
    bio = load_definition("bio")
    steps = build_steps(bio, DatasetPaths(tmp_path / "dataset_bio"), tmp_path)
    assert service_models(bio, [steps["factscore-train"], steps["answers-train"]]) == {"gpt-3.5-turbo"}
    assert service_models(bio, [steps["answers-train"], steps["rewards-train"]]) == set()
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ndescription = "x"\nsplits = ["train", "test"]\n[models.a]\npath = "a"\nsource = "hub/a"\n'
        '[models.b]\npath = "b"\n[facts]\nbackend = "rules"\n'
        '[verifier]\nbackend = "llm"\nmodel = "judge"\n[equivalence]\nbackend = "llm"\nmodel = "chat"\n[questions]\nbackend = "rules"\nmodel = "unused"\n'
        '[responses]\nbackend = "openai"\nmodel = "a"\nn = 1\nmax_new_tokens = 1\n'
        '[answers]\nbackend = "openai"\nmodel = "b"\nserved = "b-it"\nn = 1\nmax_new_tokens = 1\n'
    )
    mine = load_definition(str(tmp_path / "mine.toml"))
    every = build_steps(mine, DatasetPaths(tmp_path / "dataset_mine"), tmp_path)
    assert service_models(mine, list(every.values())) == {"judge", "chat", "hub/a", "b-it"}
