"""One file over HTTP that may break off at any moment: gone on with where it stopped, and given its name only once its bytes are right.

What has come so far lies in NAME.part, beside it NAME.part.json says of which address and version (ETag) it is. A server that has
changed the file meanwhile, or cannot send a part of it, sends it whole and it starts over. A killed process loses what was not
yet written, which is less than a second's worth. Standard library only.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from volume.asset_list import Known
from volume.errors import VolumeError
from volume.files import write_json

_BLOCK = 2**20  # bytes, at most, between two looks at the progress
_TIMEOUT = 60.0  # seconds without a byte
_LONGEST = 60.0  # seconds of a pause of our own; a server may ask for ten times that
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_AGENT = "facttune-assets"


class RefusedError(VolumeError):
    """A server will not send a file, and asking again will not change that.

    Attributes:
        code: The HTTP status; 200 where it sent something else than the file, 0 where it could not be asked at all.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _BrokenError(Exception):
    """An attempt failed, the next may not. Attributes: after, seconds that the server asked to wait."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class Patience:
    """Attributes: attempts, in a row that bring nothing; pause, seconds after the first, doubled each time."""

    attempts: int = 8
    pause: float = 1.0

    def wait(self, failures: int, asked: float) -> None:
        """Wait after so many failures in a row."""
        time.sleep(max(min(self.pause * 2 ** (failures - 1), _LONGEST), min(asked, 10 * _LONGEST)))


@dataclass(frozen=True)
class Remote:
    """A file to fetch. Attributes: token, sent to the address's own host alone; begins, its first characters."""

    address: str
    known: Known = Known()
    token: str = ""
    begins: str = ""


@dataclass(frozen=True)
class _Part:
    """Where a file that is not whole yet lies."""

    file: Path
    note: Path

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def drop(self) -> None:
        self.file.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def tag(self, address: str) -> str:
        """Return the version that was begun with, as the server named it; "" where it is not to be relied on."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["etag"]) if note["address"] == address else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def part_of(target: Path) -> _Part:
    """Return where the part of a file lies that has come so far."""
    return _Part(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json"))


def fetch(remote: Remote, target: Path, patience: Patience, show: Callable[[int, int | None], None]) -> Known:
    """Fetch a file, going on with what is there of it; return what it is.

    Args:
        show: Told how many bytes are there, and of how many, if that is known.

    Raises:
        RefusedError: The server will not send it, or sends a web page instead.
        VolumeError: It cannot be reached or goes on breaking off, its bytes are not the ones expected, or the disk is full.
    """
    part = part_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    continued = False
    while True:
        before = part.size
        continued = continued or before > 0
        try:
            _go_on(remote, part, show)
        except _BrokenError as broken:
            failures = 1 if part.size > before else failures + 1
            if failures >= patience.attempts:
                reach = f"{remote.address}: {broken}, {failures} times in a row. {_mib(part.size)} are kept in {part.file}; run the same command again to go on."
                raise VolumeError(reach) from broken
            patience.wait(failures, broken.after)
            continue
        found = digest_file(part.file)
        fault = differs(found, remote.known)
        if not fault:
            break
        part.drop()
        if not continued:
            raise VolumeError(f"{remote.address} sends other bytes than expected: {fault}. Nothing of it was kept.")
        continued = False  # parts of two versions: once more, whole
    with part.file.open("rb") as file:
        os.fsync(file.fileno())
    part.file.chmod(0o644)
    os.replace(part.file, target)
    part.note.unlink(missing_ok=True)
    return found


def digest_file(path: Path) -> Known:
    """Return the size, the SHA-256 and git's name of a file, in one pass."""
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            blob.update(block)
    return Known(size, sha256.hexdigest(), blob.hexdigest())


def differs(found: Known, expected: Known) -> str:
    """Return how a file differs from what is known of it, naming both; "" if it does not."""
    for what, one, other in (("SHA-256", found.sha256, expected.sha256), ("git blob", found.blob, expected.blob), ("size", found.size, expected.size)):
        if one and other and one != other:
            return f"{what} {one}, expected {other}"
    return ""


