"""Which rows of which table are meant, and on which datasets and seeds: what `make paper` and `make plan TABLE=2` have in common."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from volume.datasets import load_definition
from volume.errors import UsageError
from volume.experiments import Experiments, Row, Table, find_table, methods_table, pick_rows, pick_seeds, place_rows, runs_of
from volume.paths import DatasetPaths
from volume.settings import Definition


@dataclass(frozen=True)
class World:
    """A dataset with one seed, and the runs that rows want of it."""

    dataset: str
    seed: int
    runs: tuple[str, ...]
    definition: Definition
    paths: DatasetPaths

    def summary(self, run: str) -> Path:
        return self.paths.eval(run) / "summary.json"


@dataclass(frozen=True)
class Wanted:
    """What was asked for. Attributes: name, of the files that are written; worlds, by dataset and seed."""

    name: str
    table: Table
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]
    worlds: dict[tuple[str, int], World]


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which rows are meant, and where the volume is."""
    parser.add_argument("--table", type=int, help="2 to 6, the paper's tables of results; default: every method on one dataset")
    parser.add_argument("--rows", default="", help="comma-separated rows, groups of them, or how their names begin; default all")
    parser.add_argument("--dataset", default="", help="of a paper's table one column, or a definition of your own that extends it; else what the methods are run on")
    parser.add_argument("--scale", type=float, help="a larger world and model, in a folder of its own")
    parser.add_argument("--seeds", type=int, help="only the first N seeds; default three")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--limit", type=int, help="only the first N topics of each split")


def choose_rows(given: argparse.Namespace, experiments: Experiments) -> Wanted:
    """Return the rows that a command line asks for, and the datasets that they are run on.

    Raises:
        UsageError: A table, row, dataset or number of seeds that there is not.
    """
    left_out: tuple[str, ...] = ()
    if given.table is None:
        dataset = given.dataset or "synth"
        table, left_out = methods_table(experiments, dataset, given.scale)
        rows = pick_rows(table, given.rows)
        name = load_definition(dataset, scale=given.scale).name
    else:
        table = find_table(experiments, given.table)
        rows = place_rows(pick_rows(table, given.rows), given.dataset)
        name = f"table{table.number}"
    seeds = pick_seeds(table, given.seeds)
    data_dir = given.data_dir.resolve()
    worlds = {}
    for dataset, runs in runs_of(rows).items():
        for seed in seeds:
            definition = load_definition(dataset, seed, given.scale)
            unknown = [run for run in runs if run not in definition.runs]
            if unknown:
                raise UsageError(f"DATASET={dataset}: its definition has no run {unknown[0]}, which the rows want. Extend the dataset that has it.")
            worlds[dataset, seed] = World(dataset, seed, runs, definition, DatasetPaths(data_dir / f"dataset_{definition.name}"))
    return Wanted(name, table, rows, seeds, left_out, worlds)
