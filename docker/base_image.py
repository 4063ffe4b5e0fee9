"""The image that ours are built on: one place records it, `make pin` writes its digest there, BASE_IMAGE stands in for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from common import EngineError

_NAME = r"[a-z0-9][A-Za-z0-9._:/-]*"
_DIGEST = r"sha256:[0-9a-f]{64}"


@dataclass(frozen=True)
class Base:
    """A base image. Attributes: name, with its tag; digest, "" where none is recorded."""

    name: str
    digest: str = ""

    @property
    def repository(self) -> str:
        """The name without its tag; a colon before the last slash is a port's."""
        folder, slash, last = self.name.rpartition("/")
        return folder + slash + last.partition(":")[0]

    @property
    def reference(self) -> str:
        """What an engine is asked for: by digest where there is one, and then without the tag, since not every engine takes both."""
        return f"{self.repository}@{self.digest}" if self.digest else self.name

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else self.name


def parse_base(text: str, place: str) -> Base:
    """Read NAME, NAME:TAG, NAME@sha256:… or NAME:TAG@sha256:….

    Args:
        place: Where the text stands, for the message.

    Raises:
        EngineError: It is none of these.
    """
    found = re.fullmatch(rf"({_NAME})(?:@({_DIGEST}))?", text.strip())
    if found is None:
        raise EngineError(f"{place}: {text.strip()!r} is no image; expected NAME:TAG or NAME:TAG@sha256:… with 64 hexadecimal digits.")
    return Base(found[1], found[2] or "")


def record_of(root: Path) -> Path:
    """Return the file that records the base image of a checkout."""
    return root / "docker" / "base.txt"


def read_base(root: Path) -> Base:
    """Return the base image to build on: BASE_IMAGE, else the recorded one.

    Raises:
        EngineError: What is written there names no image, or the record is missing.
    """
    given = os.environ.get("BASE_IMAGE")
    if given:
        return parse_base(given, "BASE_IMAGE")
    path = record_of(root)
    try:
        return parse_base(path.read_text(), str(path))
    except FileNotFoundError as error:
        raise EngineError(f"{path} is missing. It holds one line, the base image, such as debian:bookworm-slim; `make pin` adds its digest.") from error
