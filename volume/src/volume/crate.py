"""Writes `ro-crate-metadata.json` into a dataset's folder: its results and where they come from, in a form that archives and tools read.

    python -m volume.crate --data-dir data --dataset synth

It is written for results whose chain of hashes holds. It has times and hardware in it, so it is no output of a stage and in no list
of checksums.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from volume.chain import find_problems, trace
from volume.chain_text import count_words, describe_problems
from volume.crate_graph import About, build_crate
from volume.datasets import add_world_arguments, load_definition
from volume.errors import COMPLETE, VolumeError, tell_errors
from volume.files import canonical_json, write_text
from volume.paths import DatasetPaths
from volume.provenance import hasher, quick_hashes, read_book

NAME = "ro-crate-metadata.json"

# A generated world is this project's own work; what was made of somebody's inputs and models is for them to say.
_OURS = ("https://spdx.org/licenses/Apache-2.0", "Apache License 2.0")
_UNSTATED = "Not stated. The terms of the inputs and of the models apply; whoever publishes these files says theirs (--license)."


def write_crate(paths: DatasetPaths, license: str = "", agent: str = "") -> Path:
    """Write the crate of a dataset's results; return its path.

    Args:
        license: URL of the licence, or a sentence; "": the project's own for a generated world, else that nothing is stated.
        agent: Who ran the steps, where that is to be told.

    Raises:
        UsageError: There are no results.
        VolumeError: The chain of hashes is broken, so that the crate would not tell the truth.
    """
    data_dir, book = paths.root.parent, read_book(paths)
    hashes = quick_hashes(paths)
    hash_of = hasher(data_dir, hashes)
    problems = find_problems(book, trace(book, book.makers()), hash_of)
    hashes.save()
    if problems:
        first = "\n".join(describe_problems(problems[:3]))
        raise VolumeError(
            f"the chain of {book.folder} is broken in {count_words(len(problems), 'place')}, so no crate was written:\n{first}\n"
            "`make provenance` lists all of them, `make report` makes anew what is stale; then `make crate` again."
        )
    generated = any(manifest["definition"].get("world") is not None for manifest in book.manifests.values())
    terms = (license, "") if license else _OURS if generated else (_UNSTATED, "")
    extra = [f"{book.folder}/{path.name}" for path in (paths.definition,) if path.exists()]
    crate = build_crate(book, hash_of, lambda name: (data_dir / name).stat().st_size, About(*terms, agent), extra)
    target = paths.root / NAME
    write_text(target, canonical_json(crate))
    return target


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.crate", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--license", default="", help="URL of the licence of the results, or a sentence on it")
    parser.add_argument("--agent", default="", help="who ran the steps; default: not recorded")
    given = parser.parse_args(argv)

    def run() -> int:
        definition = load_definition(given.dataset, given.seed, given.scale)
        target = write_crate(DatasetPaths(given.data_dir.resolve() / f"dataset_{definition.name}"), given.license, given.agent)
        print(f"{target}: RO-Crate 1.1, {target.stat().st_size / 1024:,.0f} KiB")
        return COMPLETE

    return tell_errors(run)


if __name__ == "__main__":
    sys.exit(main())
