"""Errors that end a command, with the exit status that each stands for.

VolumeError            1  something failed; what was computed before stays
├── UsageError         2  the command, a definition or a requirement is wrong; nothing was started
└── RecordError        1  a file on the volume does not hold what its format promises
ItemError              -  one topic failed; the stage records it and goes on (status 3 at its end)

Every message says what was given, what was expected and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

COMPLETE, FAILED, USAGE, PARTIAL = 0, 1, 2, 3


class VolumeError(Exception):
    """A failure that is shown to the user without a traceback."""

    status = FAILED


class UsageError(VolumeError):
    """The command cannot start: a wrong name, a missing file, key, package or device."""

    status = USAGE


class RecordError(VolumeError):
    """A file does not hold what its format promises."""


class ItemError(Exception):
    """One work item failed; its reason goes into the manifest and the table of failures."""


def suggest(given: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for a near name, or the list of known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(repr(name) for name in near) + "?"
    return " Known: " + ", ".join(names) + "." if names else ""
