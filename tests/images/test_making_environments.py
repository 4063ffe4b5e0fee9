"""Making an environment where something is missing: one error with its remedy, and nothing half-made is ever used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import ROOT  # first: it puts docker/ on the path

import venvs  # isort: skip
from common import EngineError, Settings  # isort: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "environments").mkdir()
    return Settings("venv", "paper", ROOT, tmp_path / "volume", tmp_path / "environments")


def _same_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venvs, "_find_python", lambda: sys.executable)


def test_no_network_on_the_first_run_names_the_index_and_leaves_nothing_that_looks_finished(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EngineError, match="package index cannot be reached"):
        venvs.prepare_venv(settings, "fsenv")
    assert not venvs.venv_folder(settings, "fsenv").exists()
    assert not (settings.envs / ".uv" / ".complete").exists()


def test_a_half_made_environment_is_made_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _same_python(monkeypatch)
    folder = venvs.venv_folder(settings, "fsenv")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("half")
    commands: list[list[str]] = []

    def call(command: list[str], _settings: Settings, variables: dict[str, str] | None = None) -> None:
        commands.append(command)
        if "venv" in command:
            assert not folder.exists()
            (folder / "bin").mkdir(parents=True)

    monkeypatch.setattr(venvs, "_find_uv", lambda *_: Path("uv"))
    monkeypatch.setattr(venvs, "_call", call)
    venvs.prepare_venv(settings, "fsenv")
    assert (folder / ".complete").exists() and not (folder / "bin" / "python").exists()
    assert any("--require-hashes" in command for command in commands)
    count = len(commands)
    venvs.prepare_venv(settings, "fsenv")
    assert len(commands) == count  # whole: not made again


def test_a_full_disk_is_said_before_anything_is_downloaded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _same_python(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(EngineError, match=r"dpo needs 9 GiB in .*, 1\.0 are free.*ENVS"):
        venvs.prepare_venv(settings, "dpo")


def test_a_python_that_cannot_make_environments_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venvs, "_answers", lambda _python, code: "ensurepip" not in code)
    with pytest.raises(EngineError, match=r"apt-get install python3\.11-venv"):
        venvs._find_python()


def test_without_python_3_11_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venvs, "_answers", lambda *_: False)
    with pytest.raises(EngineError, match=r"Python 3\.11 is missing\. Debian 12: apt-get install"):
        venvs._find_python()


def test_the_makefile_says_so_too_where_there_is_no_python_at_all() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "plan", "PYTHON=/nonexistent/python"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Python 3.11 is missing" in done.stderr


def test_the_source_package_is_left_out_of_the_first_install_and_only_it(settings: Settings) -> None:
    lock = settings.lock("dpo").read_text()
    first = venvs._without(lock, "deepspeed")
    assert "\ndeepspeed==" in lock and "deepspeed==" not in first

    def names(text: str) -> set[str]:
        return {line.split("==")[0] for line in text.splitlines() if "==" in line and line[:1].isalpha()}

    assert names(lock) - names(first) == {"deepspeed"}
