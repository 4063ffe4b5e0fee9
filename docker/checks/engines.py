"""The container engines of the host: which are there, which answers, where they keep images, and which environments exist already.

`containers.find_engine` chooses; here is why it chose so, and what would change it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Settings
from containers import image_name, sif_file
from venvs import venv_folder

from checks.basics import PATIENCE, Answer, Finding, ask

CONTAINERS = ("docker", "podman", "apptainer")  # in the order in which ENGINE=auto tries them

_QUESTIONS = {
    "docker": ["docker", "info", "--format", "{{json .}}"],
    "podman": ["podman", "info", "--format", "json"],
    "apptainer": ["apptainer", "--version"],
}

# What lets an engine pass cards on: the toolkit's programs, or what it wrote for the engines that read the Container Device Interface.
_TOOLKIT = ("nvidia-container-runtime-hook", "nvidia-container-runtime", "nvidia-container-cli")
_CDI = ("/etc/cdi", "/var/run/cdi")

_START = {
    "docker": "start it (systemctl start docker)",
    "podman": "see what `podman info` says",
    "apptainer": "see what `apptainer --version` says",
}


@dataclass(frozen=True)
class Engine:
    """Attributes: there, installed at all; fault, why it cannot be used ("": it can); store, the folder of its images; nvidia, whether it
    knows of NVIDIA's runtime."""

    name: str
    there: bool = False
    fault: str = ""
    version: str = ""
    store: Path | None = None
    nvidia: bool = False

    @property
    def works(self) -> bool:
        return self.there and not self.fault


def look_at_engines(patience: float = PATIENCE) -> dict[str, Engine]:
    """Ask all container engines at once what they are."""
    with ThreadPoolExecutor(len(CONTAINERS)) as pool:
        return dict(zip(CONTAINERS, pool.map(lambda name: look_at_engine(name, patience), CONTAINERS), strict=True))


def look_at_engine(name: str, patience: float = PATIENCE) -> Engine:
    """Ask one engine what it is."""
    if shutil.which(name) is None:
        return Engine(name)
    return read_engine(name, ask(_QUESTIONS[name], patience), patience)


def read_engine(name: str, answer: Answer, patience: float) -> Engine:
    """Return what an engine's answer says."""
    daemon = "its daemon" if name == "docker" else "it"
    if answer.hung:
        return Engine(name, True, f"{daemon} did not answer within {patience:g} s")
    if answer.status != 0:
        denied = "permission denied" in answer.err.lower()
        return Engine(name, True, "you may not use it (permission denied)" if denied else f"{daemon} does not answer ({answer.last_line})")
    if name == "apptainer":
        return Engine(name, True, version=answer.out.split()[-1] if answer.out.split() else "")
    try:
        told: Any = json.loads(answer.out)
        store = told.get("DockerRootDir") or (told.get("store") or {}).get("graphRoot")
        version = told.get("ServerVersion") or (told.get("version") or {}).get("Version") or ""
        return Engine(name, True, "", str(version), Path(store) if store else None, "nvidia" in (told.get("Runtimes") or {}))
    except (ValueError, AttributeError, TypeError) as error:
        return Engine(name, True, f"`{' '.join(_QUESTIONS[name])}` said what cannot be read ({error})")


def choose_engine(wanted: str, engines: Mapping[str, Engine]) -> str:
    """Return the engine that ENGINE stands for, by the rule of `containers.find_engine`; one that was asked for by name even where it does not work."""
    return next((name for name in CONTAINERS if engines[name].works), "venv") if wanted == "auto" else wanted


