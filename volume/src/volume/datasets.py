"""Reading a dataset definition: one TOML file, every fault reported at once.

    definition = load_definition("synth", seed=1)
    definition.responses.temperature

    python -m volume.datasets --dataset synth --seed 1        prints the name of its folder
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tomllib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from volume.definition_faults import find_faults
from volume.errors import COMPLETE, UsageError, suggest
from volume.settings import Definition, Mode

DATASETS = Path(__file__).parent / "datasets"


def known_datasets() -> list[str]:
    """Return the names of the datasets that come with the package."""
    return sorted(path.stem for path in DATASETS.glob("*.toml"))


def load_definition(dataset: str, seed: int | None = None, scale: float | None = None) -> Definition:
    """Read a dataset definition and check it whole.

    Args:
        dataset: A packaged name (`synth`, `bio`, …), the path of a TOML file, which may say `extends = "bio"` and hold only what differs, or
            of a CSV file with topics.
        seed: Replaces the definition's seed. Another seed or scale is another dataset: it gets a name, and so a folder, of its own.
        scale: Replaces the scale of a generated world.

    Raises:
        UsageError: Unknown name, unreadable file, unknown or missing keys, values of a wrong type (all of them listed).
    """
    own = dataset.endswith((".toml", ".csv"))
    path = Path(dataset) if own else DATASETS / f"{dataset}.toml"
    if not path.is_file():
        if own:
            raise UsageError(f"DATASET={dataset}: there is no such file.")
        raise UsageError(f"DATASET={dataset}: no such dataset.{suggest(dataset, known_datasets())} Or give the path of a .toml file, or of a .csv with topics.")
    try:
        text = path.read_text(encoding="utf-8-sig" if path.suffix == ".csv" else "utf-8")
        raw = _of_topics(path, text) if path.suffix == ".csv" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from error
    if "extends" in raw:
        raw = _extended(raw, path)
    raw.setdefault("name", path.stem)
    faults: list[str] = []
    definition = _read(Definition, raw, "", faults)
    if not faults:
        faults += find_faults(definition)
    if faults:
        raise UsageError(f"{path.name} has {len(faults)} fault(s):\n  " + "\n  ".join(faults))
    return _varied(definition, seed, scale)


def _of_topics(path: Path, text: str) -> dict[str, Any]:
    """Return the definition that a list of topics stands for: that of `medqa` where it says how topics are written in lower case, else of `bio`."""
    columns = [name.strip() for name in text.partition("\n")[0].split(",")]
    return {"extends": "medqa" if "lower_case" in columns else "bio", "name": path.stem, "topics": {"path": path.name}}


def _extended(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a definition laid over the packaged one that it extends: sections are merged key by key, anything else replaces."""
    base = raw["extends"]
    if base not in known_datasets() or base == path.stem:
        raise UsageError(f"{path.name}: extends = {base!r}: expected a dataset of this project.{suggest(str(base), known_datasets())}")

    def laid(below: Any, above: Any) -> Any:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return {key: laid(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}

    below = tomllib.loads((DATASETS / f"{base}.toml").read_text(encoding="utf-8"))
    if "extends" in below:
        raise UsageError(f"{path.name}: extends = {base!r}, which extends another itself. Extend {below['extends']!r}.")
    if "path" in raw.get("topics", {}) and "topics" in below:  # another list has other sizes
        below["topics"].pop("splits", None)
    return dict(laid(below, {key: value for key, value in raw.items() if key != "extends"}))


def _varied(definition: Definition, seed: int | None, scale: float | None) -> Definition:
    name = definition.name
    if scale is not None and (definition.world is None or scale <= 0):
        raise UsageError(f"SCALE={scale:g}: expected a number above 0, and a dataset with a generated world (`synth`).")
    if scale is not None and definition.world is not None and scale != definition.world.scale:
        definition = dataclasses.replace(definition, world=dataclasses.replace(definition.world, scale=scale))
        name += f"-scale{scale:g}"
    if seed is not None and seed != definition.seed:
        definition = dataclasses.replace(definition, seed=seed)
        name += f"-seed{seed}"
    return dataclasses.replace(definition, name=name)


def _read(shape: Any, raw: Any, place: str, faults: list[str]) -> Any:
    """Build ``shape`` from a TOML value, appending to ``faults`` instead of raising."""
    origin = typing.get_origin(shape)
    if origin is types.UnionType:
        return _read(next(option for option in typing.get_args(shape) if option is not type(None)), raw, place, faults)
    if dataclasses.is_dataclass(shape):
        return _read_section(shape, raw, place, faults)
    if origin is dict:
        if isinstance(raw, dict):
            return {key: _read(typing.get_args(shape)[1], part, f"{place}.{key}", faults) for key, part in raw.items()}
    elif origin is tuple:
        item = typing.get_args(shape)[0]
        if isinstance(raw, list) and all(isinstance(part, item) for part in raw):
            return tuple(raw)
    elif shape is float and isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    elif isinstance(raw, shape) and (shape is bool or not isinstance(raw, bool)):
        return raw
    faults.append(f"{place} = {raw!r}: expected {getattr(shape, '__name__', shape)}")
    return None


def _read_section(shape: Any, raw: Any, place: str, faults: list[str]) -> Any:
    if not isinstance(raw, dict):
        faults.append(f"{place} = {raw!r}: expected a section")
        return None
    fields = {field.name: field for field in dataclasses.fields(shape)}
    hints = typing.get_type_hints(shape)
    dotted = f"{place}." if place else ""
    for key in sorted(raw.keys() - fields.keys()):
        faults.append(f"{dotted}{key}: unknown key.{suggest(key, fields)}")
    values = {key: _read(hints[key], part, f"{dotted}{key}", faults) for key, part in raw.items() if key in fields}
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in raw:
            faults.append(f"{dotted}{key}: missing")
            values[key] = None
    return shape(**values)


def as_json(settings: Any) -> Any:
    """Return settings as plain JSON values (tuples become lists)."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: as_json(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, dict):
        return {key: as_json(value) for key, value in settings.items()}
    if isinstance(settings, tuple):
        return [as_json(value) for value in settings]
    return settings


def find_setting(definition: Definition, name: str) -> Any:
    """Return a section or a value by its dotted name, e.g. ``dpo`` or ``runs.factscore.reward``."""
    value: Any = definition
    for part in name.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def show_settings(definition: Definition, names: Iterable[str]) -> str:
    """Return settings in one readable line; of a section, what differs from its defaults (a manifest holds all of it)."""

    def shown(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} {shown(part)}" for key, part in value.items()) + "}"
        if not dataclasses.is_dataclass(value):
            return repr(list(value) if isinstance(value, tuple) else value)
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return "(" + ", ".join(f"{field.name}={shown(part)}" for field, part in fields if part != field.default) + ")"

    return " ".join(f"{name}{'' if shown(value)[:1] in '({' else '='}{shown(value)}" for name, value in ((name, find_setting(definition, name)) for name in names))


def main(argv: list[str] | None = None) -> int:
    """Print the name of a dataset's folder on the volume."""
    parser = argparse.ArgumentParser(prog="python -m volume.datasets", description="Print the name of a dataset's folder on the volume.")
    add_world_arguments(parser)
    given = parser.parse_args(argv)
    try:
        print(f"dataset_{load_definition(given.dataset, given.seed, given.scale).name}")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return COMPLETE


def add_world_arguments(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the arguments that say which dataset is meant; unless ``required``, `synth` is the default."""
    parser.add_argument("--dataset", default="synth", required=required, help=f"{', '.join(known_datasets())}, or the path of a .toml file, or of a .csv with topics")
    parser.add_argument("--seed", type=int, help="another seed: another world, in a folder of its own")
    parser.add_argument("--scale", type=float, help="a larger world and model, in a folder of its own")


def add_call_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how a language-model service may be asked."""
    parser.add_argument("--llm-mode", choices=get_args(Mode), default="record", 
                        help="record: use recorded replies and ask for the rest; replay: recorded ones only; refresh: ask anew")  # fmt: skip
    parser.add_argument("--max-cost", type=float, metavar="USD", help="stop before all calls for this dataset together cost more")


if __name__ == "__main__":
    raise SystemExit(main())
