"""What only a run inside an environment shows: whether a kernel runs there, and whose the files are that it makes.

Only environments that exist are entered; none is made for a check.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Settings

from checks.basics import PATIENCE, Answer, Finding, ask
from checks.places import Written, judge_writing

PROBE_PATIENCE = 180.0  # seconds for one environment: the first look at a card on a cold disk takes half a minute


def probe(settings: Settings, env: str, cards: int, patience: float = PROBE_PATIENCE) -> list[Finding]:
    """Run one real calculation inside an environment that exists; on a volume of its own, since this makes nothing."""
    with tempfile.TemporaryDirectory(prefix="doctor-") as volume:
        answer = run_inside(settings, env, ["python", "-m", "volume.probe"], Path(volume), patience)
    return read_probe(settings, env, cards, answer, patience)


def run_inside(settings: Settings, env: str, command: list[str], volume: Path, patience: float = PATIENCE) -> Answer:
    """Run a command in an environment, as a stage runs there."""
    variables = {**os.environ, "ENGINE": settings.engine, "STACK": settings.stack, "DATA": str(volume), "ENVS": str(settings.envs)}
    return ask([sys.executable, str(settings.root / "docker" / "engine.py"), "run", env, "--", *command], patience, variables)


def read_probe(settings: Settings, env: str, cards: int, answer: Answer, patience: float) -> list[Finding]:
    """Return what a calculation in an environment showed.

    Args:
        cards: How many it should see.
    """
    if answer.hung:
        what = f"{env}: a calculation did not end within {patience:g} s"
        return [Finding("gpu", "missing", what, "look at `nvidia-smi` and `dmesg`; restart the host")]
    try:
        told: dict[str, Any] = json.loads(next(line for line in answer.out.splitlines() if line.startswith("{")))
        devices = [(str(device["name"]), str(device["fault"])) for device in told["devices"]]
        seen, version = int(told["cards"]), str(told["torch"])
    except (StopIteration, ValueError, KeyError, TypeError):
        remedy = what_passes_cards(settings.engine) if cards else "see the message"
        return [Finding("gpu", "missing", f"{env}: could not be started: {answer.last_line}", remedy)]
    faults = [fault for _, fault in devices if fault]
    if faults:
        return [Finding("gpu", "missing", f"{env}: {fault}", "see the message") for fault in faults]
    if seen < cards:
        return [Finding("gpu", "missing", f"{env}: torch {version} inside sees {seen} of {cards} card(s)", what_passes_cards(settings.engine))]
    where = " and ".join(dict.fromkeys(name for name, _ in devices))
    return [Finding("gpu", "ok", f"{env}: matrix products and a step of AdamW ran on {'the CPU' if where == 'CPU' else where} (torch {version})")]


def what_passes_cards(engine: str) -> str:
    if engine in ("docker", "podman"):
        tell = "nvidia-ctk runtime configure --runtime=docker, then restart docker" if engine == "docker" else "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
        return f"install the NVIDIA Container Toolkit ({tell}), or use ENGINE=venv"
    return "the driver's own libraries must fit it: `nvidia-smi` and `ldconfig -p | grep libcuda` show them"


def write_inside(settings: Settings, env: str) -> list[Finding]:
    """Write on the volume from inside a container, where the user's id may be another one."""
    mark = settings.data / f".doctor-{os.getpid()}"
    answer = run_inside(settings, env, ["python", "-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", f"@data/{mark.name}"], settings.data)
    try:
        owner = mark.stat().st_uid
    except FileNotFoundError:
        what = f"a container of {env} cannot write on the volume: {answer.last_line}"
        return [Finding("disk", "missing", what, "mend the permissions of the volume, or use ENGINE=venv")]
    mark.unlink(missing_ok=True)
    return judge_writing(settings.data, Written(owner=owner), f"a container of {settings.engine}")
