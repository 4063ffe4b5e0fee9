"""The knowledge base: reading FActScore's file, building one, and what is said when it cannot be read."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from factscoring.knowledge import SEPARATOR, Knowledge, build_database, cut_passages
from volume.errors import ItemError, RecordError, UsageError, VolumeError

Run = Callable[..., subprocess.CompletedProcess[str]]


def write(path: Path, *rows: tuple[object, object]) -> Path:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
    db.executemany("INSERT INTO documents VALUES (?, ?)", rows)
    db.commit()
    db.close()
    return path


def test_passages_are_split_at_factscores_separator_and_lose_its_marks(tmp_path: Path) -> None:
    path = write(tmp_path / "wiki.db", ("Ada", f"<s>First one.</s>{SEPARATOR} Second. {SEPARATOR}  "))
    assert Knowledge(path).passages("Ada") == ["First one.", "Second."]


def test_an_unknown_title_fails_alone_and_near_ones_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "wiki.db", *((f"Page {number}", "x") for number in range(5000)), ("Ada Albane", "x"), ("Ada Albone", "x"))
    knowledge = Knowledge(path)
    with pytest.raises(ItemError, match="'Ada Albane', 'Ada Albone'"):
        knowledge.passages("Ada Albanne")
    with pytest.raises(ItemError, match="'Ada Albane'"):
        knowledge.passages("ada albane")
    with pytest.raises(ItemError, match="No title is near it"):
        knowledge.passages("🦉'; DROP TABLE documents")
    with pytest.raises(ItemError):
        knowledge.passages("")


def test_a_missing_file_is_a_missing_requirement_and_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "knowledge.db"
    with pytest.raises(UsageError, match=r"knowledge\.db is missing.*build_knowledge"):
        Knowledge(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"<html>Virus scan warning</html>" * 50, "file is not a database"), (b"", "no such table: documents")],
)
def test_a_file_that_is_no_knowledge_base_is_named_with_the_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "knowledge.db"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=f"knowledge.db is not a readable knowledge base: {message}.*fetch or build"):
        Knowledge(path)


def test_a_cut_short_file_and_an_empty_table_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.db", *((f"Page {number}", "text " * 300) for number in range(50)))
    cut = tmp_path / "cut.db"
    cut.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(RecordError, match=r"cut\.db"):
        Knowledge(cut)
    with pytest.raises(RecordError, match="documents is empty"):
        Knowledge(write(tmp_path / "empty.db"))


def test_a_page_whose_text_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="page 'Ada' is NoneType"):
        Knowledge(write(tmp_path / "wiki.db", ("Ada", None))).passages("Ada")


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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no pages"),
        ([{"title": "A", "text": "x"}, {"title": "A", "text": "y"}], "page 2: the title 'A' was given before"),
        ([{"text": "x"}], "page 1: 'title' is None"),
        ([{"title": "A"}], "page 1 .'A'.: expected 'text'"),
        ([{"title": "A", "text": "\ud800"}], "no valid Unicode"),
    ],
)
def test_wrong_pages_are_refused_and_the_file_of_before_stays(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    path = write(tmp_path / "knowledge.db", ("Old", "page"))
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
    ],
)
def test_the_command_names_the_bad_line(tmp_path: Path, run_python: Run, content: str | None, status: int, message: str) -> None:
    source = tmp_path / "pages.jsonl"
    if content is not None:
        source.write_text(content)
    done = run_python("-m", "factscoring.build_knowledge", "--input", str(source), "--output", str(tmp_path / "knowledge.db"))
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "knowledge.db").exists()
