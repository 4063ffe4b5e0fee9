"""Checksums of every output of a dataset, from its manifests: two volumes with the same lines hold the same results.

    python -m volume.checksums --data-dir data --dataset synth > synth.sha256
    cd data && sha256sum -c ../synth.sha256
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from volume.datasets import add_world_arguments, load_definition
from volume.errors import RecordError, VolumeError
from volume.files import sha256_file
from volume.paths import DatasetPaths


def checksums(paths: DatasetPaths, data_dir: Path) -> dict[str, str]:
    """Return {path relative to the volume: SHA-256} of the outputs that the manifests name, hashed anew.

    Raises:
        VolumeError: There is no manifest, or an output is missing.
    """
    manifests = sorted(paths.manifests.glob("*.json"))
    if not manifests:
        raise VolumeError(f"{paths.root} holds no results. Run `make demo` first.")
    found: dict[str, str] = {}
    for manifest in manifests:
        try:
            outputs = list(json.loads(manifest.read_text(encoding="utf-8"))["outputs"])
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{manifest} is no manifest ({error}). Delete it and run `make demo` again.") from error
        for name in outputs:
            path = data_dir / name
            if not path.exists():
                raise VolumeError(f"{path} is missing, although {manifest.name} names it. Run the stage again.")
            found[name] = sha256_file(path)
    return dict(sorted(found.items()))


def main(argv: list[str] | None = None) -> int:
    """Print the checksums in sha256sum's form."""
    parser = argparse.ArgumentParser(prog="python -m volume.checksums", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    given = parser.parse_args(argv)
    try:
        definition = load_definition(given.dataset, given.seed, given.scale)
        found = checksums(DatasetPaths(given.data_dir / f"dataset_{definition.name}"), given.data_dir)
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    for name, digest in found.items():
        print(f"{digest}  {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
