"""What all engines share: settings, the variables that a stage sees, locks, running a child process."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ENGINES = ("docker", "podman", "apptainer", "venv")
STACKS = ("paper", "current")

_PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent ends


class EngineError(Exception):
    """Something that a stage needs is missing; the message names the remedy."""


@dataclass(frozen=True)
class Settings:
    """Attributes: engine, stack, root (the checkout), data (the volume on the host), envs (virtual environments)."""

    engine: str
    stack: str
    root: Path
    data: Path
    envs: Path

    def lock(self, env: str) -> Path:
        """Return the hashed requirements of an environment."""
        return self.root / env / "locks" / f"{self.stack}.txt"

    def lock_hash(self, env: str) -> str:
        """Return the SHA-256 of the lock.

        Raises:
            EngineError: There is no lock for this stack.
        """
        try:
            return hashlib.sha256(self.lock(env).read_bytes()).hexdigest()
        except FileNotFoundError as error:
            raise EngineError(f"{self.lock(env)} is missing. `make lock` writes it.") from error


# Set for every stage, in every engine. One thread per process: sums in one order, and two processes with two spinning
# threads each are far slower than four with one.
_FIXED = {
    "LANG": "C.UTF-8",
    "USER": "facttune",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # else CUDA numbers cards by speed, and an index means another card than in nvidia-smi
}

# Passed on from the caller where they are set: they choose devices and kernels, or place one process among several.
_PASSED = (
    "CUDA_VISIBLE_DEVICES", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA",
    "WANDB_MODE", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
)  # fmt: skip

# Set in their place by a dataset's `device`. "portable" is to come out the same on every x86-64 CPU that has AVX2 (all since 2015):
# MKL is bound to the one code path that Intel and AMD processors share (half as fast), and PyTorch, oneDNN and OpenBLAS to AVX2
# where the CPU has more. Checked on emulated processors by tests/pipeline/test_processors.py.
_NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}
DEVICES = {
    "auto": {},
    "cpu": _NO_CARD,
    "portable": {**_NO_CARD, "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
}  # fmt: skip

# For a stage that asks a service.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def stage_variables(settings: Settings, env: str, volume: str, image: str, network: str) -> dict[str, str]:
    """Return the variables that a stage runs with; ``volume`` is where the engine puts the volume."""
    cache = f"{volume}/cache"
    variables = _FIXED | {
        "HOME": f"{cache}/home",
        "HF_HOME": f"{cache}/huggingface",
        "XDG_CACHE_HOME": f"{cache}/xdg",
        "TRITON_CACHE_DIR": f"{cache}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "MPLCONFIGDIR": f"{cache}/matplotlib",
        "NLTK_DATA": f"{volume}/nltk_data",
        "FACTTUNE_ENV": env,
        "FACTTUNE_ENGINE": settings.engine,
        "FACTTUNE_STACK": settings.stack,
        "FACTTUNE_LOCK_SHA256": settings.lock_hash(env),
        "FACTTUNE_IMAGE": image,
        "FACTTUNE_GIT_COMMIT": git_commit(settings.root),
    }
    if network == "none":
        variables |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    passed = _PASSED if network == "none" else (*_PASSED, *_PROXIES)
    return variables | {name: os.environ[name] for name in passed if name in os.environ}


@lru_cache(maxsize=None)
def git_commit(root: Path) -> str:
    """Return the checkout's commit, with "-dirty" if tracked files differ from it; "" outside a git checkout."""
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "-C", str(root), "diff", "--quiet", "HEAD"], capture_output=True, check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("-dirty" if dirty else "")


@contextlib.contextmanager
def maker_lock(settings: Settings, name: str) -> Iterator[None]:
    """Let one process at a time make an environment; the others wait and then find it made."""
    settings.envs.mkdir(parents=True, exist_ok=True)
    with (settings.envs / f".{name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{name} is being made by another process; waiting for it …", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_child(command: list[str], variables: dict[str, str] | None = None, cwd: Path | None = None, given: bytes = b"") -> int:
    """Run a command until its end, handing SIGTERM on to it; return its exit status.

    SIGINT is left to the command: from a terminal it reaches both, and twice would cut short the way in which a stage stops.
    Where this process itself is killed, the command gets SIGTERM from the kernel, so that no stage runs on unseen.

    Args:
        given: What the command reads on its standard input; without it, it has the caller's.
    """
    control = ctypes.CDLL(None).prctl  # found here: between fork and exec nothing may be loaded
    child = subprocess.Popen(
        command, env=variables, cwd=cwd, stdin=subprocess.PIPE if given else None, preexec_fn=lambda: control(_PR_SET_PDEATHSIG, signal.SIGTERM)
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    if child.stdin:
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(given)
    status = child.wait()
    return 128 - status if status < 0 else status  # killed by a signal: as a shell says it
