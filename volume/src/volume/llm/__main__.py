"""`python -m volume.llm export STORE FILE`, `import STORE FILE`, `show STORE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from volume.errors import COMPLETE, VolumeError
from volume.llm.transfer import export_calls, import_calls, show_calls


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and do it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.llm", description="Recorded calls to a language-model service.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, said in (
        ("export", "write all calls as JSON lines, sorted by key; gzip for *.gz"),
        ("import", "add the calls of such a file or of another store; a reply in use stays, another one to the same request is kept beside it"),
    ):
        command = commands.add_parser(name, help=said, description=said)
        command.add_argument("store", type=Path, help="the store, e.g. llm_calls.sqlite")
        command.add_argument("file", type=Path, help="*.jsonl or *.jsonl.gz; to import also another store, *.sqlite")
    commands.add_parser("show", help="calls, tokens and US dollars by model and dataset").add_argument("store", type=Path)
    given = parser.parse_args(argv)
    try:
        if given.command == "export":
            print(f"exported {export_calls(given.store, given.file)} call(s)")
        elif given.command == "import":
            done = import_calls(given.store, given.file)
            print(f"imported {done.added} call(s), {done.there} were there already")
            if done.beside:
                print(f"{done.beside} other repl{'y' if done.beside == 1 else 'ies'} to requests that had one: yours stay in use, these are kept beside them")
        else:
            print(show_calls(given.store))
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return COMPLETE


if __name__ == "__main__":
    sys.exit(main())
