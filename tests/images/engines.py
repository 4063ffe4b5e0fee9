"""A checkout's engine adapter, run as the Makefile runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docker"))

# A script's first line cannot hold a space, as an environment's path may: the interpreter behind it.
PLAIN_PYTHON = Path(sys.executable).resolve()

Engine = Callable[..., "subprocess.CompletedProcess[str]"]


def run_engine(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run docker/engine.py with the given environment variables beside the caller's."""
    command = [sys.executable, str(ROOT / "docker" / "engine.py"), *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
