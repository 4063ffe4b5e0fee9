"""The knowledge base: FActScore's SQLite file, one row per page, opened read-only and used as it is.

    documents(title PRIMARY KEY, text)     `text` is the page's passages, joined by SEPARATOR
"""

from __future__ import annotations

import difflib
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from factscoring.sentences import split_sentences
from volume.errors import ItemError, RecordError, UsageError, VolumeError

SEPARATOR = "####SPECIAL####SEPARATOR####"
PASSAGE_WORDS = 190  # about 256 tokens of FActScore's tokenizer, its passage length
_NEAR = 2000  # titles that are compared with an unknown one
_WRITER_VERSION = 3_040_000  # written into the file instead of the SQLite release that made it: equal rows, equal bytes


class Knowledge:
    """Read-only access to a knowledge base.

    Args:
        path: The SQLite file.

    Raises:
        UsageError: There is no such file.
        RecordError: It is no knowledge base.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():  # checked first: SQLite would be asked for a file that only it misses
            raise UsageError(
                f"the knowledge base {path} is missing. `make data` writes the one of a generated world; another one is built with "
                f"`python -m factscoring.build_knowledge --input pages.jsonl --output {path.name}`."
            )
        try:
            self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        except sqlite3.OperationalError as error:  # no permission to read it
            raise self._broken(str(error)) from error
        if self._one("SELECT title, text FROM documents LIMIT 1") is None:
            raise self._broken("its table documents is empty")

    def passages(self, title: str) -> list[str]:
        """Return the passages of the page with exactly this title, in page order.

        Raises:
            ItemError: There is no such page; the message names the nearest titles.
            RecordError: The page cannot be read.
        """
        row = self._one("SELECT text FROM documents WHERE title = ?", title)
        if row is None:
            near = self._nearest(title)
            hint = f" Nearest titles: {', '.join(map(repr, near))}." if near else " No title is near it."
            raise ItemError(f"the knowledge base {self._path.name} has no page titled {title!r}.{hint} The topic must be a title, letter by letter.")
        if not isinstance(row[0], str):
            raise self._broken(f"the text of page {title!r} is {type(row[0]).__name__}, expected text")
        parts = (part.replace("<s>", "").replace("</s>", "").strip() for part in row[0].split(SEPARATOR))  # marks in enwiki-20230401.db
        return [part for part in parts if part]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _nearest(self, title: str) -> list[str]:
        """Return up to three near titles among those that share a beginning with ``title`` and the first ones of the file."""
        words = title.split() or [title]
        starts = dict.fromkeys((title[:12], words[0], words[0].capitalize(), title[:3], title[:3].title()))
        titles: dict[str, None] = {}
        for start in filter(None, starts):
            last = start + "\U0010ffff"
            titles |= dict.fromkeys(self._titles("SELECT title FROM documents WHERE title >= ? AND title < ? LIMIT ?", start, last, _NEAR // 4))
        titles |= dict.fromkeys(self._titles("SELECT title FROM documents LIMIT ?", _NEAR))
        folded = {known.casefold(): known for known in titles}
        return [folded[near] for near in difflib.get_close_matches(title.casefold(), folded, n=3, cutoff=0.6)]

    def _titles(self, query: str, *values: Any) -> list[str]:
        try:
            return [str(row[0]) for row in self._db.execute(query, values)]
        except sqlite3.DatabaseError as error:
            raise self._broken(str(error)) from error

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._broken(str(error)) from error
        return row

    def _broken(self, why: str) -> RecordError:
        return RecordError(
            f"{self._path} is not a readable knowledge base: {why}. Expected an SQLite file with a table documents(title, text). A cut-short "
            "download, or a web page saved under its name, looks like this: fetch or build the file again (`make data` for a generated world)."
        )


def build_database(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write a knowledge base, atomically and without holding the rows in memory; return the number of pages.

    Args:
        rows: Each with ``title`` and either ``passages`` (kept as they are) or ``text`` (cut into passages at sentence ends).
        path: The file to write.

    Raises:
        VolumeError: A row lacks a field, a title comes twice, there is no row, or the file cannot be written; nothing is left behind.
    """
    partial = path.with_name(f".{path.name[:40]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        count = _fill(rows, partial)
        with partial.open("r+b") as file:
            file.seek(96)
            file.write(_WRITER_VERSION.to_bytes(4, "big"))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, sqlite3.OperationalError) as error:  # a full disk shows as either
        raise VolumeError(f"cannot write {path}: {error}. Free some space or mend the folder's permissions and run again.") from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def _fill(rows: Iterable[Mapping[str, Any]], partial: Path) -> int:
    db = sqlite3.connect(partial)
    count = 0
    try:
        db.execute("PRAGMA journal_mode = OFF")  # the file is thrown away if anything fails
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
        for count, row in enumerate(rows, start=1):
            title, passages = _page(row, count)
            try:
                db.execute("INSERT INTO documents VALUES (?, ?)", (title, SEPARATOR.join(passages)))
            except sqlite3.IntegrityError as error:
                raise VolumeError(f"page {count}: the title {title!r} was given before; a title names one page.") from error
            except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
                raise VolumeError(f"page {count} ({title!r}) holds a character that is no valid Unicode: {error}") from error
        db.commit()
    finally:
        db.close()
    if count == 0:
        raise VolumeError("no pages were given; expected at least one row with 'title' and 'text'.")
    return count


def _page(row: Mapping[str, Any], number: int) -> tuple[str, list[str]]:
    title, text, passages = row.get("title"), row.get("text"), row.get("passages")
    if not isinstance(title, str) or not title:
        raise VolumeError(f"page {number}: 'title' is {title!r}, expected a text that is not empty.")
    if isinstance(passages, list) and all(isinstance(passage, str) for passage in passages):
        return title, passages
    if passages is None and isinstance(text, str):
        return title, text.split(SEPARATOR) if SEPARATOR in text else cut_passages(text)
    raise VolumeError(f"page {number} ({title!r}): expected 'text' (a text) or 'passages' (a list of texts).")


def cut_passages(text: str, words: int = PASSAGE_WORDS) -> list[str]:
    """Return ``text`` as passages of at most ``words`` words that end at sentence ends (one longer sentence stays whole)."""
    passages: list[str] = []
    current: list[str] = []
    size = 0
    for sentence in split_sentences(text):
        length = len(sentence.split())
        if current and size + length > words:
            passages.append(" ".join(current))
            current, size = [], 0
        current.append(sentence)
        size += length
    return [*passages, " ".join(current)] if current else passages
