"""The engines with images: which of them works here, and what an environment's image is. One per environment, named by what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from base_image import record_of
from common import EngineError, Settings

# In the order in which ENGINE=auto tries them, each with the question that only a working one answers.
_QUESTIONS = {
    "docker": ["docker", "info", "--format", "{{.SecurityOptions}}"],
    "podman": ["podman", "info", "--format", "{{.Host.Security.Rootless}}"],
    "apptainer": ["apptainer", "--version"],
}


@lru_cache(maxsize=None)
def _answer(engine: str) -> str | None:
    """Return what a working engine says; None where it is not installed or does not answer."""
    if shutil.which(engine) is None:
        return None
    try:
        done = subprocess.run(_QUESTIONS[engine], capture_output=True, text=True, timeout=10, check=False)
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout if done.returncode == 0 else None


def works(engine: str) -> bool:
    """Return whether an engine is installed and answers."""
    return _answer(engine) is not None


def maps_root_to_caller(engine: str) -> bool:
    """Return whether root of a container is the caller outside of it, as with docker and podman that run without root."""
    return os.getuid() != 0 if engine == "podman" else "rootless" in (_answer(engine) or "")


def find_engine(wanted: str) -> str:
    """Return the engine to use; ``auto`` is the first that works, and a virtual environment otherwise.

    Raises:
        EngineError: The engine that was asked for does not work here.
    """
    if wanted == "auto":
        return next((engine for engine in _QUESTIONS if works(engine)), "venv")
    if wanted != "venv" and not works(wanted):
        what = "its daemon does not answer" if wanted == "docker" and shutil.which("docker") else "it is not installed or does not work"
        raise EngineError(f"ENGINE={wanted}: {what}. Start or install it, or use ENGINE=venv, which needs none.")
    return wanted


def source_hash(settings: Settings, env: str) -> str:
    """Return a hash over what an image is made of: the recorded base, its Dockerfile, its lock and our code."""
    total = hashlib.sha256()
    folder = settings.root / "docker"
    files = [record_of(settings.root), folder / f"{env}.Dockerfile", folder / "install.sh", folder / "uv.txt", settings.lock(env)]
    for package in ("volume", env):
        files += sorted(path for path in (settings.root / package / "src").rglob("*") if path.suffix in (".py", ".toml", ".csv") and path.is_file())
    for path in files:
        total.update(f"{path.relative_to(settings.root)}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def image_name(settings: Settings, env: str) -> str:
    """Return the image's name; a change of code is another image that shares the layers below it."""
    return f"facttune/{env}:{settings.stack}-{source_hash(settings, env)[:12]}"


def sif_file(settings: Settings, env: str) -> Path:
    """Return apptainer's file of an image. Beside it, with the ending .tar, an archive of another engine's image is looked for."""
    return settings.envs / f"{image_name(settings, env).replace('/', '-').replace(':', '-')}.sif"


def image_id(settings: Settings, env: str) -> str | None:
    """Return the image's id, or None when there is none; apptainer's is the path of its file."""
    if settings.engine == "apptainer":
        path = sif_file(settings, env)
        return str(path) if path.exists() else None
    return inspect_image(settings.engine, image_name(settings, env), "{{.Id}}")


def inspect_image(engine: str, name: str, form: str) -> str | None:
    """Return what an engine tells of an image, in a form of its template language; None when there is no such image."""
    done = subprocess.run([engine, "image", "inspect", "--format", form, name], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def describe_image(settings: Settings, env: str) -> dict[str, str | None]:
    """Return what an image is, without building it."""
    found = str(sif_file(settings, env)) if settings.engine == "apptainer" else image_id(settings, env)
    return {
        "engine": settings.engine, "env": env, "stack": settings.stack, "lock_sha256": settings.lock_hash(env), "image_id": found,
        "python": "/opt/facttune/bin/python",
    }  # fmt: skip
