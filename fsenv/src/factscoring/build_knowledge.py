"""Builds a knowledge base in FActScore's SQLite format from JSON lines, streaming.

    python -m factscoring.build_knowledge --input pages.jsonl --output knowledge.db

Reads: one object per line, {"title": ..., "text": ...} or {"title": ..., "passages": [...]}.
Writes: the SQLite file, atomically; equal rows give equal bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factscoring.knowledge import build_database
from volume.errors import UsageError, VolumeError


def read_pages(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file; empty lines are skipped.

    Raises:
        UsageError: There is no such file.
        VolumeError: A line is no JSON object; the message names the line.
    """
    if not path.is_file():
        raise UsageError(f"--input {path}: there is no such file; expected JSON lines with 'title' and 'text'.")
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise VolumeError(f"{path}, line {number} is not valid JSON: {error}") from error
                if not isinstance(row, dict):
                    raise VolumeError(f"{path}, line {number}: expected an object with 'title' and 'text', got {line.strip()[:60]}")
                yield row
        except UnicodeDecodeError as error:
            raise VolumeError(f"{path} is not UTF-8 text: {error}") from error


def main(argv: list[str] | None = None) -> int:
    """Build the file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m factscoring.build_knowledge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--input", required=True, type=Path, help="JSON lines: title and text, or title and passages")
    parser.add_argument("--output", required=True, type=Path, help="the SQLite file to write")
    given = parser.parse_args(argv)
    try:
        count = build_database(read_pages(given.input), given.output)
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    print(f"{given.output}: {count} pages", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
