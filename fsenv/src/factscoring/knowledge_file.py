"""Writes a knowledge base: streaming, with little memory, and going on where a killed build stopped.

A build fills `.NAME.partial` beside the output, an SQLite file with a rollback journal, and commits after every BATCH rows.
While it is unfinished, two numbers of its header tell how to go on: `user_version` is the number of rows committed,
`application_id` stands for the input and for the way of cutting it. At the end both become 0 and the counters that depend
on SQLite's release and on the number of transactions get fixed values, so that equal rows give equal bytes, in however
many runs they were written; then the file takes its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from factscoring.knowledge import SEPARATOR
from factscoring.sentences import SPLITTER, split_sentences
from volume.errors import UsageError, VolumeError
from volume.files import hold_alone
from volume.records import read_lines

PASSAGE_WORDS = 190  # about 256 tokens of FActScore's tokenizer, its passage length
BATCH = 5000  # rows per transaction: what a killed build loses at most
_SAY_EVERY = 10.0  # seconds between lines of progress
_CACHE_KIB = 8192  # of SQLite; titles come in any order, so the index is written all over
_HEAD = 1 << 20  # bytes of the input that its identity takes in
# Of SQLite's header: {offset: the four bytes that a finished file has there}. The two counters must be equal.
_FIXED = {24: 2, 60: 0, 68: 0, 92: 2, 96: 3_040_000}  # change counter, user_version, application_id, its "valid for", release

Row = tuple[int, Mapping[str, Any]]  # with its number from 1 (a line's, or its place in a list)


def build_from_lines(source: Path, path: Path, say: Callable[[str], None]) -> int:
    """Write the knowledge base of a JSON-lines file, going on with a build of the same input that was stopped; return the pages.

    Args:
        source: One object per line with ``title`` and ``passages`` (a list, kept as it is) or ``text`` (a text, or its list of
            sentences as FActScore's own input has it; cut into passages at sentence ends).
        path: The file to write; one that exists stays until the new one is complete.
        say: Gets lines about the progress.

    Raises:
        UsageError: The input is missing.
        VolumeError: A row is wrong (named by its line; nothing is left behind), another process builds this file, or it
            cannot be written (what was committed is kept).
    """
    if not source.is_file():
        raise UsageError(f"{source} is missing; expected a file of JSON lines, one page each.")
    return _build(read_lines(source), f"{source.name}, line", identify(source), path, say)


def build_database(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write the knowledge base of rows as in ``build_from_lines``, always from the start; return the number of pages.

    Raises:
        VolumeError: A row is wrong, there is none, or the file cannot be written; nothing is left behind.
    """
    return _build(enumerate(rows, start=1), "page", None, path, lambda line: None)


def identify(source: Path) -> int:
    """Return a number from 1 to 2**31 - 1 for the input and the way of cutting it; not the whole input is read."""
    status = source.stat()
    digest = hashlib.sha256(f"{SPLITTER} {PASSAGE_WORDS} {BATCH} {status.st_size} {status.st_mtime_ns}\n".encode())
    with source.open("rb") as file:
        digest.update(file.read(_HEAD))
    return int.from_bytes(digest.digest()[:4], "big") % (2**31 - 1) + 1


def _build(rows: Iterable[Row], place: str, identity: int | None, path: Path, say: Callable[[str], None]) -> int:
    """Write the file; without an identity there is no going on later, and nothing is kept for it."""
    partial = path.with_name(f".{path.name[:40]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold_alone(path.with_name(f".{path.name[:40]}.lock"), f"{path} is being built by another process; wait for it."):
            try:
                count = _fill(iter(rows), place, identity, partial, _find_progress(partial, identity, say), say)
                _finish(partial, path)
            except VolumeError:  # the rows are wrong: going on with them would end here again
                _remove(partial)
                raise
            except (OSError, sqlite3.OperationalError):
                if identity is None:
                    _remove(partial)
                raise
            except sqlite3.DatabaseError as error:
                _remove(partial)
                raise VolumeError(f"{partial.name} of a stopped build was damaged ({error}) and is removed; the same command starts afresh.") from error
    except (OSError, sqlite3.OperationalError) as error:  # a full disk shows as either
        kept = "" if identity is None else f" The pages committed so far are kept in {partial.name}: the same command goes on after them."
        raise VolumeError(f"cannot write {path}: {error}. Free some space or mend the folder's permissions and run again.{kept}") from error
    return count


def _find_progress(partial: Path, identity: int | None, say: Callable[[str], None]) -> int:
    """Return how many rows ``partial`` already holds of this input; a file that cannot be gone on with is removed."""
    if identity is None or not partial.is_file():
        _remove(partial)
        return 0
    reason = "cannot be read"
    with contextlib.closing(sqlite3.connect(partial)) as db:
        try:  # the first look undoes the transaction that was open when the build was stopped
            marked, done = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version"))
            if marked == identity and db.execute("SELECT max(rowid) FROM documents").fetchone() == (done,):
                say(f"goes on after {done:,} pages")
                return done
            if marked != identity:
                reason = "belongs to another input or version (the input's size, date or first MB differ)"
            if not done:  # it was stopped before its first commit
                reason = ""
        except sqlite3.OperationalError:  # no space or no permission: nothing is known about the file
            raise
        except sqlite3.DatabaseError:
            pass
    if reason:
        say(f"{partial.name} of a stopped build {reason}; starts afresh")
    _remove(partial)
    return 0


def _fill(rows: Iterator[Row], place: str, identity: int | None, partial: Path, done: int, say: Callable[[str], None]) -> int:
    """Write the rows after the first ``done``; return how many there are in all."""
    next(itertools.islice(rows, done, done), None)  # takes the rows that are there already
    db = sqlite3.connect(partial, isolation_level=None)
    count, started = done, time.monotonic()
    said = started
    try:
        db.execute("PRAGMA synchronous = NORMAL")  # OFF would do for a killed process; this holds in a power cut too
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute("BEGIN")
        if not done:
            db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
            db.execute(f"PRAGMA application_id = {identity or 0}")
        for number, row in rows:
            _insert(db, row, f"{place} {number}")
            count += 1
            if count % BATCH == 0:
                db.execute(f"PRAGMA user_version = {count}")
                db.execute("COMMIT")
                now = time.monotonic()
                if now - said >= _SAY_EVERY:
                    said = now
                    say(f"{count:,} pages, {(count - done) / (now - started):,.0f} pages/s")
                db.execute("BEGIN")
        db.execute(f"PRAGMA user_version = {count}")
        db.execute("COMMIT")
    finally:
        db.close()
    if count == 0:
        raise VolumeError("no pages were given; expected at least one row with 'title' and 'text'.")
    return count


def _insert(db: sqlite3.Connection, row: Mapping[str, Any], place: str) -> None:
    title, passages = _page(row, place)
    try:
        db.execute("INSERT INTO documents VALUES (?, ?)", (title, SEPARATOR.join(passages)))
    except sqlite3.IntegrityError as error:
        raise VolumeError(f"{place}: the title {title!r} was given before; a title names one page.") from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        raise VolumeError(f"{place} ({title!r}) holds a character that is no valid Unicode: {error}") from error


def _finish(partial: Path, path: Path) -> None:
    """Take the marks of an unfinished file away and give it its name."""
    with partial.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())  # before the marks go: this may take long, and a build killed here is to go on
        header = bytearray(file.read(100))
        for offset, value in _FIXED.items():
            header[offset : offset + 4] = value.to_bytes(4, "big")
        file.seek(0)
        file.write(header)
        partial.replace(path)
        os.fsync(file.fileno())


def _remove(partial: Path) -> None:
    for path in (partial, partial.with_name(f"{partial.name}-journal")):
        path.unlink(missing_ok=True)


def _page(row: Mapping[str, Any], place: str) -> tuple[str, Sequence[str]]:
    title, text, passages = row.get("title"), row.get("text"), row.get("passages")
    if not isinstance(title, str) or not title:
        raise VolumeError(f"{place}: 'title' is {title!r}, expected a text that is not empty.")
    if _is_texts(passages):
        return title, passages
    if passages is None and isinstance(text, str):
        return title, text.split(SEPARATOR) if SEPARATOR in text else cut_passages(text)
    if passages is None and _is_texts(text):
        return title, join_sentences([sentence.strip() for sentence in text if sentence.strip()])
    raise VolumeError(f"{place} ({title!r}): expected 'text' (a text, or a list of sentences) or 'passages' (a list of texts).")


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def cut_passages(text: str, words: int = PASSAGE_WORDS) -> list[str]:
    """Return ``text`` as passages of at most ``words`` words that end at sentence ends (one longer sentence stays whole)."""
    return join_sentences(split_sentences(text), words)


def join_sentences(sentences: Sequence[str], words: int = PASSAGE_WORDS) -> list[str]:
    """Return sentences, in order, as passages of at most ``words`` words each."""
    passages: list[str] = []
    current: list[str] = []
    size = 0
    for sentence in sentences:
        length = len(sentence.split())
        if current and size + length > words:
            passages.append(" ".join(current))
            current, size = [], 0
        current.append(sentence)
        size += length
    return [*passages, " ".join(current)] if current else passages
