"""Looks a dataset's topics up in its knowledge base, before anything is sampled; `make data CHECK=1`.

    python -m volume.check_data --dataset bio --data-dir data

It runs on the host, and the look-up itself in fsenv, whose reading of the knowledge base the scores will use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from volume.command import dataset_argument, place_definition
from volume.costs import ROOT
from volume.datasets import add_world_arguments, load_definition
from volume.errors import tell_errors


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 all are there, 3 some are missing, 2 there is nothing to look them up in."""
    parser = argparse.ArgumentParser(prog="python -m volume.check_data", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    given = parser.parse_args(argv)

    def run() -> int:
        place_definition(given.dataset, given.data_dir, load_definition(given.dataset, given.seed, given.scale))
        words = [word for flag in ("seed", "scale") if getattr(given, flag) is not None for word in (f"--{flag}", f"{getattr(given, flag)}")]
        command = ["python", "-m", "factscoring.check_topics", "--dataset", dataset_argument(given), "--data-dir", "@data", *words]
        environment = {**os.environ, "DATA": str(given.data_dir.resolve())}
        return subprocess.run([sys.executable, str(ROOT / "docker" / "engine.py"), "run", "fsenv", "--", *command], env=environment, check=False).returncode

    return tell_errors(run)


if __name__ == "__main__":
    raise SystemExit(main())
