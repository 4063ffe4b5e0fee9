"""An environment that is made of this Python alone, for tests of the adapter that need no package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from engines import ROOT, Engine, run_engine


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
