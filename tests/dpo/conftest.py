"""Fixtures of the trainer's tests: one thread, a toy world made once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
# The server that worker processes are forked from takes its modules from here.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from toy import make_world

    torch.set_num_threads(1)
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def start(world: Path) -> Path:
    """An untrained model of the toy world."""
    from toy import make_model

    return make_model(world)


@pytest.fixture(scope="session")
def runs(world: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that runs a training in processes of its own and returns its folder; equal calls share one run."""
    from toy import run_workers

    done: dict[tuple[Any, ...], Path] = {}

    def run(kind: str, *arguments: str, processes: int = 1) -> Path:
        key = (kind, arguments, processes)
        if key not in done:
            out = tmp_path_factory.mktemp(kind)
            begin = world / "tokenizer" if kind == "pretrain" else start
            assert run_workers(kind, str(world), str(begin), str(out), *arguments, processes=processes) == [0] * processes
            done[key] = out
        return done[key]

    return run
