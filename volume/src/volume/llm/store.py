"""The recorded replies: one SQLite file.

Two people who draw the same sample get different replies. Where their stores meet, the one that was there stays in use and
the other is kept beside it, in a table of its own, so that merging loses nothing whichever way it goes.
"""

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
_OTHERS = "CREATE TABLE IF NOT EXISTS alternatives (key TEXT NOT NULL, reply TEXT NOT NULL, PRIMARY KEY (key, reply));"
_SCHEMA = f"""
    {_OTHERS}
    CREATE TABLE IF NOT EXISTS calls ({_CALLS[0]} TEXT PRIMARY KEY, {_CALLS[1]} TEXT NOT NULL, {_CALLS[2]} TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS spending (
        model TEXT, dataset TEXT, calls INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, spent REAL, PRIMARY KEY (model, dataset)
    );
"""
_PUT = "INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET request = excluded.request, reply = excluded.reply"
_ADD = "INSERT OR IGNORE INTO calls VALUES (?, ?, ?)"
_KEEP = "INSERT OR IGNORE INTO alternatives SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM calls WHERE key = ?1 AND reply = ?2)"
_IN_USE = "SELECT key, request, reply, 0 AS other FROM calls"
_BESIDE = "SELECT a.key, c.request, a.reply, 1 FROM alternatives AS a JOIN calls AS c ON c.key = a.key WHERE a.reply <> c.reply"  # a refresh may bring one into use
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
        if "alternatives" not in tables:  # a new store, or one from before other replies were kept
            self._db.executescript(f"BEGIN IMMEDIATE; {_OTHERS if tables else _SCHEMA} COMMIT;")
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
        with self._writing():
            for request, reply, spent in calls:
                text = request.as_json()
                self._db.execute(_PUT, (sha256_bytes(text.encode()), text, reply.as_json()))
                self._db.execute(_SPEND, (request.model, dataset, 1, reply.prompt_tokens, reply.completion_tokens, spent))

    def merge(self, calls: Iterable[tuple[Request, Reply]], dataset: str) -> tuple[int, int]:
        """Commit many replies at once; where another reply to a request is in use, it stays, and this one is kept beside it.

        Returns:
            How many requests had no reply, and how many further replies are kept beside one.
        """
        new = beside = 0
        with self._writing():
            for request, reply in calls:
                text, said = request.as_json(), reply.as_json()
                key = sha256_bytes(text.encode())
                if self._db.execute(_ADD, (key, text, said)).rowcount > 0:
                    self._db.execute(_SPEND, (request.model, dataset, 1, reply.prompt_tokens, reply.completion_tokens, 0.0))
                    new += 1
                else:
                    beside += self._db.execute(_KEEP, (key, said)).rowcount
        return new, beside

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Commit all that is written within, or nothing."""
        with self._telling():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def spent(self, dataset: str) -> float:
        """Return the US dollars that this dataset's calls have cost, over all runs."""
        return sum(row.spent for row in self.spending() if row.dataset == dataset)

    def spending(self) -> list[Spending]:
        """Return what was used and spent, by model and dataset."""
        with self._telling():
            return [Spending(*row) for row in self._db.execute("SELECT * FROM spending ORDER BY model, dataset")]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield (key, request, reply), the last two as JSON, sorted by key; of one key the reply in use comes first."""
        with self._telling():
            for row in self._db.execute(f"{_IN_USE} UNION ALL {_BESIDE} ORDER BY 1, 4, 3"):
                yield row[:3]

    def count_beside(self) -> int:
        """Return how many replies are kept beside the one in use."""
        with self._telling():
            return int(self._db.execute(f"SELECT count(*) FROM ({_BESIDE})").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> CallStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of a store of somebody else's, into whose folder nothing is written: it may be read-only.

    Raises:
        VolumeError: It is no store, is broken, or cannot be read as it lies there.
    """
    free = not path.with_name(f"{path.name}-wal").exists()  # nobody has it open: then no log and no lock is wanted
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if free else ''}", timeout=_BUSY_S, uri=True)) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            both = f"{_IN_USE} UNION ALL {_BESIDE}" if "alternatives" in tables else _IN_USE
            for row in db.execute(f"{both} ORDER BY 1, 4, 3"):
                yield row[:3]
    except sqlite3.DatabaseError as error:
        raise VolumeError(
            f"cannot read {path} as a store of recorded calls ({error}). Copy it, with the files beside it, to a folder of yours, and import that."
        ) from error
