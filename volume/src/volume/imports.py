"""Imports that cost seconds, and how to do without them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Keep spaCy from importing torch, which it does wherever it is installed: its usual models need none, and a stage starts in half the time."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # the import system's own mark for "not to be imported"
    try:
        yield
    finally:
        del sys.modules["torch"]
