"""One archive of files with an index that holds the SHA-256 of each: written the same whenever its contents are, read with every byte checked.

A tar file, compressed, that any tool can open: members sorted, with no time, user or order of the disk in it. Everything lies
below one folder, the index first, so that a reader knows what has to come before it writes anything. Files are streamed; one
of 20 GiB takes no more memory than one of 20 bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from volume.errors import RecordError, UsageError, VolumeError
from volume.files import canonical_json, hold_alone, sha256_bytes

INDEX = "index.json"
_CHUNK = 1 << 20
_LEVEL = 3  # twice as fast as 6, a tenth larger
_DENSE = ("models",)  # groups that are not compressed
_LARGEST_INDEX = 1 << 28  # bytes; an index is read into memory


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name below the top folder, where its bytes are, their SHA-256, and a word for what it is."""

    name: str
    source: Path | bytes
    sha256: str
    group: str

    @property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@contextlib.contextmanager
def scratch_beside(file: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``file``, for this process alone; it goes at the end, and what a killed one left goes first."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        name = f".{file.name[:40]}-{sha256_bytes(file.name.encode())[:8]}"
        with hold_alone(file.with_name(f"{name}.lock"), f"{file} is being written by another process. Wait for it, or name another FILE."):
            folder = file.with_name(f"{name}.partial")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise VolumeError(
            f"cannot write {file}: {error.strerror or error} ({error.filename or file.parent}). Nothing is left of it: free some space or name another FILE."
        ) from error


def write_archive(target: Path, top: str, index: dict[str, Any], members: list[Member]) -> str:
    """Write the archive and return its id, the SHA-256 of its index, which covers every member.

    Raises:
        VolumeError: A file is no longer what its SHA-256 says.
    """
    members = sorted(members, key=lambda member: member.name)
    listed = {member.name: {"sha256": member.sha256, "bytes": member.size, "group": member.group} for member in members}
    text = canonical_json({**index, "members": listed}).encode()
    with target.open("wb") as raw, contextlib.closing(_Packed(raw)) as packed, _tar_into(packed) as tar:
        tar.addfile(_header(f"{top}/{INDEX}", len(text)), io.BytesIO(text))
        for member in members:
            packed.set_level(0 if member.group in _DENSE else _LEVEL)
            header = _header(f"{top}/{member.name}", int(str(listed[member.name]["bytes"])))
            with io.BytesIO(member.source) if isinstance(member.source, bytes) else member.source.open("rb") as content:
                reader = _Hashing(content)
                try:
                    tar.addfile(header, reader)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise VolumeError(_changed(member)) from error  # tarfile's own: the file ended early
            if reader.digest() != member.sha256:
                raise VolumeError(_changed(member))
    return sha256_bytes(text)


def _changed(member: Member) -> str:
    name = member.source if isinstance(member.source, Path) else member.name
    return f"{name} was changed while it was being packed. Run again when nothing writes to the volume."


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)  # with no time, no user, mode 644
    header.size = size
    return header


def _tar_into(packed: _Packed) -> tarfile.TarFile:
    return tarfile.open(fileobj=packed, mode="w|", bufsize=_CHUNK, format=tarfile.PAX_FORMAT)  # type: ignore[call-overload,no-any-return]


class _Packed:
    """A gzip file in several pieces, each with a level of its own: weights hardly get smaller, and would take most of the time."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._open(_LEVEL)

    def _open(self, level: int) -> None:
        self._level, self._piece = level, gzip.GzipFile("", "wb", level, self._raw, mtime=0)

    def set_level(self, level: int) -> None:
        if level != self._level:
            self._piece.close()
            self._open(level)

    def write(self, data: bytes) -> int:
        return self._piece.write(data)

    def close(self) -> None:
        self._piece.close()


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, content: Any) -> None:
        self._content, self._hash = content, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._content.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


class Archive:
    """An archive that is read from its beginning to its end; use it with ``with``.

    Attributes:
        index: What it holds, as its index says.
        id: The SHA-256 of the index.

    Raises:
        UsageError: There is no such file.
        RecordError: It is no such archive, was changed, or holds what no bundle holds.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise UsageError(f"BUNDLE={file}: there is no such file.")
        self._file = file
        with self._telling():
            self._packed = gzip.open(file)  # tarfile's own reader would end with the first piece
            self._tar = tarfile.open(fileobj=self._packed, mode="r|", bufsize=_CHUNK)
            first = self._tar.next()
            parts = PurePosixPath(first.name).parts if first is not None else ()
            if first is None or len(parts) != 2 or parts[1] != INDEX or not first.isreg() or first.size > _LARGEST_INDEX:
                raise RecordError(f"{file} is no bundle: it does not begin with an index.")
            content = self._tar.extractfile(first)
            assert content is not None  # it is a plain file
            text = content.read()
            self.index: dict[str, Any] = json.loads(text)
            self._top, self.id = parts[0], sha256_bytes(text)
            if not isinstance(self.index, dict) or not isinstance(self.index.get("members"), dict):
                raise RecordError(f"{file} is no bundle: its index names no members.")

    def unpack(self, place: Callable[[str], Path], here: Collection[str], partial: Path) -> None:
        """Check every member, and put each where it belongs; a file takes its name when its bytes are found to be those of the index.

        Args:
            place: Says where a member goes.
            here: Members that are in their places already; they are checked all the same.
            partial: Where a file lies until it is whole.
        """
        waiting = dict(self.index["members"])
        with self._telling():
            for entry in iter(self._tar.next, None):
                name = self._allowed(entry, waiting)
                content = _Hashing(self._tar.extractfile(entry))
                with open(os.devnull, "wb") if name in here else partial.open("wb") as out:
                    shutil.copyfileobj(content, out, _CHUNK)
                if content.digest() != waiting.pop(name)["sha256"]:
                    raise RecordError(f"{self._file}: {name} is not what the index says: the bundle was changed or is damaged. Get it anew.")
                if name not in here:
                    place(name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(partial, place(name))
        if waiting:
            raise RecordError(f"{self._file}: {next(iter(waiting))} and perhaps more of its {len(self.index['members'])} members are missing. Get it anew.")

    def _allowed(self, entry: tarfile.TarInfo, waiting: dict[str, Any]) -> str:
        """Return a member's name below the top folder, if it may be there."""
        parts = entry.name.split("/")
        name = "/".join(parts[1:])
        odd = parts[0] != self._top or {"", ".", ".."} & set(parts) or entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE)
        if odd or name not in waiting or entry.size != waiting[name]["bytes"]:
            why = "it is no plain file below the bundle's folder" if odd else "the index does not name it so"
            raise RecordError(f"{self._file} holds {entry.name!r}, which it may not: {why}. The bundle was changed; get it anew.")
        return name

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
            raise RecordError(f"{self._file} is no bundle, or is cut short or damaged ({error}). Get it anew.") from error

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._packed.close()
