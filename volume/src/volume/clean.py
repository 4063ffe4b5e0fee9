"""Deletes the results of a dataset, when told so, and not while a run is writing them.

    python -m volume.clean --data-dir data --dataset synth
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from volume.datasets import add_world_arguments, load_definition
from volume.errors import COMPLETE, tell_errors
from volume.holding import hold_dataset


def main(argv: list[str] | None = None) -> int:
    """Ask, delete, say what was done; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.clean", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    given = parser.parse_args(argv)

    def clean() -> int:
        folder = given.data_dir.resolve() / f"dataset_{load_definition(given.dataset, given.seed, given.scale).name}"
        if not folder.is_dir():
            print(f"there is no {folder}")
            return COMPLETE
        print(f"Delete {folder}? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip() != "y":
            print("kept")
            return COMPLETE
        with hold_dataset(folder, "make clean", wait=False):
            shutil.rmtree(folder)
        print(f"deleted {folder}")
        return COMPLETE

    return tell_errors(clean)


if __name__ == "__main__":
    raise SystemExit(main())
