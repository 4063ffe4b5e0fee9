"""The engine without containers: the same locks in virtual environments, one per lock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common import EngineError, Settings, maker_lock, run_child, stage_variables

PYTHON = (3, 11)

# GiB on the disk while an environment is made (wheels are unpacked beside it), measured 2026-11-23.
GIB = {"fsenv": 4, "csenv": 6, "dpo": 9}


def venv_folder(settings: Settings, env: str) -> Path:
    """Return the environment's folder; it is named by its lock, so that a new lock is a new environment."""
    return settings.envs / f"{env}-{settings.stack}-{settings.lock_hash(env)[:12]}"


def prepare_venv(settings: Settings, env: str) -> None:
    """Make the environment if it is not there. It gets its name when it is whole; a killed attempt leaves no half one.

    Raises:
        EngineError: Python, its venv module, disk or network is missing.
    """
    folder = venv_folder(settings, env)
    if (folder / ".complete").exists():
        return
    with maker_lock(settings, f"{env}-{settings.stack}"):
        if (folder / ".complete").exists():
            return
        python = _find_python()
        free = shutil.disk_usage(settings.envs).free / 2**30
        if free < GIB[env]:
            raise EngineError(f"{env} needs {GIB[env]} GiB in {settings.envs}, {free:.1f} are free. Free some, or set ENVS to a folder on another disk.")
        started = time.monotonic()
        print(f"making the environment {env} ({settings.stack} stack); once per lock, a minute or two …", flush=True)
        uv = _find_uv(settings, python)
        shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left; nothing uses it without its mark
        _call([str(uv), "venv", "--quiet", "--no-project", "--python", python, str(folder)], settings)
        _install(settings, env, uv, folder)
        (folder / ".complete").write_text(f"{settings.lock_hash(env)}\n")
        link = settings.envs / f"{env}-{settings.stack}"
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        print(f"{env} is ready after {time.monotonic() - started:.0f} s.", flush=True)


def _install(settings: Settings, env: str, uv: Path, folder: Path) -> None:
    """Install the lock with its hashes required, compiled: every stage is a process of its own, and compiling PyTorch anew took half of its start.

    DeepSpeed is a source package: what builds it comes from the lock too.
    """
    install = [str(uv), "pip", "install", "--quiet", "--no-config", "--require-hashes", "--no-deps", "--compile-bytecode"]
    install += ["--python", str(folder / "bin" / "python")]
    lock = settings.lock(env)
    source = "deepspeed"
    lines = lock.read_text()
    if f"\n{source}==" not in f"\n{lines}":
        _call([*install, "--only-binary", ":all:", "-r", str(lock)], settings)
        return
    first = settings.envs / f".{env}-{settings.stack}-without-source.txt"
    first.write_text(_without(lines, source))
    _call([*install, "--only-binary", ":all:", "-r", str(first)], settings)
    first.unlink()
    _call([*install, "--no-build-isolation", "-r", str(lock)], settings, {"DS_BUILD_OPS": "0", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"})


def _without(lock: str, package: str) -> str:
    """Return a lock without the entry of one package."""
    kept, skipping = [], False
    for line in lock.splitlines(keepends=True):
        if line[:1] not in (" ", "#", "\n"):
            skipping = line.startswith(f"{package}==")
        if not skipping:
            kept.append(line)
    return "".join(kept)


def _find_python() -> str:
    """Return a Python 3.11 that can make environments."""
    for name in (sys.executable, "python3.11", "/usr/bin/python3.11", "python3"):
        path = shutil.which(name)
        if path and _answers(path, "import sys; sys.exit(sys.version_info[:2] != (3, 11))"):
            if not _answers(path, "import ensurepip, venv"):
                raise EngineError(f"{path} cannot make virtual environments. Debian or Ubuntu: apt-get install python3.11-venv")
            return path
    raise EngineError("Python 3.11 is missing. Debian 12: apt-get install python3 python3-venv; Ubuntu: apt-get install python3.11 python3.11-venv")


def _answers(python: str, code: str) -> bool:
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def _find_uv(settings: Settings, python: str) -> Path:
    """Return uv, installed into a small environment of its own from its own lock: it unpacks wheels several times faster than pip."""
    lock = settings.root / "docker" / "uv.txt"
    folder = settings.envs / ".uv"
    uv = folder / "bin" / "uv"
    if uv.exists() and (folder / ".complete").exists() and (folder / ".complete").read_text() == lock.read_text():
        return uv
    shutil.rmtree(folder, ignore_errors=True)
    _call([python, "-m", "venv", str(folder)], settings)
    _call([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(lock)], settings)
    (folder / ".complete").write_text(lock.read_text())
    return uv


def _call(command: list[str], settings: Settings, variables: dict[str, str] | None = None) -> None:
    """Run an installer's command; on failure say what is likely and keep nothing that looks finished."""
    # The cache lies beside the environments: they share its files (hard links), and `make clean-envs` frees all of it.
    environment = {"UV_CACHE_DIR": str(settings.envs / ".uv-cache"), **os.environ, **(variables or {})}
    done = subprocess.run(command, env=environment, text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode == 0:
        return
    errors = [line for line in done.stderr.strip().splitlines() if not line.lstrip().startswith(("WARNING", "[notice]"))]
    said = "\n  ".join(errors[-6:])
    text = done.stderr.lower()
    if any(word in text for word in ("dns", "resolve", "connect", "network", "timed out", "tls", "certificate", "no matching distribution")):
        remedy = "The package index cannot be reached: check the network (or set PIP_INDEX_URL / UV_INDEX_URL to a mirror) and run the same command again."
    elif "no space" in text:
        remedy = f"The disk is full: free some space, or set ENVS to a folder on another disk (now {settings.envs})."
    else:
        remedy = "Run the same command again; if it persists, `make clean-envs` starts afresh."
    raise EngineError(f"{Path(command[0]).name} failed:\n  {said}\n{remedy}")


def describe_venv(settings: Settings, env: str) -> dict[str, str | None]:
    """Return what an environment is, without making it."""
    folder = venv_folder(settings, env)
    ready = (folder / ".complete").exists()
    return {
        "engine": "venv", "env": env, "stack": settings.stack, "lock_sha256": settings.lock_hash(env), "image_id": None,
        "python": str(folder / "bin" / "python") if ready else None,
    }  # fmt: skip


def run_venv(settings: Settings, env: str, command: list[str], network: str, names: list[str]) -> int:
    """Run a command in an environment, with our code from the checkout.

    The network is not cut off, only the hubs' clients are told to stay offline: cutting it needs a container.
    """
    prepare_venv(settings, env)
    folder = venv_folder(settings, env)
    variables = stage_variables(settings, env, str(settings.data), "", network)
    variables |= {name: os.environ[name] for name in names}
    variables["PATH"] = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    variables["PYTHONPATH"] = f"{settings.root / 'volume' / 'src'}:{settings.root / env / 'src'}"
    (settings.data / "cache" / "home").mkdir(parents=True, exist_ok=True)
    filled = [argument.replace("@data", str(settings.data)) for argument in command]
    if filled[0] == "python":
        filled[0] = str(folder / "bin" / "python")
    return run_child(filled, variables, cwd=settings.data)
