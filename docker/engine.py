"""Runs a stage in its environment, whatever the engine: docker, podman, apptainer, or a virtual environment.

    python3 docker/engine.py which
    python3 docker/engine.py prepare csenv dpo
    python3 docker/engine.py run csenv --network none -- python -m confscoring.rewards --dataset synth --data-dir @data --split train

``@data`` in an argument stands for the volume, wherever the engine mounts it. Environment: ENGINE (auto), STACK (paper), DATA
(the volume, <checkout>/data), ENVS (virtual environments, <checkout>/.envs). Standard library only; Python 3.11.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from building import prepare_image  # noqa: E402
from common import DEVICES, ENGINES, STACKS, EngineError, Settings  # noqa: E402
from containers import describe_image, find_engine  # noqa: E402
from preflight import check_host  # noqa: E402
from running import run_image  # noqa: E402
from venvs import describe_venv, prepare_venv, run_venv  # noqa: E402

ENVIRONMENTS = ("fsenv", "csenv", "dpo")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="docker/engine.py", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("which", help="print the engine that ENGINE stands for")
    prepare = commands.add_parser("prepare", help="make the environments or images that are missing")
    prepare.add_argument("env", nargs="+", choices=ENVIRONMENTS)
    prepare.add_argument("--device", choices=DEVICES, default="auto", help="what runs in them: cpu and portable use no GPU")
    describe = commands.add_parser("describe", help="print what an environment is, as JSON; makes nothing")
    describe.add_argument("env", choices=ENVIRONMENTS)
    run = commands.add_parser("run", help="run a command in an environment")
    run.add_argument("env", choices=ENVIRONMENTS)
    run.add_argument("--network", choices=("none", "host"), default="none")
    run.add_argument("--pass", dest="names", action="append", default=[], metavar="NAME", help="pass this environment variable on")
    run.add_argument("--device", choices=DEVICES, default="auto", help="auto: a GPU where there is one; cpu; portable: as all x86-64 CPUs with AVX2 alike")
    run.add_argument("--name", default="", help="what the run is called in messages")
    run.epilog = "The command to run follows `--`."
    words = sys.argv[1:] if argv is None else argv
    end = words.index("--") if "--" in words else len(words)  # argparse would take the command's options for its own
    given = parser.parse_args(words[:end])
    try:
        return _main(given, words[end + 1 :])
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _main(given: argparse.Namespace, command: list[str]) -> int:
    settings = _settings()
    if given.command == "which":
        print(settings.engine)
        return 0
    venv = settings.engine == "venv"
    if given.command == "prepare":
        os.environ.update(DEVICES[given.device])
        check_host(settings, given.env)
        for env in given.env:
            prepare_venv(settings, env) if venv else prepare_image(settings, env)
        return 0
    if given.command == "describe":
        print(json.dumps(describe_venv(settings, given.env) if venv else describe_image(settings, given.env)))
        return 0
    if not command:
        raise EngineError("no command given; write it after `--`.")
    os.environ.update(DEVICES[given.device])  # what the caller has set for his own CPU gives way
    missing = [name for name in given.names if name not in os.environ]
    if missing:
        raise EngineError(f"environment variable {', '.join(missing)} is not set.")
    settings.data.mkdir(parents=True, exist_ok=True)
    run = run_venv if venv else run_image
    return run(settings, given.env, command, network=given.network, names=given.names)


def _settings() -> Settings:
    wanted = os.environ.get("ENGINE") or "auto"
    stack = os.environ.get("STACK") or "paper"
    if wanted not in ("auto", *ENGINES):
        raise EngineError(f"ENGINE={wanted}: expected auto, {', '.join(ENGINES)}.")
    if stack not in STACKS:
        raise EngineError(f"STACK={stack}: expected {' or '.join(STACKS)}.")
    root = Path(__file__).resolve().parent.parent
    return Settings(
        engine=find_engine(wanted),
        stack=stack,
        root=root,
        data=Path(os.environ.get("DATA") or root / "data").resolve(),
        envs=Path(os.environ.get("ENVS") or root / ".envs").resolve(),
    )


if __name__ == "__main__":
    raise SystemExit(main())
