"""Atomic writes and content hashes.

A reader never sees half a file: bytes go to a temporary name in the same folder, are flushed to the disk,
and only then take the final name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from volume.errors import VolumeError

_PARTIAL = ".partial"
_RANDOM = 8  # characters that mkstemp puts between prefix and suffix


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, making its folder.

    Raises:
        VolumeError: The disk is full or the folder cannot be written; no partial file is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_partial_prefix(path), suffix=_PARTIAL, dir=path.parent)
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)  # gone already once it has its name


def _write_error(path: Path, error: OSError) -> VolumeError:
    return VolumeError(
        f"cannot write {path}: {error.strerror}. What was finished before is kept: free some space or mend the "
        "folder's permissions, then run the same command again; it goes on where it stopped."
    )


@contextlib.contextmanager
def hold_alone(lock: Path, busy: str) -> Iterator[None]:
    """Hold ``lock`` for this process and remove it at the end; a killed process leaves the file, but not the hold on it.

    Raises:
        VolumeError: Another process holds it; ``busy`` is what to say then.
    """
    while True:
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise VolumeError(busy) from error
            if not (lock.exists() and os.path.samestat(lock.stat(), os.fstat(file.fileno()))):
                continue  # its last holder removed it between the two calls: what is held now has no name
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON whose bytes depend on the value alone (keys in the given order).

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON cannot express.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as canonical JSON, atomically."""
    write_text(path, canonical_json(value))


def remove_partial(outputs: Iterable[Path]) -> None:
    """Delete the temporary files that a killed run left of these outputs, and of no others: another step may be writing beside them."""
    prefixes: dict[Path, set[str]] = {}
    for path in outputs:
        prefixes.setdefault(path.parent, set()).add(_partial_prefix(path))
    for folder, ours in prefixes.items():
        for path in folder.glob(f".*{_PARTIAL}"):
            if path.name[: len(path.name) - _RANDOM - len(_PARTIAL)] in ours:
                path.unlink(missing_ok=True)


def _partial_prefix(path: Path) -> str:
    # Names may be as long as a file system allows; the hash keeps shortened ones apart.
    return f".{path.name[:40]}-{sha256_bytes(path.name.encode())[:8]}-"


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_value(value: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode())


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileHashes:
    """SHA-256 of files, remembered by size, inode and modification time.

    A model of many gigabytes is hashed once, so that a run with nothing to do answers in seconds. An entry is
    trusted only when the file was already older than two seconds as it was hashed: a file that is rewritten within
    the clock's grain cannot hide behind an old entry.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._dirty = False
        self._known: dict[str, list[Any]] = {}
        if store.exists():
            try:
                self._known = json.loads(store.read_text())
            except ValueError:  # a cache: losing it costs time, nothing else
                self._known = {}

    def of(self, path: Path) -> str | None:
        """Return the file's SHA-256, or None when there is no such file."""
        try:
            stat = path.stat()
        except OSError:
            return None
        mark = [stat.st_size, stat.st_ino, stat.st_mtime_ns]
        known = self._known.get(str(path))
        if known and known[:3] == mark:
            return str(known[3])
        digest = sha256_file(path)
        if time.time() - stat.st_mtime > 2:
            self._known[str(path)] = [*mark, digest]
            self._dirty = True
        return digest

    def of_all(self, paths: Iterable[Path], root: Path) -> dict[str, str | None]:
        """Return {path relative to ``root``: SHA-256 or None}, sorted by path."""
        return {str(path.relative_to(root)): self.of(path) for path in sorted(set(paths))}

    def save(self) -> None:
        """Keep what was learnt; a cache that cannot be written is no failure of the run."""
        if not self._dirty:
            return
        try:
            write_json(self._store, self._known)
        except VolumeError:
            return
        self._dirty = False
