"""What is pinned, and that any builder can build it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from engines import ROOT

LOCKS = sorted(ROOT.glob("*/locks/*.txt"))
PROMISED = {
    ("fsenv", "paper"): {"torch": "1.13.1", "transformers": "4.38.1"},
    ("csenv", "paper"): {"torch": "2.0.1", "transformers": "4.29.2"},
    ("dpo", "paper"): {"torch": "2.8.0", "deepspeed": "0.19.8"},
    ("fsenv", "current"): {"torch": "2.8.0"},
    ("csenv", "current"): {"torch": "2.8.0"},
    ("dpo", "current"): {"torch": "2.8.0", "deepspeed": "0.19.8"},
}


def pins(lock: Path) -> dict[str, str]:
    """Return {package: version}."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", lock.read_text(), flags=re.M))


def test_every_environment_has_a_lock_for_both_stacks() -> None:
    assert {(path.parts[-3], path.stem) for path in LOCKS} >= set(PROMISED)


@pytest.mark.parametrize("lock", [*LOCKS, ROOT / "docker" / "uv.txt", ROOT / "tests" / "bench" / "trl.txt"], ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_package_of_a_lock_is_pinned_and_hashed_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert entries
    for entry in entries:
        assert re.match(r"^[a-z0-9._\[\],-]+==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text and "--index" not in text and "--find-links" not in text


@pytest.mark.parametrize(("env", "stack"), sorted(PROMISED))
def test_a_lock_pins_the_versions_that_the_readme_promises(env: str, stack: str) -> None:
    found = pins(ROOT / env / "locks" / f"{stack}.txt")
    for package, version in PROMISED[env, stack].items():
        assert found[package] == version
    if env == "dpo" or stack == "current":
        assert found["transformers"].startswith("5.")


@pytest.mark.parametrize("env", ["fsenv", "csenv", "dpo"])
def test_a_dockerfile_uses_plain_copy_and_run_and_its_base_can_be_replaced(env: str) -> None:
    text = (ROOT / "docker" / f"{env}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[:2] == ["ARG BASE_IMAGE=debian:bookworm-slim", "FROM ${BASE_IMAGE}"]
    assert not re.search(r"--mount|--link|--chmod|<<|^# *syntax", text, flags=re.M)  # what only BuildKit reads
    assert "ADD " not in text and "curl" not in text and "index-url" not in text


def test_the_three_dockerfiles_differ_in_the_name_of_their_environment_alone() -> None:
    texts = {env: (ROOT / "docker" / f"{env}.Dockerfile").read_text() for env in ("fsenv", "csenv", "dpo")}
    assert len({text.replace(env, "ENV") for env, text in texts.items()}) == 1
