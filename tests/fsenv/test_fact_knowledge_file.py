"""Building a knowledge base: from rows and from JSON lines, killed and going on, and what is said of wrong input."""

from __future__ import annotations

import fcntl
import json
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from factscoring.knowledge import Knowledge
from factscoring.knowledge_file import build_database, cut_passages
from volume.errors import VolumeError

Run = Callable[..., subprocess.CompletedProcess[str]]

# The command in small batches, with a cache so small that SQLite writes in the middle of a transaction, and with a fate:
# dead at a line, dead while the whole file is flushed, dead after some seconds, or a disk that takes files up to a size.
CHILD = """
import os, resource, signal, sys, threading
from factscoring import build_knowledge, knowledge_file

knowledge_file.BATCH, knowledge_file._CACHE_KIB = 100, 16
fate, when, read_lines = sys.argv[1], float(sys.argv[2]), knowledge_file.read_lines

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if fate == "line":
    knowledge_file.read_lines = lambda path: ((number, row) if number != when else die() for number, row in read_lines(path))
elif fate == "flush":
    os.fsync = die
elif fate == "seconds":
    timer = threading.Timer(when, die)
    timer.daemon = True
    timer.start()
elif fate == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(when), int(when)))
raise SystemExit(build_knowledge.main(["--input", sys.argv[3], "--output", sys.argv[4]]))
"""


def test_a_built_file_reads_back_and_equal_rows_give_equal_bytes(tmp_path: Path, pages: dict[str, list[str]]) -> None:
    rows = [{"title": title, "passages": passages} for title, passages in pages.items()]
    first, second = tmp_path / "a b#?.db", tmp_path / "second.db"
    assert build_database(iter(rows), first) == 2
    build_database(iter(rows), second)
    assert first.read_bytes() == second.read_bytes()
    assert {title: Knowledge(first).passages(title) for title in pages} == pages
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b#?.db", "second.db"]


def test_a_text_is_cut_at_sentence_ends_into_passages_of_bounded_length() -> None:
    assert cut_passages("One two three. Four five. Six seven eight nine ten eleven. Twelve.", words=5) == [
        "One two three. Four five.", "Six seven eight nine ten eleven.", "Twelve.",
    ]  # fmt: skip
    assert cut_passages("") == []


