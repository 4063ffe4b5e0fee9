"""The four packages install, and what is installed is what the checkout runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from engines import ROOT

PACKAGES = {"volume": "volume", "fsenv": "factscoring", "csenv": "confscoring", "dpo": "dpo"}


@pytest.mark.parametrize("folder", PACKAGES)
def test_a_package_installs_whole_with_its_dataset_definitions(folder: str, tmp_path: Path) -> None:
    source = shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))  # a build leaves files beside its sources
    uv = Path(sys.executable).parents[2] / ".uv" / "bin" / "uv"  # what the adapter makes the environments with
    command = [uv, "pip", "install", "--quiet", "--offline", "--no-config", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    done = subprocess.run([*command, "--target", str(tmp_path / "site"), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    installed, own = tmp_path / "site" / PACKAGES[folder], ROOT / folder / "src" / PACKAGES[folder]

    def names(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.suffix in (".py", ".toml")}

    assert names(installed) == names(own)


@pytest.mark.parametrize("folder", [name for name in PACKAGES if name != "volume"])
def test_volume_is_a_path_dependency(folder: str) -> None:
    content = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    assert "facttune-volume" in content["project"]["dependencies"]
    assert content["tool"]["uv"]["sources"]["facttune-volume"] == {"path": "../volume"}
