"""Engines that only write down how they were called, so that command lines are tested where no engine is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engines import PLAIN_PYTHON

# Answers `info` with what it was made with, knows the images of a file, builds and pulls by writing into it, and runs with status 7.
PROGRAM = """#!{python}
import json, os, pathlib, sys
name, (first, *rest) = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
home = pathlib.Path({home!r})
given = sys.stdin.read() if "--interactive" in rest else ""
mine = {{key: value for key, value in os.environ.items() if key.startswith("APPTAINER")}}
with open(home / "calls.jsonl", "a") as file:
    file.write(json.dumps({{"argv": sys.argv, "name": name, "stdin": given, "variables": mine}}) + "\\n")
images = home / "images.json"
known = json.loads(images.read_text())
def learn(image, **fields):
    images.write_text(json.dumps({{**known, image: {{"id": "sha256:1234", "digests": "[]", "base": "", **fields}}}}))
if first in ("info", "--version"):
    print({info!r})
elif first == "image":
    if rest[-1] not in known:
        sys.exit(1)
    kind = "digests" if "RepoDigests" in rest[2] else "base" if "Labels" in rest[2] else "id"
    print(known[rest[-1]][kind])
elif first == "pull":
    if {pulls!r} is None:
        sys.exit("no route to the registry")
    learn(rest[0], digests={pulls!r})
elif first == "build" and name == "apptainer":
    pathlib.Path(rest[-2]).write_text(rest[-1])
elif first == "build":
    learn(rest[rest.index("--tag") + 1], base=next(word for word in rest if word.startswith("BASE_NAME=")).partition("=")[2])
elif first == "save":
    pathlib.Path(rest[1]).write_text(rest[2])
elif first == "ps":
    print({listed!r})
elif first in ("run", "exec"):
    sys.exit(7)
"""


class FakeEngine:
    """Attributes: folder, what PATH is to be; a program in it is not found elsewhere, so that no engine of the host is asked."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "bin"
        self.folder.mkdir(parents=True)
        (home / "images.json").write_text("{}")

    def add(self, name: str, info: str = "[]", pulls: str | None = None, listed: str = "") -> FakeEngine:
        """Install one. Args: info, what it says of itself; pulls, the digests of what it pulls, None: it cannot; listed, its containers."""
        self.program(name, PROGRAM.format(python=PLAIN_PYTHON, home=str(self.home), info=info, pulls=pulls, listed=listed))
        return self

    def program(self, name: str, text: str) -> None:
        """Install any program."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def has(self, image: str, **fields: str) -> None:
        """Let the engines know an image: its digests, the base of its label."""
        known = json.loads((self.home / "images.json").read_text())
        known[image] = {"id": "sha256:1234", "digests": "[]", "base": "", **fields}
        (self.home / "images.json").write_text(json.dumps(known))

    def calls(self, name: str, first: str) -> list[dict[str, Any]]:
        """Return the calls of an engine that began with a word."""
        path = self.home / "calls.jsonl"
        told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in told if call["name"] == name and call["argv"][1] == first]


def options(call: dict[str, Any]) -> set[tuple[str, str]]:
    """Return all pairs of words that stand beside each other in a call."""
    words = call["argv"]
    return set(zip(words, words[1:], strict=False))
