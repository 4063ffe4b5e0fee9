"""The knowledge base: reading FActScore's file, redirects, and what is said when it cannot be read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from factscoring.knowledge import SEPARATOR, Knowledge
from volume.errors import ItemError, RecordError, UsageError


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
    with pytest.raises(ItemError, match="no valid Unicode"):
        knowledge.passages("Ada \ud800")


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("ada lovelace", r"'Ada Lovelace', 'Ada Lovelace \(crater\)'"),
        ("LUDWIG VAN BEETHOVEN", "'Ludwig van Beethoven'"),
        ("Ludwig van Beethoven (composer and pianist, born in the year 1770)", "'Ludwig van Beethoven'"),
        ("mercury", r"'Mercury \(god\)', 'Mercury \(planet\)', 'Mercury \(element\)'"),
        ("élodie", "'Élodie'"),
        ("Ada Lovelase", "'Ada Lovelace'"),
    ],
)
def test_titles_that_differ_in_case_or_by_a_bracket_are_near_even_far_down_a_long_table(tmp_path: Path, asked: str, near: str) -> None:
    crowd = [f"{start} {number}" for start in ("Ada", "ADA", "Aaa", "Ludwig", "Mercur") for number in range(3000)]
    titles = [*crowd, "Ada Lovelace", "Ada Lovelace (crater)", "Ludwig van Beethoven", *(f"Mercury ({what})" for what in ("god", "planet", "element")), "Élodie"]
    with pytest.raises(ItemError, match=f"Nearest titles: {near}"):
        Knowledge(write(tmp_path / "wiki.db", *((title, "x") for title in titles))).resolve(asked)


@pytest.mark.parametrize("title", ["AC/DC", "🦉 Owl", "عائشة بنت طلحة", "O'Neill \"Bob\" %_", " padded "])
def test_a_title_is_taken_letter_by_letter_whatever_its_letters(tmp_path: Path, title: str) -> None:
    knowledge = Knowledge(write(tmp_path / "wiki.db", (title, "One."), ("Other", "Two.")))
    assert knowledge.resolve(title) == title and knowledge.passages(title) == ["One."]


def test_redirects_lead_to_a_page_over_several_steps_and_never_hide_one(tmp_path: Path) -> None:
    path = write(tmp_path / "wiki.db", ("Ada Lovelace", "A countess."), ("Ada", "A name."))
    redirects = tmp_path / "redirects.json"
    redirects.write_text(json.dumps({"Countess": "Ada King", "Ada King": "Ada Lovelace", "Ada": "Ada Lovelace", "أدا": "Ada", "A/B": "Ada"}))
    knowledge = Knowledge(path, redirects)
    assert [knowledge.resolve(title) for title in ("Countess", "Ada King", "Ada", "أدا", "A/B")] == ["Ada Lovelace", "Ada Lovelace", "Ada", "Ada", "Ada"]
    assert knowledge.passages("Countess") == ["A countess."]


def test_redirects_that_lead_nowhere_or_in_a_circle_fail_the_topic_alone(tmp_path: Path) -> None:
    redirects = tmp_path / "redirects.json"
    redirects.write_text(json.dumps({"A": "B", "B": "A", "C": "C", "Countess": "Ada Lovelase"}))
    knowledge = Knowledge(write(tmp_path / "wiki.db", ("Ada Lovelace", "x")), redirects)
    with pytest.raises(ItemError, match="redirects of 'A' go in a circle: 'A' -> 'B' -> 'A'"):
        knowledge.passages("A")
    with pytest.raises(ItemError, match="'C' -> 'C'"):
        knowledge.passages("C")
    with pytest.raises(ItemError, match=r"no page titled 'Ada Lovelase' .'Countess' is redirected to it.\. Nearest titles: 'Ada Lovelace'"):
        knowledge.passages("Countess")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, UsageError, "are missing"),
        (b'{"A": ', RecordError, "are not valid JSON"),
        (b'{"A": "\xff"}', RecordError, "are not valid JSON"),
        (b'["A"]', RecordError, "hold list"),
        (b'{"A": "B", "C": ["D"]}', RecordError, "lead 'C' to "),
    ],
)
def test_redirects_that_cannot_be_used_are_named(tmp_path: Path, content: bytes | None, error: type[Exception], message: str) -> None:
    redirects = tmp_path / "redirects.json"
    if content is not None:
        redirects.write_bytes(content)
    with pytest.raises(error, match=f"redirects.json {message}.*Expected one JSON object"):
        Knowledge(write(tmp_path / "wiki.db", ("A", "x")), redirects)


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
