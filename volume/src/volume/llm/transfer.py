"""Export, import and show: recorded calls as JSON lines, for sharing.

A line holds key, request and reply, so two stores with the same replies export the same bytes, whoever paid. What
imported calls cost was paid elsewhere: it counts towards no dataset's spending cap.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from volume.errors import RecordError, UsageError, VolumeError
from volume.llm.calls import Reply, Request
from volume.llm.store import CallStore

IMPORTED = "(imported)"  # no dataset can have this name
_AT_ONCE = 500  # lines per commit; others may write in between
_REQUEST = {"family": str, "model": str, "messages": list, "prompt_version": str, "sample": int, "parameters": dict}
_REPLY = {"text": str, "prompt_tokens": int, "completion_tokens": int, "finish": str}


def export_calls(store_path: Path, file: Path) -> int:
    """Write all calls to ``file``, sorted by key, and return their number; gzip where the name ends with .gz. Equal calls give equal bytes."""
    count = 0
    with _existing(store_path) as store, _whole_file(file) as raw, contextlib.ExitStack() as stack:
        out: BinaryIO | gzip.GzipFile = raw
        if file.suffix == ".gz":
            out = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
        for key, request, reply in store.rows():
            out.write(f'{{"key": "{key}", "request": {request}, "reply": {reply}}}\n'.encode())
            count += 1
    return count


def import_calls(store_path: Path, file: Path) -> tuple[int, int]:
    """Add the calls of ``file`` that the store lacks; return how many were added and how many were there.

    Raises:
        RecordError: A line is no recorded call, or its key is not its request's; the lines before it may be in the store.
    """
    if not file.exists():
        raise UsageError(f"there is no {file}.")
    added = total = 0
    with CallStore(store_path) as store:
        lines = _read(file)
        while batch := list(itertools.islice(lines, _AT_ONCE)):
            added += store.add(batch, IMPORTED)
            total += len(batch)
    return added, total - added


def show_calls(store_path: Path) -> str:
    """Return a table of calls, tokens and US dollars by model and dataset."""
    with _existing(store_path) as store:
        spending = store.spending()
    rows = [["model", "dataset", "calls", "prompt tokens", "reply tokens", "US dollars"]]
    for row in spending:
        numbers = [f"{number:,}" for number in (row.calls, row.prompt_tokens, row.completion_tokens)]
        rows.append([row.model, row.dataset or "-", *numbers, f"{row.spent:.4f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for cells in rows:
        names = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        lines.append("  ".join(names + [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]))
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
                yield _read_line(line)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        said = str(error) if isinstance(error, ValueError) else f"{error} after line {number}"
        raise RecordError(f"{file}, line {number}: {said}. Lines before it may be imported already; mend the file and import it again.") from error
    except OSError as error:
        raise VolumeError(f"cannot read {file}: {error.strerror}.") from error


def _read_line(line: bytes) -> tuple[Request, Reply]:
    """Return the call of a line.

    Raises:
        ValueError: It is none, in words.
    """
    entry = json.loads(line)
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
