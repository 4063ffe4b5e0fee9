"""Runs `synth-portable` and compares every output with the checksums that are committed: `make verify`.

    python -m volume.verify --data-dir data
    python -m volume.verify --data-dir data --write      after a change that is meant to move the results

One line per step is committed, not one per file: 3,692 digests would be a file that nobody reads. A step's digest covers the
names and the bytes of all its outputs. `make checksums` has them one by one, for a comparison of two machines.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volume import pipeline
from volume.choosing import choose_steps
from volume.datasets import add_world_arguments, load_definition
from volume.errors import COMPLETE, FAILED, UsageError, VolumeError, tell_errors
from volume.files import sha256_bytes, sha256_file, write_text
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.settings import Definition
from volume.step import Step
from volume.steps import STAGES, build_steps

_COMMITTED = Path(__file__).parent / "datasets"
_SHOWN = 3  # steps named where a stage differs; those after the first follow from it


@dataclass(frozen=True)
class StepDigest:
    """What a step wrote: how many files, and one SHA-256 over their names and bytes."""

    digest: str
    files: int


def digest_files(hashes: Mapping[str, str]) -> StepDigest:
    """Return the digest of {file: SHA-256}: that of the lines which sha256sum would print, sorted by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return StepDigest(sha256_bytes(lines.encode()), len(hashes))


def format_digests(digests: Mapping[str, StepDigest]) -> str:
    """Return the text that is committed: a line per step."""
    return "".join(f"{one.digest}  {one.files:5}  {step}\n" for step, one in digests.items())


def parse_digests(text: str) -> dict[str, StepDigest]:
    """Return {step: digest} of a committed text."""
    rows = (line.split() for line in text.splitlines())
    return {step: StepDigest(digest, int(files)) for digest, files, step in rows}


def committed_file(definition: Definition, stack: str) -> Path:
    """Return where a dataset's checksums are committed; those of another stack are others."""
    return _COMMITTED / f"{definition.name}-{stack}.sha256"


def digest_steps(definition: Definition, paths: DatasetPaths, data_dir: Path) -> dict[str, StepDigest]:
    """Return {step: digest} of all steps of a dataset, every output hashed anew.

    Raises:
        VolumeError: A step has not run, or one of its outputs is missing.
    """
    found = {}
    for step in _steps(definition, paths, data_dir):
        manifest = read_manifest(paths, step)
        if manifest is None:
            raise VolumeError(f"step {step} has not run in {paths.root}. Run `make verify` without RUNS, REWARD and LIMIT.")
        absent = next((name for name in manifest["outputs"] if not (data_dir / name).is_file()), None)
        if absent is not None:
            raise VolumeError(f"{data_dir / absent} is missing, although {step} wrote it. Run the same command again.")
        found[step] = digest_files({name: sha256_file(data_dir / name) for name in manifest["outputs"]})
    return found


def _steps(definition: Definition, paths: DatasetPaths, data_dir: Path) -> dict[str, Step]:
    """Return what a demo runs: extra policies have no part in it."""
    return choose_steps(build_steps(definition, paths, data_dir), definition, "report")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0 where all is the same, 1 where something differs."""
    return tell_errors(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m volume.verify", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.set_defaults(dataset="synth-portable")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--gpus", type=int, default=1, help="1: the same bytes are promised for training in one process")
    parser.add_argument("--checksums", type=Path, help="the file to compare with; default: the one that is committed for the dataset and the stack")
    parser.add_argument("--write", action="store_true", help="write the checksums instead of comparing with them")
    given, for_pipeline = parser.parse_known_args(words)
    narrowed = [word for word in ("--limit", "--runs", "--reward") if word in for_pipeline]
    if narrowed or given.gpus != 1:
        raise UsageError(f"{', '.join(narrowed) or '--gpus'}: checksums are those of the whole dataset, trained in one process. Leave it out.")
    definition = load_definition(given.dataset, given.seed, given.scale)
    stack = os.environ.get("STACK") or "paper"
    committed = given.checksums or committed_file(definition, stack)
    if given.checksums is None and not committed.exists() and not given.write:
        there = ", ".join(sorted(path.stem for path in _COMMITTED.glob("*.sha256")))
        raise UsageError(f"no checksums of '{definition.name}' on the {stack} stack are committed, only of: {there}. Compare two machines by `make checksums`.")
    expected = {} if given.write else _read(committed)
    world = ["--dataset", given.dataset, *(["--seed", f"{given.seed}"] if given.seed is not None else []), *(["--scale", f"{given.scale}"] if given.scale else [])]
    status = pipeline.main(["demo", *world, "--data-dir", f"{given.data_dir}", *for_pipeline])
    if status != COMPLETE:
        return status
    data_dir = given.data_dir.resolve()
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    found = digest_steps(definition, paths, data_dir)
    if given.write:
        write_text(committed, format_digests(found))
        print(f"wrote {committed.name}: {len(found)} steps, {sum(one.files for one in found.values()):,} files.")
        return COMPLETE
    return _compare(found, expected, definition, paths, data_dir)


def _read(committed: Path) -> dict[str, StepDigest]:
    try:
        return parse_digests(committed.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{committed} holds no checksums of steps ({error}); expected lines of digest, number of files, step.") from error


def _compare(found: dict[str, StepDigest], expected: dict[str, StepDigest], definition: Definition, paths: DatasetPaths, data_dir: Path) -> int:
    steps = _steps(definition, paths, data_dir)
    files = sum(one.files for one in found.values())
    for stage in STAGES:
        own = [name for name, step in steps.items() if step.target == stage]
        wrong = [name for name in own if found[name] != expected.get(name)]
        said = "the same" if not wrong else f"{len(wrong)} of {len(own)} steps differ: {', '.join(wrong[:_SHOWN])}{', …' if len(wrong) > _SHOWN else ''}"
        if own:
            print(f"  {stage:10} {sum(found[name].files for name in own):6,} files  {said}")
    first = next((name for name in found if found[name] != expected.get(name)), None)
    if first is None and set(found) == set(expected):
        print(f"verified: all {files:,} files of '{definition.name}' are, byte for byte, those whose checksums are committed.")
        return COMPLETE
    print(f"'{definition.name}' differs, first in step {first}; what comes after may follow from that.", file=sys.stderr)
    print(_explain(first, paths), file=sys.stderr)
    return FAILED


def _explain(first: str | None, paths: DatasetPaths) -> str:
    """Return what may be the reason, and what to do."""
    if "avx2" not in _processor_flags():
        return "This processor has no AVX2: the results are as good, but other last bits are to be expected."
    manifest = read_manifest(paths, first) if first else None
    ran = manifest["environment"] if manifest else {}
    versions = ", ".join(f"{name} {version}" for name, version in ran.get("packages", {}).items())
    return (
        f"It ran on {ran.get('processor') or 'an unknown processor'} with {versions or 'no packages of note'}. If the code, the definition or a lock was "
        "changed, that is why. If not, please report it: `make checksums` here and on another machine shows which files."
    )


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


if __name__ == "__main__":
    raise SystemExit(main())
