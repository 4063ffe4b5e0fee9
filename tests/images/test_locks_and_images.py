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


DOCKERFILES = {env: (ROOT / "docker" / f"{env}.Dockerfile").read_text() for env in ("fsenv", "csenv", "dpo")}


def instructions(text: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions with what follows them, continued lines joined."""
    lines = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines.splitlines() if line.strip()]


@pytest.mark.parametrize("env", DOCKERFILES)
def test_any_builder_can_build_a_dockerfile_on_any_base(env: str) -> None:
    read = instructions(DOCKERFILES[env])
    assert read[:2] == [("ARG", "BASE_IMAGE=debian:bookworm-slim"), ("FROM", "${BASE_IMAGE}")]
    assert {name for name, _ in read} <= {"ARG", "FROM", "RUN", "COPY", "ENV", "LABEL", "WORKDIR"}  # one stage, no ADD, no ONBUILD, no user
    for name, rest in read:
        assert not (name in ("RUN", "COPY", "FROM") and rest.startswith("--")) and "<<" not in rest  # what only BuildKit reads
    assert not re.search("^# *(syntax|escape|check) *=", DOCKERFILES[env], flags=re.M)
    assert "curl" not in DOCKERFILES[env] and "wget" not in DOCKERFILES[env] and "index-url" not in DOCKERFILES[env]


def test_the_three_dockerfiles_differ_in_the_name_of_their_environment_alone() -> None:
    assert {env: text.replace(f"ARG ENVIRONMENT={env}\n", "ARG ENVIRONMENT=\n") for env, text in DOCKERFILES.items()} == dict.fromkeys(
        DOCKERFILES, DOCKERFILES["dpo"].replace("ARG ENVIRONMENT=dpo\n", "ARG ENVIRONMENT=\n")
    )


def test_our_code_and_what_changes_with_every_commit_come_after_the_packages() -> None:
    read = instructions(DOCKERFILES["dpo"])
    packages = read.index(("RUN", "sh /tmp/install.sh /opt/facttune /tmp/lock.txt /tmp/uv.txt"))
    for place, (name, rest) in enumerate(read):
        if "/src" in rest or rest.startswith(("GIT_COMMIT", "LOCK_SHA256")):
            assert place > packages, (name, rest)


def test_everything_that_installs_python_packages_requires_their_hashes() -> None:
    """pip and uv, in images, environments and the scripts that make either; `pip compile` writes hashes, it installs nothing."""
    files = [*(ROOT / "docker").glob("*.sh"), ROOT / "docker" / "venvs.py", *(ROOT / "docker").glob("*.Dockerfile")]
    found = 0
    for path in files:
        for line in path.read_text().replace("\\\n", " ").splitlines():
            if re.search(r"pip\W+install\b", line) and not line.strip().startswith(("#", '"""')):
                found += 1
                assert "--require-hashes" in line or "uv.in" in line, f"{path.name}: {line}"  # uv.in: the very first lock has no hashes to require
    assert found >= 5
    install = (ROOT / "docker" / "install.sh").read_text()
    assert "--no-deps" in install and "--only-binary :all:" in install  # nothing beside the lock, and no code of a package runs
