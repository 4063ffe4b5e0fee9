"""What a table of the paper's would cost: GPU hours, calls, money and disk, counted from its recipes before anything is spent.

    python -m volume.paper_plan --table 2 --rows llama2 --data-dir data
    make plan TABLE=2

The steps are those that `make paper` would run, each once however many rows want it; the work in each follows from the
definition (topics, questions, responses, pairs) and from unit_costs.toml, whose assumptions are printed. Not counted:
embeddings of passages (under 1 % of the verifier's work) and stages without a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volume.choosing import choose_steps
from volume.errors import COMPLETE, UsageError, tell_errors
from volume.experiments import open_experiments
from volume.manifest import read_manifest
from volume.paper_choice import Wanted, World, add_choice_arguments, choose_rows
from volume.paper_costs import Costs, gpu_seconds, measured_rates, read_costs
from volume.paper_work import Sizes, Work, disk_of, size_of, work_of
from volume.step import Step
from volume.steps import STAGES, build_steps


@dataclass
class Cost:
    """What the steps of a stage cost on one dataset, all seeds together; ``usd`` is None where the definition has no prices."""

    steps: int = 0
    done: int = 0
    gpu_hours: float = 0.0
    calls: float = 0.0
    tokens: float = 0.0
    usd: float | None = 0.0

    def add(self, work: Work, gpu_hours: float, usd: float | None, done: bool) -> None:
        self.steps += 1
        self.done += done
        self.gpu_hours += gpu_hours
        self.calls += work.calls
        self.tokens += work.prompt_tokens + work.reply_tokens
        self.usd = None if usd is None or self.usd is None else self.usd + usd


def count(
    worlds: Mapping[tuple[str, int], World], steps: Mapping[str, Mapping[str, Step]], sizes: Mapping[str, Sizes], costs: Costs,
    rates: Mapping[tuple[str, str], float],
) -> dict[tuple[str, str], Cost]:
    """Return {(dataset, stage): cost}; a step that several rows want stands in ``steps`` once."""
    found: dict[tuple[str, str], Cost] = {}
    for world in worlds.values():
        definition = world.definition
        for step in steps[definition.name].values():
            work = work_of(step, definition, sizes[definition.name], costs)
            hours = sum(gpu_seconds(kind, model, tokens, definition, costs, rates) for (kind, model), tokens in work.tokens.items()) / 3600
            llm = definition.llm
            priced = llm.input_price or llm.output_price
            usd = (work.prompt_tokens * llm.input_price + work.reply_tokens * llm.output_price) / 1e6 if priced else 0.0 if not work.calls else None
            manifest = read_manifest(world.paths, step.id)
            done = manifest is not None and manifest["status"] == "complete"
            found.setdefault((world.dataset, step.target), Cost()).add(work, hours, usd, done)
    return found


def describe(costs: Mapping[tuple[str, str], Cost]) -> list[str]:
    """Return the table: one line per dataset and stage, and the sum."""
    total = Cost()
    for cost in costs.values():
        total = Cost(
            total.steps + cost.steps, total.done + cost.done, total.gpu_hours + cost.gpu_hours, total.calls + cost.calls, total.tokens + cost.tokens,
            None if total.usd is None or cost.usd is None else total.usd + cost.usd,
        )  # fmt: skip
    ordered = sorted(costs.items(), key=lambda entry: (entry[0][0], STAGES.index(entry[0][1])))
    rows: list[tuple[str, ...]] = [("dataset", "stage", "steps", "done", "GPU hours", "calls", "M tokens", "US dollars")]
    rows += [(dataset, stage, *_cells(cost)) for (dataset, stage), cost in ordered]
    rows.append(("together", "", *_cells(total)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    places = [str.ljust, str.ljust, *[str.rjust] * (len(widths) - 2)]
    aligned = [[place(cell, width) for cell, width, place in zip(row, widths, places, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in aligned]


def _cells(cost: Cost) -> tuple[str, ...]:
    money = "no prices" if cost.usd is None else f"{cost.usd:,.2f}" if cost.usd else "–"
    calls = (f"{cost.calls:,.0f}", f"{cost.tokens / 1e6:,.1f}") if cost.calls else ("–", "–")
    return (f"{cost.steps}", f"{cost.done}", f"{cost.gpu_hours:,.1f}" if cost.gpu_hours else "–", *calls, money)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.paper_plan", description=(__doc__ or "").splitlines()[0])
    add_choice_arguments(parser)
    parser.add_argument("--costs", type=Path, help="unit costs of your own, in the form of unit_costs.toml")
    given = parser.parse_args(argv)
    return tell_errors(lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    if given.table is None:
        raise UsageError("a plan of experiments needs TABLE, e.g. make plan TABLE=2. What a dataset alone would run: make plan DATASET=bio.")
    wanted = choose_rows(given, open_experiments())
    if not wanted.worlds:
        raise UsageError(f"TABLE={given.table} ROWS={given.rows}: {wanted.rows[0].cannot}: there is nothing to plan.")
    costs = read_costs(given.costs)
    data_dir = given.data_dir.resolve()
    columns = {place.dataset: place.column for row in wanted.rows for place in row.places}
    sizes, steps = {}, {}
    rates: dict[tuple[str, str], float] = {}
    for world in wanted.worlds.values():
        sizes[world.definition.name] = size_of(world, columns[world.dataset], costs, given.limit)
        steps[world.definition.name] = choose_steps(build_steps(world.definition, world.paths, data_dir), world.definition, "eval", ",".join(world.runs))
        rates |= measured_rates(data_dir, world.definition)
    print("\n".join([
        _title(wanted), "", *describe(count(wanted.worlds, steps, sizes, costs, rates)), "",
        *_disk(disk_of(wanted.worlds.values(), steps, sizes, costs)), "", *_sources(costs, rates), *_prices(wanted),
    ]))  # fmt: skip
    return COMPLETE


def _title(wanted: Wanted) -> str:
    datasets = ", ".join(dict.fromkeys(world.dataset for world in wanted.worlds.values()))
    seeds = ", ".join(map(str, wanted.seeds))
    return f"Table {wanted.table.number}, {len(wanted.rows)} rows on {datasets}, seeds {seeds}: each seed has its own responses and folder; what rows share counts once."


def _disk(disk: Mapping[str, float]) -> list[str]:
    parts = ", ".join(f"{what} {gib:,.0f}" for what, gib in disk.items() if gib >= 0.5)
    return [f"Disk: about {sum(disk.values()):,.0f} GiB ({parts}). Policies of a seed whose table is done may go."]


def _sources(costs: Costs, rates: Mapping[tuple[str, str], float]) -> list[str]:
    """Return where the numbers come from: rates of this volume, then every unit cost that was used."""
    lines = [f"  {kind} {model}: {rate:,.0f} tokens per second and card, measured by this volume's own manifests" for (kind, model), rate in sorted(rates.items())]
    return ["From (unit_costs.toml; --costs FILE takes others):", *lines, *(f"  {name} = {value:,g}: {source}" for name, (value, source) in costs.used.items())]


def _prices(wanted: Wanted) -> list[str]:
    """Return the prices by which money was counted, once for each dataset."""
    found = {world.dataset: world.definition.llm for world in wanted.worlds.values()}
    return [
        f"  {dataset}: [llm] input_price, output_price = {llm.input_price:g}, {llm.output_price:g} US dollars per million tokens: the definition's"
        for dataset, llm in found.items() if llm.input_price or llm.output_price
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
