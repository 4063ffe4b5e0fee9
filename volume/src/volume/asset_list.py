"""The list of what can be fetched (assets.toml), and which of it a dataset definition needs.

A site with mirrors writes a list of its own in the same form: `python -m volume.assets --list mine.toml`.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from volume.definition_faults import named_models
from volume.errors import UsageError, suggest
from volume.settings import Definition, ModelSettings

LIST = Path(__file__).parent / "assets.toml"
PUNKT, SPACY, PROMPTS = "punkt", "en_core_web_sm", "public-prompts"
KINDS = ("hub", "file", "archive", "difference", "checkout", "own")

# A model's folder: settings, tokenizer, weights. Where there are safetensors, the pickled weights beside them are left out (volume.hub).
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin")
_GIB = 2**30


@dataclass(frozen=True)
class Known:
    """What a file must be: its size, and its SHA-256 or, of a small file of the hub, git's name of it; "" and None where not known."""

    size: int | None = None
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True)
class Asset:
    """One thing to fetch; the comments in assets.toml say more."""

    name: str
    kind: str
    dest: str  # below the data dir: a folder, or the file itself for kind `file`
    source: str = ""  # a hub id, or what it is, in words
    revision: str = ""  # "": the first fetch asks for it
    files: tuple[str, ...] = _MODEL_FILES  # patterns, for `hub`; a `*` does not cross a `/`
    addresses: tuple[str, ...] = ()  # for `file` and `archive`, tried in this order
    known: dict[str, Known] = field(default_factory=dict)  # by path below `dest`; of an archive itself under "archive"
    inside: str = ""  # folder of the archive that becomes `dest`
    begins: str = ""  # first characters of the file
    base: str = ""  # for `difference`: names of two assets
    difference: str = ""
    gib: float = 0.0  # about how large, where no sizes are known
    licence: str = ""
    gate: str = ""  # what must be accepted before the hub hands it out
    instead: str = ""  # what may be used in its place
    optional: bool = False  # a run goes on without it
    part: bool = False  # wanted only for what is built from it

    @property
    def about(self) -> int:
        """Its size in bytes, where nothing better is known."""
        return round(self.gib * _GIB)


def read_list(path: Path = LIST) -> dict[str, Asset]:
    """Return the assets of a list by name.

    Raises:
        UsageError: It cannot be read, or an entry has an unknown key, a wrong type or no kind; all faults are named.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this list of assets cannot be read: {error}") from error
    faults: list[str] = []
    listed = {name: asset for name, entry in raw.items() if (asset := _read(name, entry, faults)) is not None}
    for asset in listed.values():
        faults += [f"{asset.name}: {other!r} is not in the list" for other in (asset.base, asset.difference) if other and other not in listed]
    if faults:
        raise UsageError(f"{path.name} has {len(faults)} fault(s):\n  " + "\n  ".join(faults))
    return listed


def _read(name: str, entry: Any, faults: list[str]) -> Asset | None:
    before = len(faults)
    fields = {item.name: item for item in dataclasses.fields(Asset) if item.name not in ("name", "part")}
    if not isinstance(entry, dict):
        faults.append(f"{name}: expected a section")
        return None
    faults += [f"{name}.{key}: unknown key.{suggest(key, fields)}" for key in entry if key not in fields]
    faults += [f"{name}.{key}: missing" for key in ("kind", "dest") if not isinstance(entry.get(key), str)]
    values = {key: value for key, value in entry.items() if key in fields}
    for key in ("files", "addresses"):
        if key in values:
            faults += [f"{name}.{key}: expected a list of texts"] if not _is_texts(values[key]) else []
            values[key] = tuple(values[key])
    values["known"] = {}
    for path, known in entry.get("known", {}).items():
        if not isinstance(known, dict) or known.keys() - {"size", "sha256"} or not re.fullmatch(r"([0-9a-f]{64})?", str(known.get("sha256", ""))):
            faults.append(f"{name}.known.{path}: expected {{ size = bytes, sha256 = 64 hexadecimal digits }}")
            continue
        values["known"][path] = Known(**known)
    if len(faults) > before:
        return None
    if values["kind"] not in KINDS:
        faults.append(f"{name}.kind = {values['kind']!r}: unknown.{suggest(values['kind'], KINDS)}")
    if not is_below(values["dest"]):
        faults.append(f"{name}.dest = {values['dest']!r}: expected a path below the data dir")
    return Asset(name=name, **values) if len(faults) == before else None


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def is_below(path: str) -> bool:
    """Return whether a relative path stays below the folder that it is joined to."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts


def find_wanted(definition: Definition, listed: dict[str, Asset], every_model: bool = False) -> list[Asset]:
    """Return what a definition needs, in the order of fetching: what something is built from stands before it.

    Args:
        every_model: Also the models under [models] that nothing uses, or only the extra runs do.
    """
    wanted: dict[str, Asset] = {}
    if definition.pretrain is None:
        names = definition.models if every_model else dict.fromkeys(name for place, name in named_models(definition).items() if not _is_extra(definition, place))
        for name in names:
            asset = _of_model(name, definition.models[name], listed)
            wanted[asset.name] = asset
    if definition.world is None and definition.knowledge:
        path = definition.knowledge.path
        found = next((asset for asset in listed.values() if asset.kind == "file" and Path(asset.dest).name == Path(path).name), None)
        own = Asset("knowledge", "own", path, "a knowledge base of your own", instead="`python -m factscoring.build_knowledge` makes it of JSON lines {title, text}")
        wanted["knowledge"] = dataclasses.replace(found, dest=path) if found else own
    if definition.facts and definition.facts.backend == "llm" and PUNKT in listed:
        wanted[PUNKT] = listed[PUNKT]
    if definition.entities and definition.entities.enabled and definition.entities.backend == "spacy" and SPACY in listed:
        wanted[SPACY] = dataclasses.replace(listed[SPACY], dest=definition.entities.model)
    ordered: dict[str, Asset] = {}
    for asset in wanted.values():
        for part in (asset.base, asset.difference):
            if part:
                ordered[part] = next((other for other in wanted.values() if other.name == part), dataclasses.replace(listed[part], part=True))
        ordered[asset.name] = asset
    return list(ordered.values())


def _is_extra(definition: Definition, place: str) -> bool:
    """Return whether a model is named by a run that takes part only where it is asked for by name."""
    section, _, rest = place.partition(".")
    return section == "runs" and definition.runs[rest.rpartition(".")[0]].extra


def _of_model(name: str, model: ModelSettings, listed: dict[str, Asset]) -> Asset:
    """Return the asset that a model's folder is, if need be one that the list does not have."""
    found = next((asset for asset in listed.values() if asset.dest == model.path), None)
    found = found or next((asset for asset in listed.values() if asset.kind == "hub" and asset.source == model.source), None)
    if found is not None:
        known = found.known if model.revision in ("", found.revision) else {}
        return dataclasses.replace(found, dest=model.path, revision=model.revision or found.revision, known=known)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model.source):
        return Asset(name, "hub", model.path, model.source, model.revision, gib=model.gib, licence="see its page on the hub")
    return Asset(name, "own", model.path, model.source or "a model of your own", instead="put its Hugging Face folder (config, tokenizer, weights) there")
