"""The paper's tables as recipes (experiments.toml), and what the paper prints in them (published.csv).

    table = find_table(open_experiments(), 2)
    place_rows(pick_rows(table, "llama2"), "")      every row with the runs that stand for it
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volume.datasets import DATASETS, known_datasets, load_definition
from volume.errors import UsageError, suggest

EXPERIMENTS = Path(__file__).parent / "experiments.toml"
PUBLISHED = Path(__file__).parent / "published.csv"
COLUMNS = ("bio", "medqa")  # the paper's two datasets
METHODS = 0  # number of the table of methods, which the paper does not have
_TOLERANCE = 0.0015  # of a printed share: three digits, from counts of two


@dataclass(frozen=True)
class Place:
    """Where a row's figures in one column come from: a run of a dataset."""

    column: str
    dataset: str
    run: str
    reference: str  # the run that it is compared with; "" for none
    pinned: str  # the dataset that the recipe names


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: Its key, the same in published.csv.
        group: ROWS= takes it, too.
        base, method, reward, decoder: The recipe, for readers: the runs of the definitions are what is run.
        deviates: Notes (their keys) that make it another experiment than the paper's, whoever runs it.
        cannot: Why nobody can run it here; "" for all others.
    """

    name: str
    group: str
    label: str
    base: str = ""
    method: str = ""
    reward: str = ""
    decoder: str = ""
    places: tuple[Place, ...] = ()
    deviates: tuple[str, ...] = ()
    cannot: str = ""


@dataclass(frozen=True)
class Table:
    """Attributes: seeds, those that its rows are run with; control, the run whose preferences are random."""

    number: int
    title: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    control: str = ""


@dataclass(frozen=True)
class Experiments:
    tables: dict[int, Table]
    methods: dict[str, Any]
    seeds: tuple[int, ...]
    notes: dict[str, str]


@dataclass(frozen=True)
class Cell:
    """What the paper prints of one row on one dataset: facts per response, and the share of correct ones; Table 6 has the share alone."""

    correct: float | None
    incorrect: float | None
    share: float

    @property
    def average(self) -> str:
        """Return which average the share is: `micro` where the counts beside it give it, else `macro`, a mean of responses' own shares."""
        if self.correct is None or self.incorrect is None:
            return "micro"
        return "micro" if abs(self.correct / (self.correct + self.incorrect) - self.share) <= _TOLERANCE else "macro"


