"""What a dataset needs that no stage of this project can make: files, models, keys, backends.

Looked at before anything starts, so that a run does not stop in its third hour for want of a key.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from volume.paths import DatasetPaths
from volume.settings import Definition
from volume.steps import Step

API_KEY = "OPENAI_API_KEY"

# (section, backend) that the stages can do today. The others are named in the definitions of `bio` and `medqa`.
AVAILABLE = {
    ("responses", "transformers"), ("answers", "transformers"), ("facts", "grammar"), ("retrieval", "bm25"),
    ("verifier", "lexical"), ("questions", "grammar"), ("entities", "grammar"), ("equivalence", "words"),
}  # fmt: skip

_NEEDS_GPU = 2.0  # GiB of weights from which a model is hopeless on a CPU

# Which sections a stage works with.
_USES = {
    "data": ("responses",), "factscore": ("facts", "retrieval", "verifier"), "questions": ("questions",), "answers": ("answers",),
    "entities": ("entities",), "rewards": ("equivalence",), "train": (), "eval": ("facts", "retrieval", "verifier"), "report": (),
}  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """One thing that is missing: what it is, which stages want it, and how to get it."""

    what: str
    wanted_by: tuple[str, ...]
    remedy: str


def missing_requirements(definition: Definition, paths: DatasetPaths, data_dir: Path, steps: list[Step]) -> list[Requirement]:
    """Return what the given steps need and the volume or the machine lacks."""
    found: dict[str, Requirement] = {}

    def need(what: str, target: str, remedy: str) -> None:
        before = found.get(what)
        wanted = (*before.wanted_by, target) if before and target not in before.wanted_by else before.wanted_by if before else (target,)
        found[what] = Requirement(what, wanted, remedy)

    for step in steps:
        for section in _USES[step.target]:
            _need_backend(definition, section, step.target, need)
        if step.split and definition.world is None and not paths.questions(step.split).exists():
            name = paths.questions(step.split).relative_to(data_dir)
            need(f"questions file {name}", step.target, 'a list of {"topic", "topic_id", "questions"}; see the README, "Your own data"')
        if definition.pretrain is None and step.target in ("data", "answers", "entities", "train", "eval"):
            _need_models(definition, data_dir, step.target, need)
        if definition.world is None and definition.knowledge and step.target in ("factscore", "eval"):
            path = definition.knowledge.path
            if not (data_dir / path).exists():
                need(f"knowledge base {path} ({definition.knowledge.gib:g} GiB)", step.target, "FActScore's Wikipedia of 2023-04-01, or any SQLite file documents(title, text)")
    return list(found.values())


def _need_backend(definition: Definition, section: str, target: str, need) -> None:  # type: ignore[no-untyped-def]
    settings = getattr(definition, section)
    if settings is None or (section == "entities" and not settings.enabled):
        return
    backend = settings.backend
    if (section, backend) not in AVAILABLE:
        known = ", ".join(sorted(name for part, name in AVAILABLE if part == section))
        need(f"backend {section}.backend = '{backend}'", target, f"not available yet; available: {known}")
    if backend in ("llm", "openai") and not os.environ.get(API_KEY):
        need(f"environment variable {API_KEY}", target, "the key of the OpenAI-compatible service")
    if section == "verifier" and settings.npm:
        need("backend verifier.npm = true", target, "not available yet; set it to false")


def _need_models(definition: Definition, data_dir: Path, target: str, need) -> None:  # type: ignore[no-untyped-def]
    for name, model in definition.models.items():
        if not (data_dir / model.path / "config.json").exists():
            size = f", {model.gib:g} GiB" if model.gib else ""
            revision = f" at revision {model.revision}" if model.revision else ""
            need(f"model '{name}' in {model.path} ({model.source}{revision}{size})", target, "put its Hugging Face folder (config, tokenizer, weights) there")
    largest = max((model.gib for model in definition.models.values()), default=0.0)
    if largest >= _NEEDS_GPU and shutil.which("nvidia-smi") is None:
        need(f"an NVIDIA GPU: the largest model has {largest:g} GiB of weights", target, "a host where `nvidia-smi` answers; training needs several times the weights' memory")


def show_requirements(definition: Definition, missing: list[Requirement], file: TextIO | None = None) -> None:
    """Print what is missing, or that nothing is."""
    file = file or sys.stdout
    if not missing:
        print("Everything that this needs is here.", file=file)
        return
    print(f"Missing for '{definition.name}' ({len(missing)}):", file=file)
    for item in missing:
        print(f"  - {item.what}\n      for: {', '.join(item.wanted_by)}\n      remedy: {item.remedy}", file=file)
