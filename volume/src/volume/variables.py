"""The variables that can be given to make: checked before anything starts, and shown with where each one came from.

    python -m volume.variables 'DATASET=file=synth' 'ENGINE=command line=docker' --typed=ENGINE

The Makefile names its variables, says what each is for, and hands them on with make's own word for their origin.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, get_args

from volume.choosing import choose_runs, offer
from volume.datasets import known_datasets, load_definition
from volume.errors import COMPLETE, UsageError, suggest, tell_errors
from volume.requirements import API_KEY, COMPLETIONS_KEY, KEY_FILE
from volume.settings import Definition, Mode
from volume.steps import STAGES

ROOT = Path(__file__).resolve().parents[3]

CHOICES: dict[str, tuple[str, ...]] = {
    "ENGINE": ("auto", "docker", "podman", "apptainer", "venv"),
    "STACK": ("paper", "current"),
    "LLM_MODE": get_args(Mode),
    "WAIT": ("yes", "no"),
    "GOAL": (*STAGES, "demo"),
    "TABLE": ("2", "3", "4", "5", "6"),
    "CHECK": ("1",),
}

_NUMBERS: dict[str, tuple[Callable[[str], float], float | None, str]] = {  # how it is read, the least value, what is expected
    "SEED": (int, None, "a whole number"),
    "SCALE": (float, 0, "a number above 0"),
    "LIMIT": (int, 1, "a number of topics, 1 or more"),
    "JOBS": (int, 1, "a number of steps side by side, 1 or more"),
    "GPUS": (int, 1, "a number of processes, 1 or more"),
    "SEEDS": (int, 1, "a number of seeds, 1 or more"),
    "MAX_COST": (float, 0, "an amount of US dollars"),
}

_NEEDED = {"DATASET": "a dataset", "DATA": "a folder", "ENVS": "a folder"}

KEYS = (API_KEY, COMPLETIONS_KEY)

# Not the Makefile's, but handed on to the stages, whose devices, kernels and so bytes they decide: shown where they are set.
ALSO = ("CUDA_VISIBLE_DEVICES", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "WANDB_MODE")

# They concern one target each, none of them a stage.
_UNSHOWN = ("TABLE", "ROWS", "SEEDS", "CHECK", "CHECKOUT", "FILE", "BUNDLE", "WITHOUT", "ENV", "ARGS")

_ORIGINS = {"file": "default", "environment override": "environment", "override": "Makefile"}


@dataclass(frozen=True)
class Variable:
    """Attributes: value, what make makes of it; origin, in words: default, environment, command line, or local.mk."""

    value: str
    origin: str


def read_variables(words: Sequence[str]) -> dict[str, Variable]:
    """Return variables by name, from ``NAME=ORIGIN=VALUE``; what is empty stands for the default."""
    found: dict[str, Variable] = {}
    for word in words:
        name, origin, value = word.split("=", 2)
        found[name] = Variable(value, _ORIGINS.get(origin, origin) if value else "default")
    return found


def find_faults(variables: Mapping[str, Variable], typed: Sequence[str]) -> list[str]:
    """Return all that is wrong: names on the command line that are no variables, and values that no stage could use.

    Args:
        typed: The names of all variables on the command line.
    """
    faults = []
    for name in typed:
        if name in KEYS:
            faults.append(f"{name} on the command line can be read by everybody on this host. Set it in the environment, or name a file in {KEY_FILE}.")
        elif name not in {*variables, *ALSO, KEY_FILE}:
            faults.append(f"{name}: no such variable.{suggest(name, variables)}")
    values = {name: variable.value for name, variable in variables.items()}
    wrong = {name: fault for name, value in values.items() if (fault := _fault_of(name, value))}
    for name, fault in wrong.items():
        origin = variables[name].origin
        faults.append(f"{name}={values[name]}{f' ({origin})' if origin not in ('default', 'command line') else ''}: {fault}")
    if not {"DATASET", "SEED", "SCALE"} & wrong.keys():
        seed, scale = values.get("SEED"), values.get("SCALE")
        try:
            definition = load_definition(values.get("DATASET", "synth"), int(seed) if seed else None, float(scale) if scale else None)
            choose_runs(definition, values.get("RUNS", ""), values.get("REWARD", ""))
        except UsageError as error:
            faults.append(str(error))
    return faults


def _fault_of(name: str, value: str) -> str:
    """Return what is wrong with a value, "" if nothing is."""
    if not value:
        return f"expected {_NEEDED[name]}; leave it out for the default." if name in _NEEDED else ""
    if name in CHOICES and value not in CHOICES[name]:
        return f"no such choice.{offer(value, CHOICES[name])}"
    if name == "DATASET" and not value.endswith((".toml", ".csv")) and value not in known_datasets():
        return f"no such dataset.{offer(value, known_datasets())} Or give the path of a .toml file, or of a .csv with topics."
    if name in _NUMBERS:
        read, least, expected = _NUMBERS[name]
        try:
            number = read(value)
        except ValueError:
            return f"expected {expected}."
        if not math.isfinite(number) or (least is not None and not (number > least or (number == least and name != "SCALE"))):
            return f"expected {expected}."
    return ""


def show_variables(variables: Mapping[str, Variable], definition: Definition, data_dir: Path, jobs: int, file: TextIO | None = None) -> None:
    """Print every variable that matters with its value, resolved, and where it came from; of a key, only whether it is set."""
    if not variables:
        return
    resolved = {
        "DATA": f"{data_dir}",
        "JOBS": f"{jobs}",
        "GPUS": variables["GPUS"].value or "1",
        "SEED": f"{definition.seed}",
        "SCALE": f"{definition.world.scale:g}" if definition.world else "1",
        "LIMIT": variables["LIMIT"].value or "all topics",
        "RUNS": variables["RUNS"].value or f"all: {','.join(definition.runs)}",
        "REWARD": variables["REWARD"].value or "all",
        "LLM_MODE": variables["LLM_MODE"].value or "record",
        "MAX_COST": variables["MAX_COST"].value or "no limit",
        "ENGINE": _engine(variables["ENGINE"].value, data_dir),
        "ENVS": f"{Path(variables['ENVS'].value).resolve()}",
        "PYTHON": sys.executable,
    }
    rows = [(name, resolved.get(name, variable.value) or "not set", variable.origin) for name, variable in variables.items() if name not in _UNSHOWN]
    rows += [(name, os.environ[name], "environment") for name in ALSO if os.environ.get(name)]
    rows += [(name, "set", "environment") if os.environ.get(name) else (name, "not set", "default") for name in KEYS]
    rows += [(KEY_FILE, os.environ.get(KEY_FILE) or "not set", "environment" if os.environ.get(KEY_FILE) else "default")]
    width = max(len(name) for name, _, _ in rows)
    print("Variables, and where each came from:", file=file)
    for name, value, origin in rows:
        print(f"  {name:{width}}  {value}  ({origin})", file=file)


def _engine(wanted: str, data_dir: Path) -> str:
    """Return the engine, and what `auto` stands for on this host."""
    command = [sys.executable, str(ROOT / "docker" / "engine.py"), "which"]
    done = subprocess.run(command, env={**os.environ, "DATA": str(data_dir)}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"{wanted}, which does not work here: {done.stderr.strip().removeprefix('error: ')}"
    found = done.stdout.strip()
    return found if found == wanted else f"{wanted or 'auto'}, here {found}"


def main(argv: list[str] | None = None) -> int:
    """Check variables; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.variables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("variable", nargs="+", metavar="NAME=ORIGIN=VALUE", help="a variable of the Makefile, with make's word for where it came from")
    parser.add_argument("--typed", action="append", default=[], metavar="NAME", help="the name of a variable on the command line, known or not")
    given = parser.parse_args(argv)

    def check() -> int:
        faults = find_faults(read_variables(given.variable), given.typed)
        if faults:
            raise UsageError("\nerror: ".join(faults))
        return COMPLETE

    return tell_errors(check)


if __name__ == "__main__":
    raise SystemExit(main())
