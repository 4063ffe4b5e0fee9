"""Records the base image's digest: pulls the image by its name and writes the digest that the registry gave it to docker/base.txt.

    python3 docker/pin.py

A digest names the very bytes, while a tag such as bookworm-slim moves on every few weeks. Run again, it renews the digest; what is built
afterwards starts from there. Environment: ENGINE (docker or podman; auto), BASE_IMAGE (another image than the recorded one).
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from base_image import read_base, record_of  # noqa: E402
from building import find_base  # noqa: E402
from common import EngineError  # noqa: E402
from containers import works  # noqa: E402

_PULLING = ("docker", "podman")


def pin(root: Path, wanted: str) -> str:
    """Pull the base image and record its digest; return what is to be said.

    Raises:
        EngineError: No engine that pulls images works here, the image cannot be pulled, or it comes from no registry.
    """
    choices = [wanted] if wanted in _PULLING else list(_PULLING)
    engine = next((name for name in choices if works(name)), None)
    if engine is None:
        raise EngineError(f"the image is pulled by {' or '.join(choices)}, which does not work here. Start or install it.")
    before = read_base(root)
    base = replace(before, digest="")
    digest = find_base(engine, base, always_pull=True)
    if not digest:
        raise EngineError(f"{base} has no digest: it was made on this host and never came from a registry. Push it to one, and pin it under its name there.")
    pinned = replace(base, digest=digest)
    record_of(root).write_text(f"{pinned}\n")
    if pinned == before:
        return f"{pinned}: unchanged"
    was = before.digest or "no digest"
    return f"{pinned} (before: {was}). Recorded in docker/base.txt; commit that file. The next `make images` builds on it."


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        print(pin(Path(__file__).resolve().parent.parent, os.environ.get("ENGINE") or "auto"))
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
