"""What a real container gives a stage, and what it leaves behind: with every engine that answers here and has the images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engines import ROOT, run_engine  # first: it puts docker/ on the path

sys.path.insert(0, str(ROOT / "tests"))
import containers  # isort: skip
from base_image import read_base  # isort: skip
from common import Settings  # isort: skip
from scripted_service import ScriptedService  # isort: skip

PLANTED = "sk-planted"

# CI runs this file once more when its images are built, with FACTTUNE_IMAGES="docker podman": then nothing of these may be skipped.
_CERTAIN = os.environ.get("FACTTUNE_IMAGES", "").split()


def settings(engine: str) -> Settings:
    return Settings(engine, "paper", ROOT, ROOT / "data", ROOT / ".envs")


def _skips(engine: str) -> bool:
    return engine not in _CERTAIN and not (containers.works(engine) and containers.image_id(settings(engine), "csenv"))


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> str:
    if _skips(request.param):
        pytest.skip(f"no {request.param} answers here, or `make images ENGINE={request.param}` has not been run")
    return str(request.param)


def in_container(engine: str, volume: Path, code: str, *extra: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_engine("run", "csenv", *extra, "--", "python", "-c", code, **{"ENGINE": engine, "STACK": "paper", "DATA": str(volume), **variables})


def wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path.name} never came")


def test_a_stage_sees_no_network_and_the_volume_may_have_a_space_in_its_path(engine: str, tmp_path: Path) -> None:
    code = "import socket; print([name for _, name in socket.if_nameindex()]); open('made', 'w').write('x')"
    done = in_container(engine, tmp_path / "a volume", code)
    assert done.stdout.splitlines()[-1] == "['lo']", done.stderr
    assert (tmp_path / "a volume" / "made").read_text() == "x"


def test_its_status_comes_back_and_a_package_of_the_image_is_there(engine: str, tmp_path: Path) -> None:
    assert in_container(engine, tmp_path, "import torch, confscoring, sys; sys.exit(int(torch.ones(2).sum()) + 3)").returncode == 5


def test_files_and_caches_belong_to_the_caller(engine: str, tmp_path: Path) -> None:
    code = "import os, pathlib; pathlib.Path(os.environ['HF_HOME'], 'hub').mkdir(parents=True); pathlib.Path.home().joinpath('x').touch()"
    done = in_container(engine, tmp_path, code)
    assert done.returncode == 0, done.stderr
    found = {path.stat().st_uid for path in tmp_path.rglob("*")}
    assert found == {os.getuid()} and (tmp_path / "cache" / "huggingface" / "hub").is_dir() and (tmp_path / "cache" / "home" / "x").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_than_root_gets_files_of_his_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    if _skips("docker"):
        pytest.skip("no Docker daemon, or no image")
    socket_of = Path("/var/run/docker.sock").stat()
    checkout = Path(shutil.copytree(ROOT / "docker", tmp_path_factory.mktemp("as") / "a checkout" / "docker")).parent
    for part in ("volume", "csenv"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    volume = checkout.parent / "a volume"
    volume.mkdir()
    os.chown(volume, 12345, 12345)
    for folder in (checkout.parent, checkout.parent.parent, checkout.parent.parent.parent):
        folder.chmod(0o755)
    command = [shutil.which("python3.11", path="/usr/bin") or sys.executable, str(checkout / "docker" / "engine.py"), "run", "csenv", "--"]
    done = subprocess.run(
        [*command, "python", "-c", "import os; open('made', 'w'); print(os.getuid(), os.path.expanduser('~'))"],
        env={"PATH": os.environ["PATH"], "ENGINE": "docker", "DATA": str(volume), "PYTHONDONTWRITEBYTECODE": "1"},
        user=12345, group=12345, extra_groups=[socket_of.st_gid], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["12345", "/data/cache/home"], done.stderr
    assert {path.stat().st_uid for path in volume.rglob("*")} == {12345}


def test_the_image_says_what_it_holds(engine: str, tmp_path: Path) -> None:
    done = subprocess.run([engine, "image", "inspect", containers.image_name(settings(engine), "csenv")], capture_output=True, text=True, check=True)
    labels = json.loads(done.stdout)[0]["Config"]["Labels"]
    assert labels["org.facttune.lock-sha256"] == settings(engine).lock_hash("csenv")
    assert labels["org.facttune.stack"] == "paper" and labels["org.facttune.env"] == "csenv" and "8.6" in labels["org.facttune.sm-list"].split()
    assert labels["org.opencontainers.image.base.name"] == (read_base(ROOT).name if os.environ.get("BASE_IMAGE") else labels["org.opencontainers.image.base.name"])
    assert re.fullmatch(r"([0-9a-f]{40}(-dirty)?)?", labels["org.opencontainers.image.revision"])
    packages = in_container(engine, tmp_path, "print(open('/opt/facttune/debian-packages.txt').read())").stdout
    assert re.search(r"^python3\.11\t3\.11\.\d", packages, flags=re.M) and len(packages.splitlines()) > 80


ASK = (
    "import os, pathlib, sys, time; from volume.llm import Client, Request; from volume.settings import LlmSettings; "
    "client = Client(pathlib.Path('llm_calls.sqlite'), LlmSettings(base_url=sys.argv[1]), key=os.environ['OPENAI_API_KEY']); "
    "print(client.complete([Request('chat', 'm', (('user', 'Who?'),), 'p')])[0].text, flush=True); "
    "pathlib.Path('asked').touch(); "
    "[time.sleep(0.05) for _ in range(1200) if not pathlib.Path('looked').exists()]"
)  # fmt: skip


def _programs() -> str:
    """Return the command lines of all processes of this host."""
    told = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # ended meanwhile
            continue
    return "\n".join(told)


def test_a_planted_key_reaches_the_service_and_is_found_nowhere_else(engine: str, tmp_path: Path) -> None:
    """Looked for while the stage runs, when an engine would tell most of it, and afterwards in everything that is left."""
    volume = tmp_path / "volume"
    name = containers.image_name(settings(engine), "csenv")
    words = ["run", "csenv", "--network", "host", "--pass", "OPENAI_API_KEY", "--", "python", "-c", ASK]
    with ScriptedService(lambda body: "a reply", key=PLANTED) as service, (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "docker" / "engine.py"), *words, service.url], stdout=log, stderr=log,
            env={**os.environ, "ENGINE": engine, "STACK": "paper", "DATA": str(volume), "OPENAI_API_KEY": PLANTED, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        try:
            wait_for(volume / "asked")
            running = subprocess.run([engine, "ps", "--quiet", "--filter", f"label=org.facttune.volume={volume}"], capture_output=True, text=True, check=True)
            (container,) = running.stdout.split()
            said = subprocess.run([engine, "inspect", container], capture_output=True, text=True, check=True).stdout
            listed = _programs()
        finally:
            (volume / "looked").touch()
            status = process.wait(timeout=60)
    assert status == 0 and (tmp_path / "log").read_text().startswith("a reply"), (tmp_path / "log").read_text()
    assert service.authorizations == [f"Bearer {PLANTED}"]
    assert "HF_HOME=/data" in said and PLANTED not in said  # the environment is in what the engine tells, the key is not
    assert "docker/engine.py run csenv" in listed and PLANTED not in listed
    for question in (["history", "--no-trunc", name], ["image", "inspect", name]):
        told = subprocess.run([engine, *question], capture_output=True, text=True, check=True).stdout
        assert told and PLANTED not in told
    found = [path for path in tmp_path.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert (volume / "llm_calls.sqlite").is_file() and not found


def test_a_killed_adapter_takes_its_container_with_it(engine: str, tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path('stopped').touch())); "
        "pathlib.Path('ready').touch(); time.sleep(120)"
    )
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "docker" / "engine.py"), "run", "csenv", "--", "python", "-c", code],
        env={**os.environ, "ENGINE": engine, "STACK": "paper", "DATA": str(tmp_path)},
    )  # fmt: skip
    wait_for(tmp_path / "ready")
    process.kill()
    wait_for(tmp_path / "stopped")


def test_a_container_that_outlived_even_its_client_is_removed_by_the_next_run(engine: str, tmp_path: Path) -> None:
    image = str(containers.image_id(settings(engine), "csenv"))
    import running

    left = f"facttune-csenv-{running._host()}-{os.getpid()}-1"  # as if this process had been another one, and were gone
    arguments = ["run", "--detach", "--rm", "--name", left, "--label", f"org.facttune.volume={tmp_path}", "--network", "none", image, "sleep", "120"]
    subprocess.run([engine, *arguments], capture_output=True, check=True)
    done = in_container(engine, tmp_path, "")
    listed = subprocess.run([engine, "ps", "--format", "{{.Names}}"], capture_output=True, text=True, check=True).stdout
    assert done.returncode == 0 and f"removing the container {left}" in done.stdout and left not in listed