def read_json(address: str, token: str, patience: Patience) -> tuple[Any, http.client.HTTPMessage]:
    """Return what an API answers, and the answer's headers.

    Raises:
        RefusedError: It answers with an error.
        VolumeError: It cannot be reached, or answers with something else than JSON.
    """
    failures = 0
    while True:
        try:
            with _open(address, {}, token) as response:
                return json.loads(response.read()), response.headers
        except ValueError as error:
            raise VolumeError(f"{address} answers with something else than JSON; is HF_ENDPOINT the address of a hub?") from error
        except (_BrokenError, http.client.HTTPException, OSError) as broken:
            failures += 1
            if failures >= patience.attempts:
                raise VolumeError(f"{address}: {broken}, {failures} times in a row. Check the network and run the same command again.") from broken
            patience.wait(failures, getattr(broken, "after", 0.0))


def _go_on(remote: Remote, part: _Part, show: Callable[[int, int | None], None]) -> None:
    """Get what is missing of a file, in one request; none, if nothing is."""
    have, size = part.size, remote.known.size
    if size is not None and have == size > 0:
        return
    tag = part.tag(remote.address)
    safe = bool(tag or remote.known.sha256 or remote.known.blob)  # else nothing would tell that two versions were joined
    if (size is not None and have > size) or not safe:
        have = 0
    headers = {"Range": f"bytes={have}-", **({"If-Range": tag} if tag else {})} if have else {}
    try:
        response = _open(remote.address, headers, remote.token)
    except RefusedError as error:
        if error.code != 416 or not have:
            raise
        part.drop()
        raise _BrokenError("the server has no such part of it, so it starts over") from error
    with response:
        have, total = _where(response, have)
        if size is not None and total is not None and total != size:
            raise RefusedError(f"{remote.address} has {total} bytes, expected {size}: it is another version", 200)
        _write(remote, response, part, have, total, show)
    if total is not None and part.size < total:
        raise _BrokenError(f"it broke off after {part.size} of {total} bytes")


def _where(response: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """Return where in the file an answer begins, and how long the file is."""
    if response.status != 206:
        length = response.headers.get("Content-Length")
        return 0, int(length) if length and length.isdecimal() else None
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) > asked:
        raise _BrokenError(f"it sends {response.headers.get('Content-Range', 'no range')} where it was asked for {asked} on")
    return int(found[1]), int(found[2]) if found[2] != "*" else None


def _write(remote: Remote, response: http.client.HTTPResponse, part: _Part, have: int, total: int | None, show: Callable[[int, int | None], None]) -> None:
    """Write an answer's bytes into the part, from ``have`` on."""
    first = _read(response)
    page = "text/html" in response.headers.get("Content-Type", "") or first[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))
    if page:
        raise RefusedError(f"{remote.address} answers with a web page instead of the file", 200)
    if have == 0 and first and remote.begins and not first.startswith(remote.begins.encode()[: len(first)]):
        raise RefusedError(f"{remote.address} sends something that begins with {first[:16]!r}, expected {remote.begins!r}", 200)
    tag = response.headers.get("ETag", "")
    write_json(part.note, {"address": remote.address, "etag": "" if tag.startswith("W/") else tag})
    with part.file.open("r+b" if part.file.exists() else "wb") as file:
        file.truncate(have)
        file.seek(have)
        block = first
        while block:
            file.write(block)
            file.flush()
            have += len(block)
            show(have, total)
            block = _read(response)


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(f"it broke off ({_reason(error)})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and hands the token on to no other host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and host_of(newurl) != host_of(req.full_url):
            following.remove_header("Authorization")
        return following


def host_of(address: str) -> tuple[str, str, int | None]:
    """Return what must be the same for a token to be sent on: scheme, host and port."""
    parts = urlsplit(address)
    return parts.scheme, parts.hostname or "", parts.port


def _open(address: str, headers: dict[str, str], token: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code not in _PASSING:
                raise RefusedError(f"{address} answers {error.code} {error.reason}", error.code) from None
            after = error.headers.get("Retry-After", "") or ""
            raise _BrokenError(f"it answers {error.code} {error.reason}", float(after) if after.isdecimal() else 0.0) from None
    except (http.client.HTTPException, OSError) as error:
        if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
            raise RefusedError(f"{address}: its certificate is not trusted here ({_reason(error)}); SSL_CERT_FILE names your site's certificates", 0) from error
        raise _BrokenError(f"it cannot be reached ({_reason(error)})") from error
    except ValueError as error:
        raise RefusedError(f"{address} is no address that can be asked: {error}", 0) from error
    return response


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
