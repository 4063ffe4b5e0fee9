"""What a stage sees and what comes back, with the engine that needs no container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engines import ROOT, Engine, run_engine

sys.path.insert(0, str(ROOT / "tests"))
from scripted_service import ScriptedService  # noqa: E402


def test_a_command_gets_the_volume_its_status_comes_back_and_paths_may_hold_spaces(venv_engine: Engine, tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path(sys.argv[1], 'made').write_text(sys.argv[2]); sys.exit(3)"
    done = venv_engine("run", "csenv", "--", "python", "-c", code, "@data", "--name")
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "a volume" / "made").read_text() == "--name"  # an option after `--` is the command's


def test_a_stage_sees_the_fixed_variables_those_passed_by_name_and_nothing_else(venv_engine: Engine, tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    secrets = {"OPENAI_API_KEY": "a-secret", "OTHER_SECRET": "another", "OMP_NUM_THREADS": "7"}
    seen = json.loads(venv_engine("run", "csenv", "--pass", "OPENAI_API_KEY", "--", "python", "-c", code, **secrets).stdout)
    assert seen["OPENAI_API_KEY"] == "a-secret"
    assert "OTHER_SECRET" not in seen
    assert seen["OMP_NUM_THREADS"] == "1" and seen["PYTHONHASHSEED"] == "0" and seen["HF_HUB_OFFLINE"] == "1"
    assert seen["PYTHONPATH"] == f"{ROOT}/volume/src:{ROOT}/csenv/src"
    for cache in ("HOME", "HF_HOME", "TRITON_CACHE_DIR"):
        assert seen[cache].startswith(str(tmp_path / "a volume" / "cache"))


ASK = (
    "import os, pathlib, sys; from volume.llm import Client, Request; from volume.settings import LlmSettings; "
    "client = Client(pathlib.Path('llm_calls.sqlite'), LlmSettings(base_url=sys.argv[1]), key=os.environ['OPENAI_API_KEY']); "
    "print(client.complete([Request('chat', 'm', (('user', 'Who?'),), 'p')])[0].text); "
    "print([path.read_bytes() for path in pathlib.Path('/proc').glob('[0-9]*/cmdline') if b'OPENAI_API_KEY' in path.read_bytes()], file=sys.stderr)"
)


def test_a_planted_key_reaches_the_service_and_is_found_nowhere_else(tmp_path: Path) -> None:
    """Without a container; with one see test_containers.py."""
    given = {"ENGINE": "venv", "STACK": "paper", "DATA": str(tmp_path / "a volume"), "ENVS": str(Path(sys.executable).parents[2]), "OPENAI_API_KEY": "sk-planted"}
    with ScriptedService(lambda body: "a reply", key="sk-planted") as service:
        done = run_engine("run", "csenv", "--network", "host", "--pass", "OPENAI_API_KEY", "--", "python", "-c", ASK, service.url, **given)
    assert done.stdout == "a reply\n" and service.authorizations == ["Bearer sk-planted"], done.stderr
    assert "engine.py" in done.stderr and "sk-planted" not in done.stderr  # the command lines of the adapter and the stage
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert "llm_calls.sqlite" in {path.name for path in kept} and not [path for path in kept if b"sk-planted" in path.read_bytes()]


def test_a_signal_to_the_adapter_reaches_the_stage(venv_engine: Engine, tmp_path: Path) -> None:
    venv_engine("run", "csenv", "--", "python", "-c", "")  # makes the volume
    mark = tmp_path / "a volume" / "ready"
    code = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5));"
        "pathlib.Path(sys.argv[1]).write_text(''); time.sleep(60)"
    )
    environment = {**os.environ, "ENGINE": "venv", "STACK": "paper", "DATA": str(mark.parent), "ENVS": str(tmp_path / "environments")}
    command = [sys.executable, str(ROOT / "docker" / "engine.py"), "run", "csenv", "--", "python", "-c", code, "@data/ready"]
    process = subprocess.Popen(command, env=environment)
    for _ in range(300):
        if mark.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 5


def test_a_killed_adapter_takes_its_stage_with_it(venv_engine: Engine, tmp_path: Path) -> None:
    venv_engine("run", "csenv", "--", "python", "-c", "")  # makes the volume
    volume = tmp_path / "a volume"
    code = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path('stopped').touch()));"
        "pathlib.Path('ready').touch(); time.sleep(60)"
    )
    environment = {**os.environ, "ENGINE": "venv", "STACK": "paper", "DATA": str(volume), "ENVS": str(tmp_path / "environments")}
    process = subprocess.Popen([sys.executable, str(ROOT / "docker" / "engine.py"), "run", "csenv", "--", "python", "-c", code], env=environment)
    for name in ("ready", "stopped"):
        for _ in range(600):
            if (volume / name).exists():
                break
            time.sleep(0.05)
        assert (volume / name).exists(), name
        process.kill()
    process.wait(timeout=30)


def test_a_killed_stage_is_reported_as_a_shell_would(venv_engine: Engine) -> None:
    assert venv_engine("run", "csenv", "--", "python", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").returncode == 137


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (("which",), {"ENGINE": "kubernetes"}, "ENGINE=kubernetes: expected auto, docker, podman, apptainer, venv"),
        (("which",), {"ENGINE": "venv", "STACK": "old"}, "STACK=old: expected paper or current"),
        (("run", "csenv"), {"ENGINE": "venv"}, "no command given"),
        (("run", "csenv", "--pass", "NO_SUCH_KEY", "--", "python"), {"ENGINE": "venv"}, "NO_SUCH_KEY is not set"),
        (("which",), {"ENGINE": "apptainer", "PATH": "/nonexistent"}, "ENGINE=apptainer: it is not installed or does not work"),
    ],
)
def test_what_cannot_work_is_refused_with_status_2(arguments: tuple[str, ...], variables: dict[str, str], message: str, tmp_path: Path) -> None:
    done = run_engine(*arguments, **{"STACK": "paper", "DATA": str(tmp_path), **variables})
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_without_any_container_engine_auto_is_venv(tmp_path: Path) -> None:
    done = run_engine("which", ENGINE="auto", PATH=str(tmp_path))
    assert done.stdout == "venv\n"


def test_describe_makes_nothing(venv_engine: Engine, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    made, missing = (json.loads(venv_engine("describe", env).stdout) for env in ("csenv", "dpo"))
    assert made["python"] and missing["python"] is None
    assert len(made["lock_sha256"]) == 64 and made["lock_sha256"] != missing["lock_sha256"]
    assert sorted(tmp_path.rglob("*")) == before
