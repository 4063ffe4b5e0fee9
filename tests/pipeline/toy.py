"""The toy world through the real pipeline, with the host's Python and virtual environments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests" / "fixtures" / "toy.toml"


def environment() -> dict[str, str]:
    """Return the caller's variables and those that choose the engine."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "volume" / "src"), "ENGINE": "venv", "STACK": "paper"}


def command(goal: str, volume: Path, *extra: str, dataset: Path = TOY) -> list[str]:
    """Return the pipeline's command."""
    return [sys.executable, "-m", "volume.pipeline", goal, "--dataset", str(dataset), "--data-dir", str(volume), *extra]


def run(goal: str, volume: Path, *extra: str, dataset: Path = TOY, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline to its end."""
    return subprocess.run(command(goal, volume, *extra, dataset=dataset), env={**environment(), **more}, capture_output=True, text=True, check=False)


def checksums(volume: Path) -> str:
    """Return the checksums of every output."""
    done = subprocess.run(
        [sys.executable, "-m", "volume.checksums", "--dataset", str(TOY), "--data-dir", str(volume)],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
