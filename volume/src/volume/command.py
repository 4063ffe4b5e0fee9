"""The command line by which the host runs a stage inside its environment."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from volume.settings import Definition
from volume.steps import Step, asks_service


def stage_command(step: Step, definition: Definition, given: argparse.Namespace, module: str = "") -> list[str]:
    """Return the command of a step; ``@data`` stands for the volume.

    Args:
        given: The pipeline's own command line.
        module: Another module that takes the stage's arguments, e.g. its estimate.
    """
    command = ["python", "-m", module or step.module, "--dataset", _dataset_argument(given), "--data-dir", "@data", *step.args]
    flags = ["seed", "scale", "limit", *(("llm_mode", "max_cost") if asks_service(step, definition) else ())]
    for flag in flags:
        if getattr(given, flag) is not None:
            command += [f"--{flag.replace('_', '-')}", f"{getattr(given, flag)}"]
    return command


def place_definition(given: argparse.Namespace) -> None:
    """Copy a user's own definition to the volume, where a container can read it."""
    if given.dataset.endswith(".toml"):
        target = given.data_dir / "definitions" / Path(given.dataset).name
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(given.dataset).resolve() != target.resolve():
            shutil.copyfile(given.dataset, target)


def _dataset_argument(given: argparse.Namespace) -> str:
    return f"@data/definitions/{Path(given.dataset).name}" if given.dataset.endswith(".toml") else str(given.dataset)
