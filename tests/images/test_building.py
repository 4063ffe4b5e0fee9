"""How an image comes to be: from which base, with which labels, and what apptainer makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engines import ROOT, Engine  # first: it puts docker/ on the path
from fake_engine import FakeEngine, options

import base_image  # isort: skip
import containers  # isort: skip
from common import EngineError, Settings  # isort: skip
from stacks import sm_list  # isort: skip

DIGEST = "sha256:" + "5d" * 32


def settings(engine: str, tmp_path: Path) -> Settings:
    return Settings(engine, "paper", ROOT, tmp_path / "a volume", tmp_path / "some envs")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the adapter needs, in a folder with a space in its path."""
    root = tmp_path / "a checkout"
    for part in ("docker", "volume", "fsenv", "csenv", "dpo"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    (root / "docker" / "base.txt").write_text("debian:bookworm-slim\n")
    return root


def of(checkout: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the copy."""
    environment = {**os.environ, "STACK": "paper", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", **variables}
    command = [sys.executable, str(checkout / "docker" / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_image_is_built_from_a_checkout_with_a_space_in_its_path_and_says_what_it_holds(fakes: FakeEngine, checkout: Path) -> None:
    (checkout / "docker" / "base.txt").write_text(f"registry:5000/debian:bookworm-slim@{DIGEST}\n")
    fakes.add("docker").has(f"registry:5000/debian@{DIGEST}")
    done = of(checkout, "engine.py", "prepare", "csenv", ENGINE="docker")
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    (call,) = fakes.calls("docker", "build")
    given = dict(word.split("=", 1) for option, word in options(call) if option == "--build-arg")
    assert call["argv"][-1] == str(checkout) and ("--file", f"{checkout}/docker/csenv.Dockerfile") in options(call)
    assert given["BASE_IMAGE"] == f"registry:5000/debian@{DIGEST}"  # no engine's every version takes a tag and a digest
    assert given["BASE_NAME"] == "registry:5000/debian:bookworm-slim" and given["BASE_DIGEST"] == DIGEST
    assert given["STACK"] == "paper" and given["SM_LIST"] == " ".join(sm_list("csenv", "paper"))
    assert given["LOCK_SHA256"] == Settings("docker", "paper", ROOT, ROOT, ROOT).lock_hash("csenv")
    assert of(checkout, "engine.py", "prepare", "csenv", ENGINE="docker").returncode == 0 and len(fakes.calls("docker", "build")) == 1


def test_a_build_from_a_tag_warns_once_and_records_the_digest_that_the_tag_had(fakes: FakeEngine, checkout: Path) -> None:
    fakes.add("docker", pulls=f"[other@sha256:{'0' * 64} debian@{DIGEST}]")
    done = of(checkout, "engine.py", "prepare", "fsenv", "csenv", "dpo", ENGINE="docker")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: the base image debian:bookworm-slim has no digest") == 1 and "make pin" in done.stderr
    assert len(fakes.calls("docker", "pull")) == 1
    assert all(("--build-arg", f"BASE_DIGEST={DIGEST}") in options(call) for call in fakes.calls("docker", "build"))


def test_a_base_that_cannot_be_pulled_names_the_remedies(fakes: FakeEngine, checkout: Path) -> None:
    fakes.add("podman")
    done = of(checkout, "engine.py", "prepare", "csenv", ENGINE="podman")
    assert done.returncode == 2 and not fakes.calls("podman", "build")
    assert "base image debian:bookworm-slim cannot be pulled" in done.stderr and "docker/make-base.sh podman" in done.stderr and "Traceback" not in done.stderr
    assert "ENGINE=venv needs no image" in done.stderr


def test_another_base_builds_the_image_anew_and_the_same_does_not(fakes: FakeEngine, checkout: Path) -> None:
    fakes.add("docker").has("mine:1")
    fakes.has("mine:2")
    for base, builds in (("mine:1", 1), ("mine:1", 1), ("mine:2", 2), ("", 2)):
        assert of(checkout, "engine.py", "prepare", "csenv", ENGINE="docker", BASE_IMAGE=base).returncode == 0
        assert len(fakes.calls("docker", "build")) == builds, base


def test_proxies_are_named_to_docker_and_their_passwords_are_not(fakes: FakeEngine, checkout: Path) -> None:
    fakes.add("docker").has("debian:bookworm-slim")
    of(checkout, "engine.py", "prepare", "csenv", ENGINE="docker", HTTPS_PROXY="http://me:secret@proxy:3128")
    (call,) = fakes.calls("docker", "build")
    assert ("--build-arg", "HTTPS_PROXY") in options(call) and "secret" not in " ".join(call["argv"])


def test_an_image_is_named_by_what_it_is_made_of(checkout: Path) -> None:
    def names() -> list[str]:
        return [containers.image_name(Settings("docker", "paper", checkout, checkout, checkout), env) for env in ("csenv", "dpo")]

    first = names()
    (checkout / "csenv" / "src" / "confscoring" / "rewards.py").write_text("changed = True\n")
    second = names()
    assert second[0] != first[0] and second[1] == first[1]
    for file in ("base.txt", "install.sh"):
        (checkout / "docker" / file).write_text("changed\n")
        assert not set(names()) & set(second)
        second = names()


@pytest.mark.parametrize("text", ["debian", "debian:bookworm-slim", "registry:5000/a/b", "registry:5000/a/b:1.2", f"debian@{DIGEST}", f"a/b:1@{DIGEST}"])
def test_a_base_image_is_read_and_written_alike(text: str) -> None:
    base = base_image.parse_base(f"{text}\n", "here")
    assert str(base) == text
    assert base.repository == text.partition("@")[0].removesuffix(":bookworm-slim").removesuffix(":1.2").removesuffix(":1")


@pytest.mark.parametrize("text", ["", "De bian", "debian@sha256:12", "debian@md5:" + "0" * 64, f"debian@{DIGEST}0", "-v"])
def test_what_is_no_base_image_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="here: .* is no image; expected NAME:TAG"):
        base_image.parse_base(text, "here")


def test_pin_records_the_digest_that_the_registry_gave_and_renews_it(fakes: FakeEngine, checkout: Path) -> None:
    fakes.add("docker", pulls=f"[debian@{DIGEST}]")
    record = checkout / "docker" / "base.txt"
    done = of(checkout, "pin.py", ENGINE="auto")
    assert done.returncode == 0 and record.read_text() == f"debian:bookworm-slim@{DIGEST}\n", done.stderr
    assert f"debian:bookworm-slim@{DIGEST} (before: no digest)" in done.stdout
    assert "unchanged" in of(checkout, "pin.py", ENGINE="docker").stdout
    fakes.add("docker", pulls=f"[debian@sha256:{'7' * 64}]")
    assert f"(before: {DIGEST})" in of(checkout, "pin.py", ENGINE="docker").stdout and "7777" in record.read_text()
    assert [call["argv"][-1] for call in fakes.calls("docker", "pull")] == ["debian:bookworm-slim"] * 3  # by its tag, also where a digest is recorded


def test_pin_understands_podman_which_writes_the_registry_before_the_name(fakes: FakeEngine, checkout: Path) -> None:
    fakes.add("podman", pulls=f"[registry.example/library/debian@{DIGEST}]")
    assert of(checkout, "pin.py", ENGINE="podman").returncode == 0
    assert (checkout / "docker" / "base.txt").read_text() == f"debian:bookworm-slim@{DIGEST}\n"


@pytest.mark.parametrize(
    ("engine", "pulls", "message"),
    [("docker", None, "cannot be pulled"), ("docker", "[]", "has no digest: it was made on this host"), ("apptainer", None, "pulled by docker or podman")],
)
def test_a_pin_that_fails_keeps_what_is_recorded(fakes: FakeEngine, checkout: Path, engine: str, pulls: str | None, message: str) -> None:
    fakes.add(engine, pulls=pulls)
    done = of(checkout, "pin.py", ENGINE="auto")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert (checkout / "docker" / "base.txt").read_text() == "debian:bookworm-slim\n"


@pytest.mark.parametrize("built", [True, False])
def test_apptainer_turns_the_image_of_another_engine_into_its_file(fakes: FakeEngine, fake_run: Engine, tmp_path: Path, built: bool) -> None:
    sif = containers.sif_file(settings("apptainer", tmp_path), "csenv")
    name = containers.image_name(settings("docker", tmp_path), "csenv")
    fakes.add("apptainer").add("podman").has(name if built else base_image.read_base(ROOT).reference)
    done = fake_run("prepare", "csenv", ENGINE="apptainer", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert len(fakes.calls("podman", "build")) == (not built)
    (saved,), (build,) = fakes.calls("podman", "save"), fakes.calls("apptainer", "build")
    archive = saved["argv"][3]
    assert saved["argv"][-1] == name and sif.read_text() == f"docker-archive:{archive}"
    assert build["variables"]["APPTAINER_TMPDIR"] == str(Path(archive).parent) and Path(archive).parent.parent == sif.parent
    assert [path for path in sif.parent.iterdir() if path.suffix != ".lock"] == [sif]  # the archive is gone
    assert fake_run("prepare", "csenv", ENGINE="apptainer", CUDA_VISIBLE_DEVICES="").returncode == 0 and len(fakes.calls("apptainer", "build")) == 1


def test_apptainer_takes_an_archive_that_lies_beside_its_file(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    sif = containers.sif_file(settings("apptainer", tmp_path), "csenv")
    sif.parent.mkdir()
    sif.with_suffix(".tar").write_text("from elsewhere")
    fakes.add("apptainer")
    assert fake_run("prepare", "csenv", ENGINE="apptainer", CUDA_VISIBLE_DEVICES="").returncode == 0
    assert sif.read_text() == f"docker-archive:{sif.with_suffix('.tar')}"


def test_apptainer_alone_says_how_its_image_comes_here(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    fakes.add("apptainer")
    done = fake_run("prepare", "csenv", ENGINE="apptainer", CUDA_VISIBLE_DEVICES="")
    archive = containers.sif_file(settings("apptainer", tmp_path), "csenv").with_suffix(".tar")
    assert done.returncode == 2 and f"-o {archive.name}" in done.stderr and str(archive.parent) in done.stderr and "make images" in done.stderr
