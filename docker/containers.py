"""The engines with images: docker, podman, apptainer. One image per environment, named by what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
import uuid
from functools import lru_cache
from pathlib import Path

from common import EngineError, Settings, git_commit, maker_lock, run_child, stage_variables

DEFAULT_BASE = "debian:bookworm-slim"

# Compute capabilities that the wheels of a stack have kernels for; a label of the image.
_SM = {
    ("fsenv", "paper"): "3.7 5.0 6.0 7.0 7.5 8.0 8.6",
    ("csenv", "paper"): "3.7 5.0 6.0 7.0 7.5 8.0 8.6",
}
_SM_CURRENT = "7.0 7.5 8.0 8.6 9.0 10.0 12.0"


@lru_cache(maxsize=None)
def _works(engine: str) -> bool:
    if shutil.which(engine) is None:
        return False
    question = {"docker": ["docker", "info"], "podman": ["podman", "info"], "apptainer": ["apptainer", "--version"]}[engine]
    try:
        return subprocess.run(question, capture_output=True, timeout=10, check=False).returncode == 0
    except (subprocess.TimeoutExpired, OSError):
        return False


def find_engine(wanted: str) -> str:
    """Return the engine to use; ``auto`` is the first that works, and a virtual environment otherwise.

    Raises:
        EngineError: The engine that was asked for does not work here.
    """
    if wanted == "auto":
        return next((engine for engine in ("docker", "podman", "apptainer") if _works(engine)), "venv")
    if wanted != "venv" and not _works(wanted):
        what = "its daemon does not answer" if wanted == "docker" and shutil.which("docker") else "it is not installed or does not work"
        raise EngineError(f"ENGINE={wanted}: {what}. Start or install it, or use ENGINE=venv, which needs none.")
    return wanted


def source_hash(settings: Settings, env: str) -> str:
    """Return a hash over what an image is made of: its Dockerfile, its lock and our code."""
    total = hashlib.sha256()
    files = [settings.root / "docker" / f"{env}.Dockerfile", settings.root / "docker" / "uv.txt", settings.lock(env)]
    for package in ("volume", env):
        files += sorted(path for path in (settings.root / package / "src").rglob("*") if path.suffix in (".py", ".toml") and path.is_file())
    for path in files:
        total.update(f"{path.relative_to(settings.root)}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def image_name(settings: Settings, env: str) -> str:
    """Return the image's name; a change of code is another image that shares the layers below it."""
    return f"facttune/{env}:{settings.stack}-{source_hash(settings, env)[:12]}"


def _sif(settings: Settings, env: str) -> Path:
    return settings.envs / f"{image_name(settings, env).replace('/', '-').replace(':', '-')}.sif"


def prepare_image(settings: Settings, env: str) -> None:
    """Build the image if it is not there.

    Raises:
        EngineError: The build failed, or an apptainer image has to come from elsewhere.
    """
    if _exists(settings, env):
        return
    with maker_lock(settings, f"image-{env}-{settings.stack}"):
        if _exists(settings, env):
            return
        name = image_name(settings, env)
        if settings.engine == "apptainer":
            raise EngineError(
                f"{_sif(settings, env)} is missing. On a host with docker: `make images`, `docker save {name} -o image.tar`; "
                f"then here: apptainer build {_sif(settings, env)} docker-archive://image.tar"
            )
        started = time.monotonic()
        print(f"building the image {name}; the layer of its packages is kept, so later builds take seconds …", flush=True)
        status = subprocess.run(_build_command(settings, env, name), env={**os.environ, "DOCKER_BUILDKIT": "0"}, check=False).returncode
        if status != 0:
            raise EngineError(
                f"building {name} failed (see above). The base image is {os.environ.get('BASE_IMAGE') or DEFAULT_BASE}: where it cannot be "
                "pulled, make one with docker/make-base.sh and set BASE_IMAGE=facttune/base:bookworm."
            )
        print(f"{name} is ready after {time.monotonic() - started:.0f} s.", flush=True)


