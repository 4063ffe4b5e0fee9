"""Prints the chain of any file back to its sources, and verifies it: what was made of what, by which code, where and when.

    python -m volume.provenance --file data/dataset_synth/rewards/rewards_train_288.json
    python -m volume.provenance --data-dir data --dataset synth          all outputs
    python -m volume.provenance --quick                                  trusts the hashes of files whose size and time are as they were

Exit status 0: every link holds; 1: the chain is broken; 2: no such file, or no results.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from volume.chain import MADE, Book, Problem, explain_fault, find_problems, trace
from volume.chain_text import count_words, describe_files, describe_problems, describe_sources, describe_steps
from volume.datasets import add_world_arguments, load_definition
from volume.errors import COMPLETE, FAILED, UsageError, tell_errors
from volume.files import FileHashes, sha256_file
from volume.paths import DatasetPaths


def read_book(paths: DatasetPaths) -> Book:
    """Read all manifests of a dataset.

    Raises:
        UsageError: There is none.
    """
    manifests: dict[str, dict[str, Any]] = {}
    broken: dict[str, str] = {}
    for path in sorted(paths.manifests.glob("*.json")):
        try:
            manifest = json.loads(path.read_bytes())
            fault = explain_fault(manifest)
        except ValueError as error:
            fault = f"it is no JSON ({error})"
        if fault is None:
            manifests[path.stem] = manifest
        else:
            broken[path.stem] = fault
    if not manifests and not broken:
        raise UsageError(f"{paths.root} holds no results. `make demo` or `make report DATASET=…` makes some; `make status` lists a volume's datasets.")
    return Book(paths.root.name, manifests, broken)


def hasher(data_dir: Path, hashes: FileHashes | None = None) -> Callable[[str], str | None]:
    """Return what hashes a file of the volume once: by ``hashes`` where they are given, else by reading it."""

    @lru_cache(maxsize=None)
    def of(name: str) -> str | None:
        path = data_dir / name
        if hashes is not None:
            return hashes.of(path)
        return sha256_file(path) if path.is_file() else None

    return of


def quick_hashes(paths: DatasetPaths) -> FileHashes:
    """Return the remembered hashes of a dataset's files."""
    return FileHashes(paths.manifests / ".hashes" / "provenance.json")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.provenance", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--file", default="", metavar="FILES",
                        help="files or folders, from here or from the volume, whose dataset is found by their path; default: all outputs of --dataset")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="trust remembered hashes of files whose size and time of change are as they were")
    given = parser.parse_args(argv)
    return tell_errors(lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    data_dir = Path(os.path.abspath(given.data_dir))
    wanted: dict[Path, list[str]] = {}
    if given.file:
        names = [given.file] if Path(given.file).exists() or (data_dir / given.file).exists() else shlex.split(given.file)
        for name in names:
            root, path = _locate(name, data_dir, given)
            wanted.setdefault(root, []).append(path)
    else:
        wanted[data_dir / f"dataset_{load_definition(given.dataset, given.seed, given.scale).name}"] = []
    return max([_show(DatasetPaths(root), files, given.quick) for root, files in wanted.items()])


def _show(paths: DatasetPaths, wanted: list[str], quick: bool) -> int:
    data_dir, book = paths.root.parent, read_book(paths)
    files = [path for name in wanted for path in _outputs_at(name, book, data_dir)] or [path for made in book.manifests.values() for path in made["outputs"]]
    chain = trace(book, files)
    hashes = quick_hashes(paths) if quick else None
    hash_of = hasher(data_dir, hashes)
    problems = [*find_problems(book, chain, hash_of), *([] if wanted else find_strays(book, paths))]
    if hashes is not None:
        hashes.save()
    print("\n".join([*describe_files(book, chain, hash_of), *describe_steps(book, chain), *describe_sources(book, chain)]))
    count = len({*chain.files, *(path for step in chain.steps for path in book.manifests[step]["depends_on"]["inputs"])})
    checked = f"{count_words(len(chain.steps), 'step')} and {count_words(count, 'file')}, {'looked up by size and time of change (--quick)' if quick else 'hashed anew'}"
    if not problems:
        print(f"verified: {checked}; every file is as its step wrote it and as the next step read it.")
        return COMPLETE
    print(f"broken: {count_words(len(problems), 'link')} of {checked}:")
    print("\n".join(describe_problems(problems)))
    print("`make plan` says what would run again, and why; a source that was replaced has to be put back, or what was made of it made anew.")
    return FAILED


def find_strays(book: Book, paths: DatasetPaths) -> list[Problem]:
    """Return the files that lie where steps write their results and that no manifest lists; training keeps files of its own below `runs`."""
    makers = book.makers()
    found = [path for name in MADE if name != "runs" for path in sorted((paths.root / name).rglob("*")) if path.is_file() and not path.name.startswith(".")]
    strays = [name for name in (str(path.relative_to(paths.root.parent)) for path in found) if name not in makers]
    return [Problem("made by nothing", name, "no manifest lists it: its step has not ended, or its manifest is gone") for name in strays]


def _locate(name: str, data_dir: Path, given: argparse.Namespace) -> tuple[Path, str]:
    """Return the dataset's folder that a file belongs to, and the file's path below the volume."""
    places = [Path(os.path.abspath(place)) for place in (Path(name), data_dir / name)]
    places.sort(key=lambda place: not place.exists())
    for place in places:
        for folder in (place, *place.parents):
            if folder.name.startswith("dataset_") and (folder / "manifests").is_dir():
                return folder, str(place.relative_to(folder.parent))
    root = data_dir / f"dataset_{load_definition(given.dataset, given.seed, given.scale).name}"
    inside = next((place for place in places if place.is_relative_to(data_dir)), None)
    if inside is None:
        raise UsageError(f"{name} lies neither in a dataset's folder with results nor on the volume {data_dir}. Give a path from here or from the volume's root.")
    return root, str(inside.relative_to(data_dir))


def _outputs_at(name: str, book: Book, data_dir: Path) -> list[str]:
    """Return the files that a path means: itself, or the outputs in a folder.

    Raises:
        UsageError: Neither a manifest nor the disk knows it.
    """
    known = {*book.makers(), *book.readers()}
    below = [path for path in book.makers() if PurePosixPath(name) in PurePosixPath(path).parents]
    if name in known or (data_dir / name).is_file() or below:
        return below or [name]
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    hint = " Did you mean " + " or ".join(near) + "?" if near else ""
    raise UsageError(f"{name}: there is no such file on {data_dir}, and no manifest names it.{hint} `make checksums` lists all {len(book.makers())} outputs.")


if __name__ == "__main__":
    sys.exit(main())
