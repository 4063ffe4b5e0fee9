"""The recorded replies: one SQLite file."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from volume.errors import VolumeError
from volume.files import sha256_bytes
from volume.llm.calls import Reply, Request

_BUSY_S = 60.0  # wait this long for another writer
_LOG_PAGES = 8000  # of 4 KiB, in the log before they move into the file: moving them costs more than writing them
_CALLS = ("key", "request", "reply")
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS calls ({_CALLS[0]} TEXT PRIMARY KEY, {_CALLS[1]} TEXT NOT NULL, {_CALLS[2]} TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS spending (
        model TEXT, dataset TEXT, calls INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, spent REAL, PRIMARY KEY (model, dataset)
    );
"""
_PUT = "INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET request = excluded.request, reply = excluded.reply"
_SPEND = """
    INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens, completion_tokens = completion_tokens + excluded.completion_tokens,
    spent = spent + excluded.spent
"""


@dataclass(frozen=True)
class Spending:
    """What the calls of one model for one dataset used and cost; a call that was refreshed counts as often as it was asked."""

    model: str
    dataset: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    spent: float  # US dollars


class CallStore:
    """The recorded replies. Several processes may read and write at once (WAL mode).

    A reply outlives the process as soon as ``put`` returns; a power cut may cost the last moments (synchronous=NORMAL),
    which is what makes a call cost tens of microseconds and not a disk's flush.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VolumeError(f"cannot make the folder of {path}: {error.strerror}.") from error
        with self._telling():
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            with self._telling():
                self._prepare()
        except VolumeError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        tables = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and {"calls", "spending"} - tables:
            raise VolumeError(f"{self._path} is no store of recorded calls: it holds other tables. Move it away.")
        self._use_wal()
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        if not tables:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        columns = tuple(row[1] for row in self._db.execute("PRAGMA table_info(calls)"))
        if columns != _CALLS:
            raise VolumeError(f"{self._path} is no store of recorded calls: its columns are {', '.join(columns)}, expected {', '.join(_CALLS)}.")

    def _use_wal(self) -> None:
        end = time.monotonic() + _BUSY_S
        while True:  # SQLite does not wait by itself when two processes switch a new file at the same moment
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn SQLite's errors into one message that names the file and the remedy."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise VolumeError(
                f"cannot use {self._path}: {error}. What was recorded before is kept: free some space, mend the folder's permissions or wait "
                "for the other process, then run the same command again."
            ) from error
        except sqlite3.DatabaseError as error:
            raise VolumeError(f"{self._path} is no store of recorded calls, or is broken ({error}). Move it away, or restore it from a copy.") from error

    def get(self, request: Request) -> Reply | None:
        """Return the recorded reply, or None."""
        return self.find(request.key())

    def has(self, request: Request) -> bool:
        """Say whether a reply is recorded."""
        return self.find(request.key()) is not None

    def find(self, key: str) -> Reply | None:
        """Return the reply recorded under a request's key, or None."""
        with self._telling():
            row = self._db.execute("SELECT reply FROM calls WHERE key = ?", (key,)).fetchone()
        try:
            return Reply(**json.loads(row[0])) if row else None
        except (ValueError, TypeError) as error:
            raise VolumeError(f"{self._path} is broken: the reply under {key[:12]} cannot be read ({error}). Restore the file from a copy.") from error

    def put(self, request: Request, reply: Reply, dataset: str = "", spent: float = 0.0) -> None:
        """Commit a reply, in place of an earlier one, and add what it cost to the dataset's spending."""
        self.put_all([(request, reply, spent)], dataset)

    def put_all(self, calls: Iterable[tuple[Request, Reply, float]], dataset: str = "") -> None:
        """Commit several replies and what each cost at once: all of them, or none."""
        self._write(calls, _PUT, dataset)

    def add(self, calls: Iterable[tuple[Request, Reply]], dataset: str) -> int:
        """Commit many replies at once, except where one is recorded; return how many were new."""
        free = ((request, reply, 0.0) for request, reply in calls)
        return self._write(free, "INSERT OR IGNORE INTO calls VALUES (?, ?, ?)", dataset)

    def _write(self, calls: Iterable[tuple[Request, Reply, float]], statement: str, dataset: str) -> int:
        written = 0
        with self._telling():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for request, reply, spent in calls:
                    text = request.as_json()
                    if self._db.execute(statement, (sha256_bytes(text.encode()), text, reply.as_json())).rowcount > 0:
                        self._db.execute(_SPEND, (request.model, dataset, 1, reply.prompt_tokens, reply.completion_tokens, spent))
                        written += 1
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        return written

    def spent(self, dataset: str) -> float:
        """Return the US dollars that this dataset's calls have cost, over all runs."""
        return sum(row.spent for row in self.spending() if row.dataset == dataset)

    def spending(self) -> list[Spending]:
        """Return what was used and spent, by model and dataset."""
        with self._telling():
            return [Spending(*row) for row in self._db.execute("SELECT * FROM spending ORDER BY model, dataset")]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield (key, request, reply), the last two as JSON, sorted by key."""
        with self._telling():
            yield from self._db.execute("SELECT key, request, reply FROM calls ORDER BY key")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> CallStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