def test_a_list_of_sentences_is_kept_sentence_by_sentence_as_in_factscores_input(tmp_path: Path) -> None:
    build_database([{"title": "A", "text": ["No. 5 is. One", " Two ", "", "w " * 189]}, {"title": "B", "text": []}], tmp_path / "k.db")
    assert Knowledge(tmp_path / "k.db").passages("A") == ["No. 5 is. One Two", ("w " * 189).strip()]
    assert Knowledge(tmp_path / "k.db").passages("B") == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no pages"),
        ([{"title": "A", "text": "x"}, {"title": "A", "text": "y"}], "page 2: the title 'A' was given before"),
        ([{"text": "x"}], "page 1: 'title' is None"),
        ([{"title": "A"}], "page 1 .'A'.: expected 'text'"),
        ([{"title": "A", "text": "\ud800"}], "no valid Unicode"),
        ([{"title": "A", "text": ["x", 1]}], "a list of sentences"),
    ],
)
def test_wrong_pages_are_refused_and_the_file_of_before_stays(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    path = tmp_path / "knowledge.db"
    build_database([{"title": "Old", "text": "page"}], path)
    with pytest.raises(VolumeError, match=message):
        build_database(rows, path)
    assert Knowledge(path).passages("Old") == ["page"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["knowledge.db"]


def test_the_command_builds_from_json_lines(tmp_path: Path, run_python: Run) -> None:
    source, output = tmp_path / "pages.jsonl", tmp_path / "knowledge.db"
    source.write_text(json.dumps({"title": "AC/DC", "text": "A band. It plays."}) + "\n\n" + json.dumps({"title": "عائشة", "passages": ["نص"]}) + "\n")
    done = run_python("-m", "factscoring.build_knowledge", "--input", str(source), "--output", str(output))
    assert (done.returncode, done.stderr) == (0, f"{output}: 2 pages\n")
    assert Knowledge(output).passages("AC/DC") == ["A band. It plays."]
    assert Knowledge(output).passages("عائشة") == ["نص"]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (None, 2, "is missing; expected a file of JSON lines"),
        ('{"title": "A", "text": "x"}\n{"title": ', 1, "line 2 is not valid JSON"),
        ("[1]\n", 1, "line 1: expected an object"),
        ('{"title": "A", "text": "x"}\n\n{"title": "A", "text": "y"}\n', 1, "pages.jsonl, line 3: the title 'A' was given before"),
        ('{"title": "A", "text": "x"}\n\n{"title": "B", "text": "\\ud800"}\n', 1, "pages.jsonl, line 3 ('B') holds a character"),
        ("\n", 1, "no pages were given"),
    ],
)
def test_the_command_names_the_bad_line(tmp_path: Path, run_python: Run, content: str | None, status: int, message: str) -> None:
    source = tmp_path / "pages.jsonl"
    if content is not None:
        source.write_text(content)
    done = run_python("-m", "factscoring.build_knowledge", "--input", str(source), "--output", str(tmp_path / "knowledge.db"))
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else ["pages.jsonl"])


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """1,234 pages in no order, some of several passages, some longer than a page of SQLite's."""
    rng = random.Random(5)
    numbers = rng.sample(range(10**6), 1234)
    rows = [{"title": f"Page {number}", "text": "Some words stand here. " * rng.choice((1, 5, 60, 400))} for number in numbers]
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def build(tmp_path: Path, lines: Path, run_python: Run) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Build k.db from the lines with a fate of CHILD."""
    return lambda fate="none", when=0.0: run_python("-c", CHILD, fate, str(when), str(lines), str(tmp_path / "k.db"))


@pytest.fixture
def whole(tmp_path: Path, lines: Path) -> bytes:
    """The bytes of an uninterrupted build."""
    build_database(map(json.loads, lines.read_text().splitlines()), tmp_path / "whole.db")
    data = (tmp_path / "whole.db").read_bytes()
    (tmp_path / "whole.db").unlink()
    return data


def test_a_killed_build_goes_on_after_the_last_batch_and_ends_with_the_same_bytes(tmp_path: Path, build: Run, whole: bytes) -> None:
    (tmp_path / "k.db").write_bytes(b"the file of before")
    deaths = sorted(random.Random(7).sample(range(2, 1234), 6))
    done = 0
    for line in deaths:
        killed = build("line", line)
        assert killed.returncode == -signal.SIGKILL
        assert killed.stderr == (f"goes on after {done:,} pages\n" if done else "")
        done = (line - 1) // 100 * 100
    killed = build("flush")
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, f"goes on after {done:,} pages\n")
    assert (tmp_path / "k.db").read_bytes() == b"the file of before"
    last = build()
    assert (last.returncode, last.stderr) == (0, f"goes on after 1,234 pages\n{tmp_path / 'k.db'}: 1234 pages\n")
    assert (tmp_path / "k.db").read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.db", "pages.jsonl"]


def test_a_build_killed_at_any_moment_ends_with_the_same_bytes(tmp_path: Path, build: Run, whole: bytes) -> None:
    rng = random.Random(11)
    for _ in range(10):  # as far as each comes: a machine may be slow or fast
        build("seconds", rng.uniform(0.0, 0.1))
    assert build().returncode == 0
    assert (tmp_path / "k.db").read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.db", "pages.jsonl"]


def test_a_full_disk_keeps_what_was_committed_and_says_so(tmp_path: Path, build: Run, whole: bytes) -> None:
    full = build("full", len(whole) // 2)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "cannot write" in full.stderr and "are kept in .k.db.partial: the same command goes on after them" in full.stderr
    assert not (tmp_path / "k.db").exists()
    last = build()
    assert last.returncode == 0 and last.stderr.startswith("goes on after ")
    assert (tmp_path / "k.db").read_bytes() == whole


def test_a_changed_input_is_said_and_begun_afresh(tmp_path: Path, lines: Path, build: Run) -> None:
    assert build("line", 500).returncode == -signal.SIGKILL
    lines.write_text(json.dumps({"title": "New", "text": "x"}) + "\n" + lines.read_text())
    done = build()
    assert done.returncode == 0 and done.stderr.startswith(".k.db.partial of a stopped build belongs to another input or version")
    assert "starts afresh\n" in done.stderr and Knowledge(tmp_path / "k.db").passages("New") == ["x"]


def test_a_spoilt_partial_file_is_said_and_begun_afresh(tmp_path: Path, build: Run, whole: bytes) -> None:
    partial, journal = tmp_path / ".k.db.partial", tmp_path / ".k.db.partial-journal"
    assert build("line", 500).returncode == -signal.SIGKILL
    journal.unlink(missing_ok=True)
    partial.write_bytes(b"no database " * 100)
    killed = build("line", 500)
    assert killed.stderr == ".k.db.partial of a stopped build cannot be read; starts afresh\n"
    assert build().returncode == 0
    assert (tmp_path / "k.db").read_bytes() == whole


def test_a_partial_file_that_shows_its_damage_late_is_removed(tmp_path: Path, build: Run, whole: bytes) -> None:
    partial, journal = tmp_path / ".k.db.partial", tmp_path / ".k.db.partial-journal"
    assert build("line", 500).returncode == -signal.SIGKILL
    assert build("line", 402).returncode == -signal.SIGKILL  # undoes the transaction of before
    journal.unlink(missing_ok=True)
    with partial.open("r+b") as file:
        file.seek(2 * 4096)  # the root of the index of titles
        file.write(bytes(4096))
    damaged = build()
    assert damaged.returncode == 1 and ".k.db.partial of a stopped build was damaged" in damaged.stderr and "Traceback" not in damaged.stderr
    assert build().returncode == 0 and (tmp_path / "k.db").read_bytes() == whole


def test_a_wrong_line_of_a_stopped_build_leaves_nothing_behind(tmp_path: Path, lines: Path, build: Run) -> None:
    with lines.open("a") as file:
        file.write('{"text": "x"}\n')
    assert build("line", 500).returncode == -signal.SIGKILL
    done = build()
    assert done.returncode == 1 and "pages.jsonl, line 1235: 'title' is None" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pages.jsonl"]


def test_one_process_at_a_time_builds_a_file(tmp_path: Path, build: Run) -> None:
    with (tmp_path / ".k.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = build()
        assert second.returncode == 1 and "k.db is being built by another process" in second.stderr
    assert build().returncode == 0  # a lock's file without a holder is what a killed process leaves
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.db", "pages.jsonl"]
