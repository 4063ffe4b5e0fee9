"""Export, import and show: recorded calls as JSON lines, for sharing.

A line holds key, request and reply, so two stores with the same replies export the same bytes, whoever paid. Several lines
of one key are several replies to one request; the first is the one in use. Nothing is lost when stores are merged: where two
hold different replies, each keeps its own in use and the other's beside it. What imported calls cost was paid elsewhere:
it counts towards no dataset's spending cap.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from volume.errors import RecordError, UsageError, VolumeError
from volume.llm.calls import Reply, Request
from volume.llm.store import CallStore, read_rows

IMPORTED = "(imported)"  # no dataset can have this name
_SQLITE = b"SQLite format 3\0"
_AT_ONCE = 500  # lines per commit; others may write in between
_REQUEST = {"family": str, "model": str, "messages": list, "prompt_version": str, "sample": int, "parameters": dict}
_REPLY = {"text": str, "prompt_tokens": int, "completion_tokens": int, "finish": str}


class Imported(NamedTuple):
    """Attributes: added, requests that had no reply; there, replies that were there; beside, other replies to known requests, kept beside those in use."""

    added: int
    there: int
    beside: int


def export_calls(store_path: Path, file: Path, models: Collection[str] | None = None) -> int:
    """Write all calls to ``file``, sorted by key, and return their number; gzip where the name ends with .gz. Equal calls give equal bytes.

    Args:
        models: Only the calls of these models; None: of all.
    """
    count = 0
    with _existing(store_path) as store, _whole_file(file) as raw, contextlib.ExitStack() as stack:
        out: BinaryIO | gzip.GzipFile = raw
        if file.suffix == ".gz":
            out = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
        for key, request, reply in store.rows():
            if models is None or json.loads(request)["model"] in models:
                out.write(f'{{"key": "{key}", "request": {request}, "reply": {reply}}}\n'.encode())
                count += 1
    return count


def import_calls(store_path: Path, file: Path) -> Imported:
    """Add the calls of ``file``, JSON lines or another store; what is in use stays in use, and nothing of either is lost.

    Raises:
        RecordError: A line is no recorded call, or its key is not its request's; the lines before it may be in the store.
        UsageError: There is no such file, or it is the store itself.
    """
    if not file.is_file():
        raise UsageError(f"there is no {file}.")
    if store_path.exists() and store_path.samefile(file):
        raise UsageError(f"{file} is the store itself: there is nothing to import.")
    added = beside = total = 0
    with CallStore(store_path) as store:
        lines = _read_store(file) if _is_store(file) else _read(file)
        while batch := list(itertools.islice(lines, _AT_ONCE)):
            new, others = store.merge(batch, IMPORTED)
            added, beside, total = added + new, beside + others, total + len(batch)
    return Imported(added, total - added - beside, beside)


def show_calls(store_path: Path) -> str:
    """Return a table of calls, tokens and US dollars by model and dataset."""
    with _existing(store_path) as store:
        spending, beside = store.spending(), store.count_beside()
    rows = [["model", "dataset", "calls", "prompt tokens", "reply tokens", "US dollars"]]
    for row in spending:
        numbers = [f"{number:,}" for number in (row.calls, row.prompt_tokens, row.completion_tokens)]
        rows.append([row.model, row.dataset or "-", *numbers, f"{row.spent:.4f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for cells in rows:
        names = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        lines.append("  ".join(names + [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]))
    if beside:
        lines.append(f"Beside these, {beside:,} other repl{'y is' if beside == 1 else 'ies are'} kept, to requests that had one: from another store, not in use.")
    return "\n".join(lines)


def _existing(path: Path) -> CallStore:
    if not path.exists():
        raise UsageError(f"there is no store {path}.")
    return CallStore(path)


@contextlib.contextmanager
def _whole_file(file: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when all of it is written."""
    name = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name[:40]}-", suffix=".partial", dir=file.parent)
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o644)
        os.replace(name, file)
    except OSError as error:
        raise VolumeError(f"cannot write {file}: {error.strerror}. The store is untouched: free some space or name another file, then run again.") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def _read(file: Path) -> Iterator[tuple[Request, Reply]]:
    number = 0
    try:
        with file.open("rb") as raw, cast(BinaryIO, gzip.open(raw)) if file.suffix == ".gz" else raw as lines:
            for line in lines:
                number += 1
                yield _as_call(json.loads(line))
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        said = str(error) if isinstance(error, ValueError) else f"{error} after line {number}"
        raise RecordError(f"{file}, line {number}: {said}. Lines before it may be imported already; mend the file and import it again.") from error
    except OSError as error:
        raise VolumeError(f"cannot read {file}: {error.strerror}.") from error


def _is_store(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise VolumeError(f"cannot read {file}: {error.strerror}.") from error


def _read_store(file: Path) -> Iterator[tuple[Request, Reply]]:
    for key, request, reply in read_rows(file):
        try:
            yield _as_call({"key": key, "request": json.loads(request), "reply": json.loads(reply)})
        except ValueError as error:
            raise RecordError(f"{file}, call {key[:12]}: {error}. Calls before it may be imported already; restore the file from a copy and import it again.") from error


def _as_call(entry: Any) -> tuple[Request, Reply]:
    """Return the call of a line.

    Raises:
        ValueError: It is none, in words.
    """
    if not isinstance(entry, dict) or set(entry) != {"key", "request", "reply"}:
        raise ValueError("expected an object with key, request and reply")
    request, reply = _fields(entry["request"], _REQUEST, "request"), _fields(entry["reply"], _REPLY, "reply")
    messages = request.pop("messages")
    if not all(isinstance(message, list) and len(message) == 2 and all(isinstance(part, str) for part in message) for message in messages):
        raise ValueError("the request's messages are not pairs of texts")
    call = Request(messages=tuple((role, text) for role, text in messages), **request)
    if call.key() != entry["key"]:
        raise ValueError(f"the key {str(entry['key'])[:12]} is not the request's own, {call.key()[:12]}: one of the two was changed")
    return call, Reply(**reply)


def _fields(value: Any, types: dict[str, type], name: str) -> dict[str, Any]:
    wrong = not isinstance(value, dict) or set(value) != set(types) or not all(isinstance(value[field], kind) for field, kind in types.items())
    if wrong:
        raise ValueError(f"the {name} does not have the fields {', '.join(types)} as it should")
    return dict(value)
