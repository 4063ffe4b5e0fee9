"""`make pin` against a real registry on this host's loopback address, where docker and Debian's docker-registry are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import ROOT  # first: it puts docker/ on the path

import containers  # isort: skip

pytestmark = pytest.mark.skipif(shutil.which("docker-registry") is None or not containers.works("docker"), reason="no docker-registry or no Docker daemon")


def docker(*arguments: str, **options: str) -> str:
    done = subprocess.run(["docker", *arguments], env={**os.environ, **options}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry that serves until the test ends; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{tmp_path}/store'}}}}\nhttp: {{addr: '{address}'}}\n")
    with (tmp_path / "registry.log").open("w") as log, subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log) as process:
        try:
            for _ in range(200):
                with socket.socket() as asking:
                    host, port = address.split(":")
                    if asking.connect_ex((host, int(port))) == 0:
                        break
                time.sleep(0.05)
            yield address
        finally:
            process.terminate()


def push(name: str, text: str, folder: Path) -> None:
    """Push an image that holds one file."""
    (folder / "file").write_text(text)
    with tarfile.open(folder / "image.tar", "w") as archive:
        archive.add(folder / "file", "file")
    docker("import", str(folder / "image.tar"), name)
    docker("push", name)
    docker("rmi", "--force", name)


def test_a_pinned_build_starts_from_the_recorded_bytes_after_the_tag_has_moved_on(registry: str, tmp_path: Path) -> None:
    name, built = f"{registry}/facttune-test:tag", f"facttune-pin-test:{os.getpid()}"
    shutil.copytree(ROOT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "volume", tmp_path / "volume", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    record = tmp_path / "docker" / "base.txt"
    record.write_text(f"{name}\n")

    def pin() -> str:
        environment = {**os.environ, "ENGINE": "docker", "BASE_IMAGE": "", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, str(tmp_path / "docker" / "pin.py")], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return record.read_text().strip()

    try:
        push(name, "first", tmp_path)
        first = pin()
        assert first.startswith(f"{name}@sha256:")
        push(name, "second", tmp_path)
        (tmp_path / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY docker/base.txt /base.txt\n")
        reference = first.replace(":tag@", "@")  # what build_command hands over
        docker("build", "--build-arg", f"BASE_IMAGE={reference}", "--tag", built, str(tmp_path), DOCKER_BUILDKIT="0")
        holder = docker("create", built, "nothing")
        docker("cp", f"{holder}:/file", str(tmp_path / "got"))
        docker("rm", holder)
        assert (tmp_path / "got").read_text() == "first"
        assert pin() != first  # and asked again, it is the tag's image of today
    finally:
        left = docker("images", "--quiet", name.removesuffix(":tag")).split()
        subprocess.run(["docker", "rmi", "--force", built, *left], capture_output=True, check=False)
