"""Runs a command in an environment's image as the caller: the volume at /data, no network unless asked for, nothing of the caller's but what is named."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from building import prepare_image
from checks.basics import ask
from checks.cards import hides_all
from common import EngineError, Settings, run_child, stage_variables
from containers import image_id, maps_root_to_caller

_PYTHON = "/opt/facttune/bin/python"
_VOLUME_LABEL = "org.facttune.volume"


def run_image(settings: Settings, env: str, command: list[str], network: str, names: list[str]) -> int:
    """Run a command in the image; return its exit status.

    Args:
        network: ``none`` or ``host``.
        names: Variables of the caller to pass on; their values stand on no command line, and no engine's daemon gets them.

    Raises:
        EngineError: The image cannot be made, or the volume's path or a value is one that engines cannot take.
    """
    _check(settings, names)
    prepare_image(settings, env)
    (settings.data / "cache" / "home").mkdir(parents=True, exist_ok=True)
    image = str(image_id(settings, env))
    variables = stage_variables(settings, env, "/data", image, network)
    filled = [argument.replace("@data", "/data") for argument in command]
    if filled[0] == "python":
        filled[0] = _PYTHON
    if settings.engine == "apptainer":
        given = {f"APPTAINERENV_{name}": value for name, value in ({**variables, **{name: os.environ[name] for name in names}}).items() if name != "HOME"}
        with tempfile.TemporaryDirectory(prefix="facttune-") as scratch:
            arguments = apptainer_command(settings, image, filled, variables["HOME"], network, Path(scratch), _has_gpu())
            return run_child(arguments, {**os.environ, **given})
    _remove_orphans(settings)
    arguments = container_command(settings, env, image, filled, variables, network, names, _has_gpu())
    # The values come in on standard input: in the container's environment, `docker inspect` would show them to whoever may ask.
    return run_child(arguments, given="".join(f"{os.environ[name]}\n" for name in names).encode())


def _check(settings: Settings, names: list[str]) -> None:
    for mark in ":,":
        if mark in str(settings.data):
            raise EngineError(f"DATA={settings.data}: a container cannot be given a folder with {mark!r} in its path. Move the volume, or use ENGINE=venv.")
    for name in names:
        if "\n" in os.environ[name]:
            raise EngineError(f"environment variable {name} holds a line break, which cannot be passed on.")


def container_command(
    settings: Settings, env: str, image: str, command: list[str], variables: dict[str, str], network: str, names: list[str], gpu: bool
) -> list[str]:
    """Return docker's or podman's command line.

    Args:
        names: Variables whose values come on standard input, a line each, in this order.
    """
    engine = settings.engine
    arguments = [engine, "run", "--rm", "--name", _name(env), "--label", f"{_VOLUME_LABEL}={settings.data}"]
    arguments += ["--network", network, "--volume", f"{settings.data}:/data", "--workdir", "/data"]
    if maps_root_to_caller(engine):
        arguments += ["--user", "0:0"]
    else:
        arguments += ["--user", f"{os.getuid()}:{os.getgid()}"]
        for group in sorted(set(os.getgroups()) - {os.getgid()}):  # a volume may be shared by a group that is not the caller's first one
            arguments += ["--group-add", str(group)]
    if engine == "podman":
        arguments += ["--security-opt", "label=disable"]  # SELinux would need the volume relabelled
    # The limit of /dev/shm takes no memory by itself. NCCL talks through it between cards, and its start fails at docker's own 64 MB.
    arguments += ["--shm-size", "16g" if gpu else "1g"]
    if gpu:
        arguments += ["--device", "nvidia.com/gpu=all"] if engine == "podman" else ["--gpus", "all"]
        # NCCL pins memory. Only here: an engine inside a container or without root may not raise limits, and a CPU needs none.
        arguments += [] if maps_root_to_caller(engine) else ["--ulimit", "memlock=-1", "--ulimit", "stack=67108864"]
    else:
        variables = {**variables, "NVIDIA_VISIBLE_DEVICES": "void"}  # a daemon whose default runtime is NVIDIA's passes cards on unasked
    for key, value in variables.items():
        arguments += ["--env", f"{key}={value}"]
    # The first process of a container has to hand signals on and bury the dead. The image brings one that does: podman's lacks on many hosts.
    if not names:
        return [*arguments, image, "tini", "--", *command]
    reads = "".join(f"IFS= read -r {name}; export {name}; " for name in names)
    return [*arguments, "--interactive", image, "tini", "--", "sh", "-c", f'{reads}exec "$@" </dev/null', "sh", *command]


def apptainer_command(settings: Settings, image: str, command: list[str], home: str, network: str, scratch: Path, gpu: bool) -> list[str]:
    """Return apptainer's command line. It runs as the caller by itself.

    Variables come in the caller's environment as APPTAINERENV_NAME: an option would split a value at its commas, and would show a key.
    HOME cannot be set in either way. ``scratch`` is for /tmp, which else is 64 MB of memory.
    """
    arguments = ["apptainer", "exec", "--cleanenv", "--no-eval", "--containall", "--no-home", "--workdir", str(scratch)]
    arguments += ["--bind", f"{settings.data}:/data", "--pwd", "/data"]
    if gpu:
        arguments.append("--nv")
    if network == "none":
        arguments += ["--net", "--network", "none"]
    return [*arguments, image, "env", f"HOME={home}", *command]


def _name(env: str) -> str:
    """Return the container's name, which says whose it is: this adapter's host, process and when that was started."""
    return f"facttune-{env}-{_host()}-{os.getpid()}-{_started(os.getpid())}"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname())


def _started(process: int) -> str:
    """Return when a process was started, in the kernel's ticks, so that another one with its number is told apart; "" where there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return ""


def _remove_orphans(settings: Settings) -> None:
    """Remove this volume's containers whose adapter is gone.

    An adapter that is killed takes its client along, and that the container (`run_child`). Where the client was killed too, the container
    went on, and would write beside what is about to start.
    """
    listing = [settings.engine, "ps", "--filter", f"label={_VOLUME_LABEL}={settings.data}", "--format", "{{.Names}}"]
    for name in subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split():
        found = re.fullmatch(rf"facttune-\w+-{re.escape(_host())}-(\d+)-(\d+)", name)
        if found and _started(int(found[1])) != found[2]:
            print(f"removing the container {name}: its adapter was killed.", flush=True)
            subprocess.run([settings.engine, "kill", name], capture_output=True, check=False)  # and --rm removes it


@lru_cache(maxsize=None)
def _has_gpu() -> bool:
    """Return whether a card is to be passed on: there is one, and the caller has not hidden all of them."""
    if hides_all(os.environ) or shutil.which("nvidia-smi") is None:
        return False
    return ask(["nvidia-smi", "-L"]).status == 0  # in time: a driver may hang
