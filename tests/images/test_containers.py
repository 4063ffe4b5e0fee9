"""How a stage is put into a container: first the command line, then, where a daemon and the images are, the real thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from engines import ROOT, run_engine  # first: it puts docker/ on the path

sys.path.insert(0, str(ROOT / "tests"))
import containers  # isort: skip
from common import Settings  # isort: skip
from scripted_service import ScriptedService  # isort: skip


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` on the path that writes its arguments down and has every image."""
    log = tmp_path / "calls.jsonl"
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "if sys.argv[1] == 'image': print('sha256:1234')\n"
        "if sys.argv[1] == 'run': sys.exit(7)\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    return log


def calls(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_stage_runs_as_the_caller_without_network_and_no_value_of_a_key_is_on_the_command_line(fake_docker: Path, tmp_path: Path) -> None:
    done = run_engine(
        "run", "csenv", "--pass", "OPENAI_API_KEY", "--", "python", "-m", "confscoring.rewards", "--data-dir", "@data",
        ENGINE="docker", STACK="paper", DATA=str(tmp_path / "volume"), ENVS=str(tmp_path), OPENAI_API_KEY="a-secret",
    )  # fmt: skip
    assert done.returncode == 7  # the container's own status
    call = next(call for call in calls(fake_docker) if call[0] == "run")
    pairs = set(zip(call, call[1:], strict=False))
    assert {("--network", "none"), ("--user", f"{os.getuid()}:{os.getgid()}"), ("--volume", f"{tmp_path / 'volume'}:/data"), ("--shm-size", "1g")} <= pairs
    assert ("--env", "OPENAI_API_KEY") in pairs and "a-secret" not in " ".join(call)
    assert call[-6:] == ["sha256:1234", "/opt/facttune/bin/python", "-m", "confscoring.rewards", "--data-dir", "/data"]


def test_only_a_stage_that_asks_for_the_network_gets_it(fake_docker: Path, tmp_path: Path) -> None:
    run_engine("run", "fsenv", "--network", "host", "--", "true", ENGINE="docker", STACK="paper", DATA=str(tmp_path / "volume"), ENVS=str(tmp_path))
    call = next(call for call in calls(fake_docker) if call[0] == "run")
    assert call[call.index("--network") + 1] == "host" and "HF_HUB_OFFLINE=1" not in call


def test_an_image_is_named_by_what_it_is_made_of(tmp_path: Path) -> None:
    import shutil

    for part in ("docker", "volume", "csenv", "dpo"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    settings = Settings("docker", "paper", tmp_path, tmp_path / "data", tmp_path / "envs")
    before = {env: containers.image_name(settings, env) for env in ("csenv", "dpo")}
    (tmp_path / "csenv" / "src" / "confscoring" / "rewards.py").write_text("changed = True\n")
    after = {env: containers.image_name(settings, env) for env in ("csenv", "dpo")}
    assert before["csenv"] != after["csenv"] and before["dpo"] == after["dpo"]


def test_a_failed_build_names_the_base_image_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASE_IMAGE", raising=False)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n[ \"$1\" = info ] && exit 0\nexit 1\n")
    docker.chmod(0o755)
    done = run_engine("prepare", "csenv", ENGINE="docker", STACK="paper", ENVS=str(tmp_path), DATA=str(tmp_path), PATH=f"{docker.parent}:/usr/bin:/bin")
    assert done.returncode == 2
    assert "debian:bookworm-slim" in done.stderr and "docker/make-base.sh" in done.stderr and "Traceback" not in done.stderr


def _real(env: str) -> bool:
    if not containers._works("docker"):
        return False
    return containers.image_id(Settings("docker", "paper", ROOT, ROOT / "data", ROOT / ".envs"), env) is not None


# CI runs this file once more when its images are built, with FACTTUNE_IMAGES=1: then nothing here may be skipped.
needs_image = pytest.mark.skipif(
    os.environ.get("FACTTUNE_IMAGES") != "1" and not _real("csenv"), reason="no Docker daemon, or `make images` has not been run"
)


def in_container(volume: Path, code: str, *extra: str) -> subprocess.CompletedProcess[str]:
    return run_engine("run", "csenv", *extra, "--", "python", "-c", code, ENGINE="docker", STACK="paper", DATA=str(volume))


@needs_image
def test_a_container_has_no_network(tmp_path: Path) -> None:
    code = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert in_container(tmp_path, code).stdout.strip() == "['lo']"


@needs_image
def test_files_of_a_container_belong_to_the_caller(tmp_path: Path) -> None:
    done = in_container(tmp_path, "open('/data/made', 'w').write('x')")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").stat().st_uid == os.getuid()


@needs_image
def test_the_image_says_which_lock_and_stack_it_holds() -> None:
    settings = Settings("docker", "paper", ROOT, ROOT / "data", ROOT / ".envs")
    done = subprocess.run(["docker", "image", "inspect", containers.image_name(settings, "csenv")], capture_output=True, text=True, check=True)
    labels = json.loads(done.stdout)[0]["Config"]["Labels"]
    assert labels["org.facttune.lock-sha256"] == settings.lock_hash("csenv")
    assert labels["org.facttune.stack"] == "paper" and labels["org.facttune.env"] == "csenv"


@needs_image
def test_a_container_with_the_hosts_network_asks_a_service_with_the_key_that_it_got_by_name(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from volume.llm import Client, Request; from volume.settings import LlmSettings; "
        "client = Client(pathlib.Path('/data/llm_calls.sqlite'), LlmSettings(base_url=os.sys.argv[1]), key=os.environ['OPENAI_API_KEY']); "
        "print(client.complete([Request('chat', 'm', (('user', 'Who?'),), 'p')])[0].text)"
    )
    with ScriptedService(lambda body: "a reply", key="sk-planted") as service:
        done = run_engine(
            "run", "fsenv", "--network", "host", "--pass", "OPENAI_API_KEY", "--", "python", "-c", code, service.url,
            ENGINE="docker", STACK="paper", DATA=str(tmp_path), OPENAI_API_KEY="sk-planted",
        )  # fmt: skip
    assert done.stdout.strip() == "a reply", done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-planted" not in path.read_bytes(), path
