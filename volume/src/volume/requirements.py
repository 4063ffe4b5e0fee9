"""What a dataset needs that no stage of this project can make: files, models, keys, backends.

Looked at before anything starts, so that a run does not stop in its third hour for want of a key.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from volume.datasets import named_models
from volume.paths import DatasetPaths
from volume.records import Topics, find_fault
from volume.settings import Definition
from volume.steps import Step

API_KEY = "OPENAI_API_KEY"

# (section, backend) that the stages can do today. The others are named in the definitions of `bio` and `medqa`.
AVAILABLE = {
    ("responses", "transformers"), ("answers", "transformers"), ("facts", "grammar"), ("retrieval", "bm25"),
    ("verifier", "lexical"), ("questions", "grammar"), ("entities", "grammar"), ("equivalence", "words"),
}  # fmt: skip

# What a stage loads besides: it trains, or samples from, the model that the responses come from.
_TRAINED = {"train": ("responses",), "eval": ("responses",), "entities": ("answers",)}

_NEEDS_GPU = 2.0  # GiB of weights from which a model is hopeless on a CPU

# Which sections a stage works with.
_USES = {
    "data": ("responses",), "factscore": ("facts", "retrieval", "verifier"), "questions": ("questions",), "answers": ("answers",),
    "entities": ("entities",), "rewards": ("equivalence",), "train": (), "eval": ("facts", "retrieval", "verifier"), "report": (),
}  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """One thing that is missing: what it is, which stages want it, and how to get it; ``built`` is False for what no stage can do yet."""

    what: str
    wanted_by: tuple[str, ...]
    remedy: str
    built: bool = True


class _Missing:
    """Collects requirements; one that several stages want is listed once."""

    def __init__(self) -> None:
        self.found: dict[str, Requirement] = {}

    def need(self, what: str, target: str, remedy: str, built: bool = True) -> None:
        before = self.found[what].wanted_by if what in self.found else ()
        self.found[what] = Requirement(what, before if target in before else (*before, target), remedy, built)


def missing_requirements(definition: Definition, paths: DatasetPaths, data_dir: Path, steps: list[Step]) -> list[Requirement]:
    """Return what the given steps need and the volume or the machine lacks."""
    missing = _Missing()
    for step in steps:
        fault = _fault_of_questions(paths.questions(step.split)) if step.split and definition.world is None else None
        if fault is not None and step.split:
            name = paths.questions(step.split).relative_to(data_dir)
            missing.need(f"questions file {name}{fault}", step.target, 'a list of {"topic", "topic_id", "questions"}; see the README, "Your own data"')
        if definition.pretrain is None:
            _need_models(missing, definition, data_dir, step.target)
        if definition.world is None and definition.knowledge and "facts" in _USES[step.target]:
            path, size = definition.knowledge.path, definition.knowledge.gib
            if not (data_dir / path).exists():
                missing.need(
                    f"knowledge base {path}" + (f" ({size:g} GiB)" if size else ""), step.target,
                    "FActScore's Wikipedia of 2023-04-01, or any SQLite file documents(title, text)",
                )  # fmt: skip
        for section in _USES[step.target]:
            _need_backend(missing, definition, section, step.target)
    return sorted(missing.found.values(), key=lambda item: not item.built)


def _fault_of_questions(path: Path) -> str | None:
    """Return what is wrong with a questions file that the user gives, "" where there is none at all; None if nothing is."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except ValueError as error:
        return f" is not valid JSON: {error}"
    fault = find_fault(value, Topics, "$")
    if fault:
        return f": {fault}"
    twice = [topic for topic, times in Counter(entry["topic"] for entry in value).items() if times > 1]
    return f": topic {twice[0]!r} comes twice" if twice else None


def _need_backend(missing: _Missing, definition: Definition, section: str, target: str) -> None:
    settings = getattr(definition, section)
    if settings is None or (section == "entities" and not settings.enabled):
        return
    backend = settings.backend
    if backend in ("llm", "openai") and not os.environ.get(API_KEY):
        missing.need(f"environment variable {API_KEY}", target, "the key of the OpenAI-compatible service")
    if (section, backend) not in AVAILABLE:
        known = ", ".join(sorted(name for part, name in AVAILABLE if part == section))
        missing.need(f"{section}.backend = '{backend}'", target, f"available: {known}", built=False)
    if section == "verifier" and settings.npm:
        missing.need("verifier.npm = true", target, "available: false", built=False)


def _need_models(missing: _Missing, definition: Definition, data_dir: Path, target: str) -> None:
    sections = (*_USES[target], *_TRAINED.get(target, ()))
    for name in dict.fromkeys(name for place, name in named_models(definition).items() if place.partition(".")[0] in sections):
        model = definition.models[name]
        if not (data_dir / model.path / "config.json").exists():
            size = f", {model.gib:g} GiB" if model.gib else ""
            revision = f" at revision {model.revision}" if model.revision else ""
            what = f"model '{name}' in {model.path}" + (f" ({model.source}{revision}{size})" if model.source else "")
            missing.need(what, target, "put its Hugging Face folder (config, tokenizer, weights) there")
        if model.gib >= _NEEDS_GPU and shutil.which("nvidia-smi") is None:
            missing.need(f"an NVIDIA GPU for models of {model.gib:g} GiB", target, "a host where `nvidia-smi` answers; training needs several times the weights' memory")


def show_requirements(definition: Definition, missing: list[Requirement], file: TextIO | None = None) -> None:
    """Print what is missing, or that nothing is: first what the user can mend, then what is not built yet."""
    file = file or sys.stdout
    if not missing:
        print("Everything that this needs is here.", file=file)
    for built, title in ((True, f"Missing for '{definition.name}'"), (False, f"Not available yet, but set in '{definition.name}'")):
        items = [item for item in missing if item.built == built]
        if items:
            print(f"{title} ({len(items)}):", file=file)
        for item in items:
            print(f"  - {item.what}\n      for: {', '.join(item.wanted_by)}\n      {'remedy: ' if built else ''}{item.remedy}", file=file)
