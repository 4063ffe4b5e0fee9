"""Unit costs (unit_costs.toml): what a token, a call or a model costs, each with where that was measured or why it is assumed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volume.errors import UsageError
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.settings import Definition

UNIT_COSTS = Path(__file__).parent / "unit_costs.toml"
GIB = 2**30


@dataclass
class Costs:
    """The unit costs, and which of them were used."""

    raw: Mapping[str, Any]
    used: dict[str, tuple[float, str]] = field(default_factory=dict)

    def of(self, name: str) -> float:
        entry: Any = self.raw
        for part in name.split("."):
            entry = entry[part]
        value = float(entry["value"])
        self.used[name] = (value, f"measured: {entry['measured']}" if "measured" in entry else f"assumed: {entry['assumed']}")
        return value


def read_costs(path: Path | None = None) -> Costs:
    """Read the unit costs, with those of a file of one's own laid over them.

    Raises:
        UsageError: It cannot be read, or an entry lacks its value or where that comes from.
    """
    raw = tomllib.loads(UNIT_COSTS.read_text(encoding="utf-8"))
    if path is None:
        return Costs(raw)
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--costs {path}: {error}; expected a TOML file such as unit_costs.toml.") from error

    def lay(below: dict[str, Any], above: dict[str, Any], place: str) -> None:
        for key, value in above.items():
            name = f"{place}{key}"
            if key not in below:
                raise UsageError(f"{path}: {name}: no such unit cost. Known here: {', '.join(below)}.")
            if "value" not in below[key]:
                lay(below[key], value, f"{name}.")
            elif not isinstance(value, dict) or not isinstance(value.get("value"), (int, float)) or not {"measured", "assumed"} & value.keys():
                raise UsageError(f'{path}: {name}: expected {{ value = 1.0, measured = "where" }}, or assumed = "why".')
            else:
                below[key] = value

    lay(raw, own, "")
    return Costs(raw)


def gib_of(definition: Definition, model: str, costs: Costs) -> float:
    """Return the size of a model's weights, GiB; 0 where nobody knows it."""
    known = definition.models[model].gib
    return known or (costs.of(f"models.{model}") if model in costs.raw["models"] else 0.0)


def parameters_of(definition: Definition, model: str, costs: Costs) -> float:
    """Return a model's number of parameters, from the size of its weights."""
    return gib_of(definition, model, costs) * GIB / (4 if definition.models[model].dtype == "float32" else 2)


def gpu_seconds(kind: str, model: str, tokens: float, definition: Definition, costs: Costs, rates: Mapping[tuple[str, str], float]) -> float:
    """Return the time on one card: by a measured rate of tokens per second, else 2 calculations per parameter and token, 6 in training."""
    if (kind, model) in rates:
        return tokens / rates[kind, model]
    flops = (6 if kind == "train" else 2) * parameters_of(definition, model, costs) * tokens
    return flops / (costs.of("card.peak_tflops") * 1e12 * costs.of(f"card.{kind}_utilisation"))


def measured_rates(data_dir: Path, definition: Definition) -> dict[tuple[str, str], float]:
    """Return {("sample", model): tokens per second and card} of what has been sampled on this volume with the same models on a GPU."""
    sums: dict[tuple[str, str], tuple[float, float]] = {}
    for path in sorted(data_dir.glob("dataset_*/manifests/*.json")):
        manifest = read_manifest(DatasetPaths(path.parents[1]), path.stem)
        if manifest is None or manifest["command"][0] not in ("confscoring.responses", "confscoring.answers") or "--run" in manifest["command"]:
            continue
        cards = len(manifest["environment"].get("gpus", []))
        section = manifest["definition"].get(manifest["command"][0].rpartition(".")[2]) or {}
        model, tokens = section.get("model", ""), manifest["counts"].get("tokens", 0)
        own = definition.models.get(model)
        before = manifest["definition"]["models"].get(model, {})
        if own is None or not (cards and tokens and manifest["seconds"]) or (own.path, own.source) != (before.get("path"), before.get("source")):
            continue
        done, seconds = sums.get(("sample", model), (0.0, 0.0))
        sums["sample", model] = done + tokens, seconds + manifest["seconds"] * cards
    return {key: done / seconds for key, (done, seconds) in sums.items()}
