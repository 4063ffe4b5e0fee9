"""The machine itself: processor, memory, C library, clock, and the programs that a run is started with."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from checks.basics import Answer, Finding, ask, nearest

_OLDEST_GLIBC = (2, 28)  # of PyTorch 2.8's wheels (manylinux_2_28)
_OLDEST_MAKE = (3, 82)


def read_memory(text: str) -> tuple[float, float]:
    """Return the GiB of memory, all and available, from /proc/meminfo."""
    sizes = {name: int(size) / 2**20 for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return sizes["MemTotal"], sizes.get("MemAvailable", sizes["MemTotal"])


def memory_limit(cgroup: str, root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the GiB that a container or a batch system leaves this process: the least of the limits above it.

    Args:
        cgroup: The text of /proc/self/cgroup.
    """
    limits = []
    for line in cgroup.splitlines():
        _, kinds, path = line.split(":", 2)
        top, name = (root, "memory.max") if not kinds else (root / "memory", "memory.limit_in_bytes")
        if kinds and "memory" not in kinds.split(","):
            continue
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents):
            try:
                limits.append(int((place / name).read_text()) / 2**30)
            except (OSError, ValueError):  # none there, or "max"
                pass
            if place == top:
                break
    return min(limits, default=float("inf"))


def host_memory() -> tuple[float, float]:
    """Return the GiB of memory that this process may have, all and free."""
    total, free = read_memory(Path("/proc/meminfo").read_text())
    limit = memory_limit(Path("/proc/self/cgroup").read_text())
    return min(total, limit), min(free, limit)


def judge_processor(machine: str, flags: str, cores: int, portable: bool) -> list[Finding]:
    """Return what is to be said of the processor.

    Args:
        machine: As `uname -m` says it.
        flags: Its line of features in /proc/cpuinfo.
        portable: Whether the dataset calculates as every CPU with AVX2 does.
    """
    if machine != "x86_64":
        return [Finding("machine", "missing", f"processor: {machine}", "the locks hold wheels for x86-64 alone: use such a host")]
    if "avx2" not in flags.split():
        what = f"processor: x86-64 without AVX2, {cores} cores"
        checksums = ", and the files will not have the checksums that `make verify` compares with" if portable else ""
        return [Finding("machine", "warning", what, f"it is slow{checksums}: use a processor that has it (all since 2015)")]
    return [Finding("machine", "ok", f"processor: x86-64 with AVX2, {cores} cores")]


def judge_library(kind: str, version: str) -> list[Finding]:
    """Return what is to be said of the C library, on which virtual environments stand."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version))
    if kind == "glibc" and numbers >= _OLDEST_GLIBC:
        return [Finding("machine", "ok", f"C library: glibc {version}")]
    what = f"C library: {kind or 'not glibc'} {version}".rstrip()
    need = f"the wheels need glibc {_OLDEST_GLIBC[0]}.{_OLDEST_GLIBC[1]} or newer"
    return [Finding("machine", "missing", what, f"{need}: use a container engine, or a newer Linux (Debian 12)")]


def judge_programs(python: tuple[int, int, int], make: Answer, git: Answer, commit: Answer) -> list[Finding]:
    """Return what is to be said of Python, make and git.

    Args:
        make, git: Their answers to --version.
        commit: What git says of the checkout's commit.
    """
    found = []
    version = ".".join(str(part) for part in python)
    if python[:2] >= (3, 11):
        found.append(Finding("machine", "ok", f"Python {version} on the host"))
    else:
        remedy = "Python 3.11: apt-get install python3.11, or make PYTHON=/path/to/python3.11 …"
        found.append(Finding("machine", "missing", f"Python {version} on the host", remedy))
    told = re.search(r"GNU Make (\d+)\.(\d+)", make.out)
    if told and (int(told[1]), int(told[2])) >= _OLDEST_MAKE:
        found.append(Finding("machine", "ok", told[0]))
    else:
        remedy = f"GNU make {_OLDEST_MAKE[0]}.{_OLDEST_MAKE[1]} or newer: apt-get install make"
        found.append(Finding("machine", "missing", told[0] if told else "GNU make: not here", remedy))
    if git.status != 0:
        found.append(Finding("machine", "warning", "git: not here", "manifests will not name the commit: apt-get install git"))
    elif commit.status != 0:
        owner = "dubious ownership" in commit.err
        remedy = "git config --global --add safe.directory THE_CHECKOUT" if owner else "clone the repository rather than copy its files"
        found.append(Finding("machine", "warning", "git does not tell the checkout's commit, so manifests will not name it", remedy))
    else:
        found.append(Finding("machine", "ok", f"{git.out.strip()}, commit {commit.out.strip()[:12]}"))
    return found


def judge_clock(now: float, newest: float) -> list[Finding]:
    """Return what is to be said of the clock: one that is before the checkout's own files breaks TLS and dates.

    Args:
        now: Seconds since 1970.
        newest: The time of a file that has been written before now.
    """
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now))
    if now + 60 < newest:
        return [Finding("machine", "warning", f"clock: {day} UTC, before the checkout's own files", "set it: certificates and manifests depend on it")]
    return [Finding("machine", "ok", f"clock: {day} UTC")]


def judge_machine(root: Path, venv: bool, portable: bool) -> list[Finding]:
    """Look at the machine."""
    features = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    found = judge_processor(platform.machine(), features[1] if features else "", len(os.sched_getaffinity(0)), portable)
    if venv:
        found += judge_library(*platform.libc_ver())
    git = ["git", "-C", str(nearest(root)), "rev-parse", "HEAD"]
    found += judge_programs(_version(sys.version_info), ask(["make", "--version"]), ask(["git", "--version"]), ask(git))
    return [*found, *judge_clock(time.time(), (root / "docker").stat().st_mtime)]


def _version(parts: Sequence[int | str]) -> tuple[int, int, int]:
    return int(parts[0]), int(parts[1]), int(parts[2])
