"""Disk, shared memory and ports: whether there is room, whether the volume can be written and by whom, whether a server answers."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from checks.basics import Finding, gib_free, nearest

_SHARED_GIB = 1.0  # of /dev/shm, as containers get: NCCL's processes on one host pass their data through it
_VARIABLES = {"the volume": "DATA", "environments": "ENVS"}  # what says where they lie
_SERVER_PATIENCE = 2.0  # seconds for a server on this host or beside it to take a connection


@dataclass(frozen=True)
class Need:
    """Attributes: what, in words; folder, where it is made; gib, how much."""

    what: str
    folder: Path
    gib: float


@dataclass(frozen=True)
class Written:
    """What came of writing a file. Attributes: fault, why it failed ("": it did not); owner, the file's user id; locks, whether flock works."""

    fault: str = ""
    owner: int = -1
    locks: bool = True


def judge_disks(needs: Sequence[Need]) -> list[Finding]:
    """Return a finding for each disk: what is made on one disk adds up."""
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(nearest(need.folder).stat().st_dev, []).append(need)
    found = []
    for parts in disks.values():
        free, total = gib_free(parts[0].folder), sum(part.gib for part in parts)
        what = f"{free:.1f} GiB free for " + " and ".join(f"{part.what} in {part.folder} ({part.gib:.3g} GiB still to be made)" for part in parts)
        if free >= total:
            found.append(Finding("disk", "ok", what))
        else:
            variables = " or ".join(_VARIABLES[part.what] for part in parts if part.what in _VARIABLES)
            other = f", or set {variables} to a folder on another disk" if variables else ", or move the engine's store to another disk"
            found.append(Finding("disk", "missing", what, f"free {total - free:.1f} GiB more{other}"))
    return found


def write_once(folder: Path) -> Written:
    """Write a file on the volume, as this user, lock it, and delete it; where the volume is still to be made, in the folder above."""
    place = nearest(folder)
    if not place.is_dir():
        return Written(f"{place} is not a folder")
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())  # a full disk or quota may show only here
            return Written(owner=os.fstat(file.fileno()).st_uid, locks=_can_lock(file.fileno()))
    except OSError as error:
        return Written(f"{place} cannot be written ({error.strerror})")


def _can_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def judge_writing(folder: Path, written: Written, who: str = "this user") -> list[Finding]:
    """Return what is to be said of a file that was written on the volume.

    Args:
        who: By whom, in words.
    """
    remedy = "mend its permissions, free some space, or set DATA to another folder"
    if written.fault:
        return [Finding("disk", "missing", f"the volume: {written.fault}", remedy)]
    if not written.locks:
        what = f"the volume {folder} has no locks (flock), by which runs keep out of each other's way"
        return [Finding("disk", "missing", what, "mount it with locks (NFS without `nolock`, Lustre with `flock`), or set DATA to a folder on another disk")]
    if written.owner != os.getuid():
        what = f"what {who} makes in {folder} belongs to user {written.owner}, not to you ({os.getuid()})"
        remedy = "they may not be yours to change or delete: use an engine that keeps your user id, or a volume on a local disk"
        return [Finding("disk", "warning", what, remedy)]
    by = "" if who == "this user" else f" by {who}"
    return [Finding("disk", "ok", f"the volume {folder} can be written{by}; what is made there is yours (user {written.owner})")]


def judge_shared_memory(processes: int, engine: str, folder: Path = Path("/dev/shm")) -> list[Finding]:
    """Return what is to be said of the host's shared memory, where several processes train together on it."""
    if processes < 2 or engine in ("docker", "podman"):  # a container gets its own
        return []
    free = gib_free(folder) if folder.is_dir() else 0.0
    what = f"{folder}: {free:.1f} GiB free for {processes} processes"
    if free >= _SHARED_GIB:
        return [Finding("memory", "ok", what)]
    return [Finding("memory", "warning", what, f"GPUs exchange data through it and need {_SHARED_GIB:g} GiB: mount -o remount,size=8g {folder}")]


def local_server(url: str) -> tuple[str, int] | None:
    """Return host and port of a server that is on this host or in its network, else None: a public service is not called for a check."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        near = host == "localhost" or (ipaddress.ip_address(host).is_private and host != "0.0.0.0")
    except ValueError:  # a name, or no port
        return None
    return (host, port) if near else None


def judge_server(section: str, url: str) -> list[Finding]:
    """Return whether a server of one's own answers, if the URL is one's."""
    place = local_server(url)
    if place is None:
        return []
    try:
        socket.create_connection(place, timeout=_SERVER_PATIENCE).close()
    except OSError as error:
        reason = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return [Finding("ports", "missing", f"{section}.base_url = {url}: {reason}", "start the server, or mend its address in the definition")]
    return [Finding("ports", "ok", f"{section}.base_url = {url} takes connections")]


def judge_loopback(processes: int, variables: Mapping[str, str]) -> list[Finding]:
    """Return whether processes that work together could meet: torchrun takes a free port of localhost, or the one that MASTER_PORT names."""
    named = variables.get("MASTER_PORT", "")
    if processes < 2 and not named:
        return []
    if named and not (named.isdigit() and 0 < int(named) < 65536):
        return [Finding("ports", "missing", f"MASTER_PORT={named}: expected a port, 1 to 65535", "unset MASTER_PORT, or give a free port")]
    port = int(named or 0)
    try:
        with socket.create_server(("localhost", port)) as server:
            taken = server.getsockname()[1]
            socket.create_connection(("localhost", taken), timeout=_SERVER_PATIENCE).close()
    except OSError as error:
        what = f"localhost{f':{port} (MASTER_PORT)' if port else ''} cannot be listened at ({error.strerror or error})"
        remedy = "give another MASTER_PORT, or end what listens there" if port else "make localhost stand for 127.0.0.1 in /etc/hosts, and the interface lo be up"
        return [Finding("ports", "missing", what, remedy)]
    return [Finding("ports", "ok", f"localhost{f':{port} (MASTER_PORT)' if port else ''} can be listened at, where {processes} processes meet")]