def open_experiments(path: Path = EXPERIMENTS) -> Experiments:
    """Read the recipes."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    seeds = tuple(raw["seeds"])
    tables = {
        int(number): Table(int(number), table["title"], tuple(_row(row, table["deviates"]) for row in table["rows"]), seeds)
        for number, table in raw["tables"].items()
    }  # fmt: skip
    return Experiments(tables, raw["synth"], seeds, raw["notes"])


def _row(raw: dict[str, Any], deviates: Sequence[str]) -> Row:
    places = tuple(Place(column, raw[column]["dataset"], raw[column]["run"], raw["reference"], raw[column]["dataset"]) for column in COLUMNS if column in raw)
    recipe = {name: raw.get(name, "") for name in ("base", "method", "reward", "decoder", "cannot")}
    # What holds for a whole table says nothing of figures that are not made here.
    notes = () if recipe["cannot"] else (*deviates, *raw.get("deviates", ()))
    return Row(raw["name"], raw["group"], raw["label"], places=places, deviates=notes, **recipe)


def find_table(experiments: Experiments, number: int) -> Table:
    """Return one of the paper's tables.

    Raises:
        UsageError: The paper's results are in others.
    """
    if number not in experiments.tables:
        known = ", ".join(f"{table.number} ({table.title})" for table in experiments.tables.values())
        raise UsageError(f"TABLE={number}: the paper's tables of results are {known}. Without TABLE: every method on one dataset.")
    return experiments.tables[number]


def methods_table(experiments: Experiments, dataset: str, scale: float | None = None) -> tuple[Table, tuple[str, ...]]:
    """Return the table of methods on a dataset, and the rows that its definition has no run for."""
    definition = load_definition(dataset, scale=scale)
    methods = experiments.methods
    reference = methods["reference"] if methods["reference"] in definition.runs else ""
    rows = [
        Row(run, "", definition.runs[run].label, places=(Place(definition.name, dataset, run, reference, ""),))
        for run in methods["rows"] if run in definition.runs
    ]  # fmt: skip
    if not rows:
        raise UsageError(f"DATASET={dataset}: none of its runs ({', '.join(definition.runs)}) is a method of this table: {', '.join(methods['rows'])}.")
    seeds = tuple(methods["seeds"]) if definition.world else experiments.seeds
    left_out = tuple(run for run in methods["rows"] if run not in definition.runs)
    return Table(METHODS, methods["title"], tuple(rows), seeds, methods["control"]), left_out


def pick_rows(table: Table, wanted: str) -> tuple[Row, ...]:
    """Return the rows that ROWS names: each by its name, its group, or how its name begins; all of them where it is empty.

    Raises:
        UsageError: A word of it names no row.
    """
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    found: set[str] = set()
    for word in words:
        exact = {row.name for row in table.rows if word in (row.name, row.group)}
        matching = exact or {row.name for row in table.rows if row.name.startswith(word)}
        if not matching:
            known = [name for row in table.rows for name in (row.name, row.group) if name]
            where = f"table {table.number}" if table.number else "the table of methods"
            hint = "" if table.number else " The paper's own tables come with TABLE=2 to 6."
            raise UsageError(f"ROWS={wanted}: no row '{word}' in {where}.{suggest(word, known)}{hint}")
        found |= matching
    return tuple(row for row in table.rows if not words or row.name in found)


def pick_seeds(table: Table, number: int | None) -> tuple[int, ...]:
    """Return the first ``number`` of a table's seeds, all of them for None.

    Raises:
        UsageError: It has not so many.
    """
    if number is None:
        return table.seeds
    if not 1 <= number <= len(table.seeds):
        raise UsageError(f"SEEDS={number}: expected 1 to {len(table.seeds)}, how many of the seeds {', '.join(map(str, table.seeds))} are run.")
    return table.seeds[:number]


def place_rows(rows: Iterable[Row], dataset: str) -> tuple[Row, ...]:
    """Return rows with the places that DATASET leaves: all of them where it is empty.

    A definition that extends a column's stands in its place, as one of a few people stands for `bio` while a setup is tried.

    Raises:
        UsageError: It is none of their datasets, and extends none.
    """
    rows = tuple(rows)
    if not dataset:
        return rows
    origin = origin_of(dataset)
    placed = []
    for row in rows:
        places = []
        for place in row.places:
            if dataset in (place.column, place.dataset):
                places.append(place)
            elif origin == place.dataset:
                places.append(replace(place, dataset=dataset))
        placed.append(replace(row, places=tuple(places)))
    if not any(row.places for row in placed):
        known = sorted({place.dataset for row in rows for place in row.places})
        raise UsageError(f"DATASET={dataset}: these rows are about {', '.join(known)}. Name one of them, or a definition of your own that extends one.")
    return tuple(placed)


def origin_of(dataset: str) -> str:
    """Return the packaged dataset that a definition extends, "" where it extends none.

    Raises:
        UsageError: There is no such definition, or it has faults.
    """
    load_definition(dataset)  # for its messages
    path = Path(dataset) if dataset.endswith((".toml", ".csv")) else DATASETS / f"{dataset}.toml"
    if path.suffix == ".csv":
        columns = path.read_text(encoding="utf-8-sig").partition("\n")[0].split(",")
        return "medqa" if "lower_case" in [name.strip() for name in columns] else "bio"
    origin = tomllib.loads(path.read_text(encoding="utf-8")).get("extends", "")
    assert origin in ("", *known_datasets())
    return str(origin)


def columns_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the columns of some rows, in order."""
    return tuple(dict.fromkeys(place.column for row in rows for place in row.places))


def runs_of(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Return {dataset: the runs to make of it}, those that others are compared with among them."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for place in row.places:
            found.setdefault(place.dataset, {}).update(dict.fromkeys(run for run in (place.reference, place.run) if run))
    return {dataset: tuple(runs) for dataset, runs in found.items()}


def read_published(path: Path = PUBLISHED) -> dict[tuple[int, str, str], Cell]:
    """Return {(table, row, column): what the paper prints there}."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (int(line["table"]), line["row"], line["dataset"]): Cell(_number(line["correct"]), _number(line["incorrect"]), float(line["percent"]))
            for line in csv.DictReader(file)
        }  # fmt: skip


def _number(text: str) -> float | None:
    return float(text) if text else None
