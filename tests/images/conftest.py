"""An environment that is made of this Python alone, and engines that only write down their calls, for tests of the adapter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from engines import ROOT, Engine, run_engine
from fake_engine import FakeEngine


@pytest.fixture
def venv_engine(tmp_path: Path) -> Engine:
    """The venv engine with a finished environment "csenv": this interpreter, under the name that csenv's lock gives it."""
    from common import Settings
    from venvs import venv_folder

    settings = Settings("venv", "paper", ROOT, tmp_path / "a volume", tmp_path / "environments")
    folder = venv_folder(settings, "csenv")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / ".complete").write_text("")

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given = {"ENGINE": "venv", "STACK": "paper", "DATA": str(settings.data), "ENVS": str(settings.envs)}
        return run_engine(*arguments, **{**given, **variables})

    return run


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An empty PATH on which a test puts engines that only write down their calls."""
    made = FakeEngine(tmp_path / "fakes")
    monkeypatch.setenv("PATH", str(made.folder))
    for name in ("BASE_IMAGE", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def fake_run(fakes: FakeEngine, tmp_path: Path) -> Engine:
    """The adapter with its volume and its environments in the test's folder, which has spaces in its paths."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given = {"STACK": "paper", "DATA": str(tmp_path / "a volume"), "ENVS": str(tmp_path / "some envs")}
        return run_engine(*arguments, **{**given, **variables})

    return run
