"""Errors that end a command, with the exit status that each stands for.

VolumeError            1  something failed; what was computed before stays
├── UsageError         2  the command, a definition or a requirement is wrong; nothing was started
└── RecordError        1  a file on the volume does not hold what its format promises
ItemError              -  one topic failed; the stage records it and goes on (status 3 at its end)

Every message says what was given, what was expected and how to mend it.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable

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


def tell_errors(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; what ends it early becomes one message and a status of its own."""
    try:
        return command()
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted. What was finished is kept; run the same command again to go on.", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader has gone, as in `make provenance | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:  # a full disk shows wherever bytes are written; other failures of files are told the same way
        print(f"error: {error.strerror or error}: {error.filename or ''}. What was finished is kept; mend this and run again.", file=sys.stderr)
        return FAILED


def suggest(given: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for a near name, or the list of known ones."""
    names = sorted(set(known))
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(repr(name) for name in near) + "?"
    return " Known: " + ", ".join(names) + "." if names else ""