def judge_engines(wanted: str, engines: Mapping[str, Engine]) -> list[Finding]:
    """Return what is to be said of the engines: the one that is used and why, and the others."""
    chosen = choose_engine(wanted, engines)
    why = f"ENGINE={wanted}" if wanted != "auto" else "ENGINE=auto takes the first that works of docker, podman, apptainer, else venv"
    found = []
    if chosen == "venv":
        found.append(Finding("engine", "ok", f"venv: virtual environments, without containers ({why})"))
    elif engines[chosen].works:
        found.append(Finding("engine", "ok", f"{chosen} {engines[chosen].version} answers ({why})"))
    else:
        fault = engines[chosen].fault or "it is not installed"
        found.append(Finding("engine", "missing", f"{chosen}: {fault} ({why})", f"{_mend(engines[chosen])}, or use ENGINE=venv, which needs none"))
    passed = CONTAINERS if chosen == "venv" else CONTAINERS[: CONTAINERS.index(chosen)]
    for name in (name for name in CONTAINERS if name != chosen and engines[name].there):
        engine = engines[name]
        if engine.works:
            found.append(Finding("engine", "ok", f"{name} {engine.version} is here too: ENGINE={name}"))
        elif wanted == "auto" and name in passed:
            found.append(Finding("engine", "warning", f"{name} is installed, but {engine.fault}", f"to use it, {_mend(engine)}; {chosen} is used meanwhile"))
        else:
            found.append(Finding("engine", "ok", f"{name} is installed and not used; {engine.fault}"))
    return found


def _mend(engine: Engine) -> str:
    if not engine.there:
        return f"install {engine.name}"
    if "permission" in engine.fault and engine.name == "docker":
        return 'join its group (sudo usermod -aG docker "$USER") and log in again'
    return _START[engine.name]


def environments_made(settings: Settings, envs: Sequence[str], patience: float = PATIENCE) -> list[str]:
    """Return the environments or images that exist already; none is made."""
    if settings.engine == "venv":
        return [env for env in envs if (venv_folder(settings, env) / ".complete").exists()]
    if settings.engine == "apptainer":
        return [env for env in envs if sif_file(settings, env).is_file()]
    return [env for env in envs if ask([settings.engine, "image", "inspect", "--format", "{{.Id}}", image_name(settings, env)], patience).status == 0]


def judge_environments(settings: Settings, envs: Sequence[str], made: Sequence[str], gib: float, builds: bool) -> list[Finding]:
    """Return what is to be said of the environments that a dataset needs.

    Args:
        made: Those that exist already.
        gib: What the others take while they are made.
        builds: Whether an engine here can build the images that apptainer turns into its own.
    """
    kind = "environment" if settings.engine == "venv" else "image"
    found = []
    if made:
        found.append(Finding("engine", "ok", f"{kind}s made already, {settings.stack} stack: {', '.join(made)}"))
    left = [env for env in envs if env not in made]
    if not left:
        return found
    lacking = [env for env in left if not sif_file(settings, env).with_suffix(".tar").exists()]
    if settings.engine == "apptainer" and lacking and not builds:
        files = ", ".join(sif_file(settings, env).name for env in lacking)
        remedy = "neither docker nor podman is here to build them: bring the archives from a host that has one; `make images ENGINE=apptainer` says how"
        return [*found, Finding("engine", "missing", f"images of {', '.join(lacking)} in {settings.envs}: {files}", remedy)]
    cost = f"{gib:g} GiB while they are made, and {'about a minute each' if kind == 'environment' else 'some minutes'} with a good network"
    return [*found, Finding("engine", "ok", f"{kind}s made on first use, {settings.stack} stack: {', '.join(left)} ({cost})")]


def find_store(settings: Settings, engine: Engine | None) -> Path | None:
    """Return the folder whose disk environments or images fill; None where it is not on this host, as with a daemon elsewhere."""
    if settings.engine in ("venv", "apptainer"):
        return settings.envs
    if engine is None or engine.store is None or os.environ.get("DOCKER_HOST", "unix:").partition(":")[0] not in ("unix", ""):
        return None
    return engine.store if engine.store.exists() else None


def passes_cards(engine: Engine) -> bool:
    """Return whether there are signs that an engine can pass NVIDIA cards on; only a run shows it."""
    if engine.name == "apptainer":  # --nv needs the driver alone
        return True
    described = any(Path(folder).is_dir() and any("nvidia" in path.name for path in Path(folder).iterdir()) for folder in _CDI)
    return described or (engine.name == "docker" and (engine.nvidia or any(shutil.which(program) for program in _TOOLKIT)))
