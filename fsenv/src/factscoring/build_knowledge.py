"""Builds a knowledge base in FActScore's SQLite format from JSON lines, streaming.

    python -m factscoring.build_knowledge --input pages.jsonl --output knowledge.db

Reads: one object per line, {"title": ..., "text": ...} or {"title": ..., "passages": [...]}; a text may be a list of sentences.
Writes: the SQLite file, atomically; equal rows give equal bytes. A build that was stopped goes on when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from factscoring.knowledge_file import build_from_lines
from volume.errors import VolumeError


def main(argv: list[str] | None = None) -> int:
    """Build the file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m factscoring.build_knowledge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--input", required=True, type=Path, help="JSON lines: title and text, or title and passages")
    parser.add_argument("--output", required=True, type=Path, help="the SQLite file to write")
    given = parser.parse_args(argv)
    try:
        count = build_from_lines(given.input, given.output, say)
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    print(f"{given.output}: {count} pages", file=sys.stderr)
    return 0


def say(line: str) -> None:
    """Show a line about the progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
