"""What holds for every file of the project: no machine's paths, no registry, no key, modules of readable size, no import across packages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from engines import ROOT

PACKAGES = {"volume": "volume", "factscoring": "fsenv", "confscoring": "csenv", "dpo": "dpo"}
# Written in pieces, so that this file does not find itself.
FORBIDDEN = {
    "a package registry": r"(pypi\.|files\.python" + r"hosted|registry\.npm|deb\.debian\." + r"org|index\.docker)",
    "a path of a machine": r"(/ho" + r"me/[a-z]|/ro" + r"ot/|/wo" + r"rk/|/Us" + r"ers/)",
    "a key": r"\b(sk-" + r"[A-Za-z0-9]{20}|hf_" + r"[A-Za-z0-9]{20}|ghp_" + r"[A-Za-z0-9]{20})",
}


def tracked() -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_names(what: str) -> None:
    found = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", errors="ignore")
        found += [f"{name}: {match.group()}" for match in re.finditer(FORBIDDEN[what], text)]
    assert not found


def sources() -> list[str]:
    return [name for name in tracked() if name.endswith(".py")]


def test_modules_are_short_enough_to_read() -> None:
    assert not [name for name in sources() if len((ROOT / name).read_text().splitlines()) > 350]


def test_no_except_catches_everything_silently() -> None:
    broad = []
    for name in sources():
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or getattr(node.type, "id", "") == "BaseException"):
                broad.append(f"{name}:{node.lineno}")
    assert not broad


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_meet_only_in_files(package: str) -> None:
    """`volume` imports the standard library alone, but for the module that asks a service; the other three import `volume` but never each other."""
    folder = f"{PACKAGES[package]}/src/"
    wrong = []
    for name in (name for name in sources() if name.startswith(folder)):
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in (module.split(".")[0] for module in modules):
                if module in PACKAGES and module not in ("volume", package):
                    wrong.append(f"{name} imports {module}")
                if package == "volume" and module not in sys.stdlib_module_names | {"volume"} and name != "volume/src/volume/llm/service.py":
                    wrong.append(f"{name} imports {module}")
    assert not wrong


def test_the_changelog_and_the_licence_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert (ROOT / "CHANGELOG.md").read_text().startswith("# ")