def _exists(settings: Settings, env: str) -> bool:
    if settings.engine == "apptainer":
        return _sif(settings, env).exists()
    return image_id(settings, env) is not None


def image_id(settings: Settings, env: str) -> str | None:
    """Return the image's id, or None when there is none."""
    command = [settings.engine, "image", "inspect", "--format", "{{.Id}}", image_name(settings, env)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _build_command(settings: Settings, env: str, name: str) -> list[str]:
    command = [settings.engine, "build", "--network", "host", "--file", str(settings.root / "docker" / f"{env}.Dockerfile"), "--tag", name]
    arguments = {
        "BASE_IMAGE": os.environ.get("BASE_IMAGE") or DEFAULT_BASE,
        "STACK": settings.stack,
        "LOCK_SHA256": settings.lock_hash(env),
        "GIT_COMMIT": git_commit(settings.root),
        "SM_LIST": _SM.get((env, settings.stack), _SM_CURRENT),
    }
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    return [*command, str(settings.root)]


def describe_image(settings: Settings, env: str) -> dict[str, str | None]:
    """Return what an image is, without building it."""
    found = str(_sif(settings, env)) if settings.engine == "apptainer" else image_id(settings, env)
    return {
        "engine": settings.engine, "env": env, "stack": settings.stack, "lock_sha256": settings.lock_hash(env), "image_id": found,
        "python": "/opt/facttune/bin/python",
    }  # fmt: skip


def run_image(settings: Settings, env: str, command: list[str], network: str, names: list[str]) -> int:
    """Run a command in the image as the caller, the volume at /data."""
    prepare_image(settings, env)
    (settings.data / "cache" / "home").mkdir(parents=True, exist_ok=True)
    image = str(_sif(settings, env)) if settings.engine == "apptainer" else str(image_id(settings, env))
    variables = stage_variables(settings, env, "/data", image, network)
    filled = [argument.replace("@data", "/data") for argument in command]
    if filled[0] == "python":
        filled[0] = "/opt/facttune/bin/python"
    if settings.engine == "apptainer":
        return run_child(_apptainer_command(settings, image, filled, variables, network, names))
    # Killed by SIGKILL, the adapter cannot stop the container; a name that says whose it is lets a person find it.
    container = f"facttune-{env}-{uuid.uuid4().hex[:8]}"
    arguments = [settings.engine, "run", "--rm", "--init", "--name", container, "--network", network, "--shm-size", "1g"]
    arguments += ["--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{settings.data}:/data", "--workdir", "/data"]
    if settings.engine == "podman":
        arguments += ["--security-opt", "label=disable", *([] if os.getuid() == 0 else ["--userns", "keep-id"])]
    if _has_gpu():
        arguments += ["--device", "nvidia.com/gpu=all"] if settings.engine == "podman" else ["--gpus", "all"]
        # NCCL pins memory. Only here: an engine inside a container or without root may not raise limits, and a CPU needs none.
        arguments += ["--ulimit", "memlock=-1", "--ulimit", "stack=67108864"]
    for key, value in variables.items():
        arguments += ["--env", f"{key}={value}"]
    for name in names:
        arguments += ["--env", name]  # by name only: the value stands on no command line
    return run_child([*arguments, image, *filled])


def _apptainer_command(settings: Settings, image: str, command: list[str], variables: dict[str, str], network: str, names: list[str]) -> list[str]:
    arguments = ["apptainer", "exec", "--cleanenv", "--no-home", "--containall", "--bind", f"{settings.data}:/data", "--pwd", "/data"]
    if _has_gpu():
        arguments.append("--nv")
    if network == "none":
        arguments += ["--net", "--network", "none"]
    for name in names:
        os.environ[f"APPTAINERENV_{name}"] = os.environ[name]
    for key, value in variables.items():
        arguments += ["--env", f"{key}={value}"]
    return [*arguments, image, *command]


@lru_cache(maxsize=None)
def _has_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0
