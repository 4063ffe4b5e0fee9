"""Recorded calls to a language-model service: the only way by which a stage may ask one.

A reply is committed to a SQLite store before anyone uses it, under a key of all that decides it, the sample's index
included. In `replay` mode no network is touched and a miss is an error, so experiments on a retired model still rerun.

This module holds the interface, the key, the store and `replay`; the service's own transport (rate limits, retries,
spending cap) is not available yet.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from volume.errors import UsageError, VolumeError
from volume.files import sha256_value

Mode = Literal["record", "replay", "refresh"]


@dataclass(frozen=True)
class Request:
    """One call, with everything that decides its reply.

    Attributes:
        family: Endpoint family, ``chat`` or ``completions``.
        model: The service's name of the model.
        messages: Chat messages as (role, text) pairs.
        prompt_version: Version of the prompt's template.
        sample: Which of several draws this is; part of the key, so that samples are distinct.
        parameters: Sampling parameters as sent, e.g. {"temperature": 0.7, "max_tokens": 512}.
    """

    family: str
    model: str
    messages: tuple[tuple[str, str], ...]
    prompt_version: str
    sample: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)

    def key(self) -> str:
        """Return the SHA-256 under which the reply is stored."""
        return sha256_value(asdict(self))


@dataclass(frozen=True)
class Reply:
    """The text of a reply and its token use."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class Transport(Protocol):
    """Sends requests to a service and returns the replies in order."""

    def send(self, requests: Sequence[Request]) -> list[Reply]: ...


class CallStore:
    """The recorded replies, one SQLite file in WAL mode: readers and writers do not wait for each other."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise VolumeError(f"{path} is no store of recorded calls ({error}). Move it away, or restore it from a copy.") from error

    def get(self, request: Request) -> Reply | None:
        """Return the recorded reply, or None."""
        row = self._db.execute("SELECT reply FROM calls WHERE key = ?", (request.key(),)).fetchone()
        return Reply(**json.loads(row[0])) if row else None

    def put(self, request: Request, reply: Reply) -> None:
        """Commit a reply; it is safe on the disk when this returns."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO calls VALUES (?, ?, ?)",
                (request.key(), json.dumps(asdict(request), ensure_ascii=False), json.dumps(asdict(reply), ensure_ascii=False)),
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Client:
    """Answers requests from the store, and from the service when the mode allows it."""

    def __init__(self, store: CallStore, mode: Mode = "record", transport: Transport | None = None) -> None:
        if mode != "replay" and transport is None:
            raise UsageError(f"LLM mode '{mode}' needs a service, which is not available yet; mode 'replay' reads recorded calls.")
        self._store, self._mode, self._transport = store, mode, transport

    def complete(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the replies in the order of the requests.

        Raises:
            VolumeError: In mode `replay`, a request has no recorded reply.
        """
        replies = [None if self._mode == "refresh" else self._store.get(request) for request in requests]
        missing = [index for index, reply in enumerate(replies) if reply is None]
        if missing and self._transport is None:
            first = requests[missing[0]]
            raise VolumeError(f"{len(missing)} of {len(requests)} calls are not recorded (first: {first.model}, key {first.key()[:12]}). Import a store that has them, or use mode 'record'.")
        if missing and self._transport is not None:
            for index, reply in zip(missing, self._transport.send([requests[index] for index in missing]), strict=True):
                self._store.put(requests[index], reply)
                replies[index] = reply
        return [reply for reply in replies if reply is not None]
