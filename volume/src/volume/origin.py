"""Which models, services and prompts a step used, read from what its manifest says anyway, so that no stage has to tell it twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from volume.files import sha256_bytes, sha256_value
from volume.paths import DatasetPaths
from volume.settings import Definition
from volume.step import Step
from volume.steps import asks_service

# Whose model a stage asks a service for. The settings of some stages hold further sections, of which they only read how their input was made.
_ASKS_FOR = {
    "factscoring.factscore": ("facts", "verifier"), "factscoring.rejudge": ("judges.",), "confscoring.responses": ("responses",),
    "confscoring.questions": ("questions",), "confscoring.answers": ("answers",), "confscoring.entities": ("answers",),
    "confscoring.rewards": ("equivalence",), "confscoring.calibrate": ("equivalence",), "confscoring.relevance": ("relevance",),
    "confscoring.topics": ("topics",),
}  # fmt: skip


def models_read(inputs: Mapping[str, str | None], definition: Definition, dataset: str) -> dict[str, dict[str, Any]]:
    """Return {folder: what the model in it is} of the models among a step's inputs.

    Args:
        inputs: {path below the volume: SHA-256}. A folder with a `config.json` is a model's; a sentence encoder has more of
            them further down.
        dataset: Name of the dataset's folder, in which models that a step makes lie.
    """
    marked = {PurePosixPath(path).parent for path in inputs if PurePosixPath(path).name == "config.json"}
    found = {}
    for folder in sorted(folder for folder in marked if not marked & set(folder.parents)):
        name, model = next(
            ((name, model) for name, model in definition.models.items() if str(folder) in (model.path, f"{dataset}/{model.path}")), ("", None)
        )  # fmt: skip
        files = {path: digest for path, digest in inputs.items() if folder in PurePosixPath(path).parents}
        found[str(folder)] = {
            "name": name,
            "source": model.source if model else "",
            "revision": model.revision if model else "",
            "sha256": sha256_value({str(PurePosixPath(path).relative_to(folder)): digest for path, digest in files.items()}),
        }
    return found


def services_asked(step: Step, settings: Mapping[str, Any], definition: Definition) -> dict[str, dict[str, str]]:
    """Return {section: which model of which service} of what a step asks a service for."""
    if not asks_service(step, definition):
        return {}
    found = {}
    for section, values in settings.items():
        if not section.startswith(_ASKS_FOR[step.module]):
            continue
        backend = values.get("backend", "llm")  # [topics] has no other
        if backend not in ("llm", "openai"):
            continue
        known = definition.models.get(values["model"])
        service = (definition.completions or definition.llm) if backend == "openai" else definition.llm
        found[section] = {"model": values.get("served") or (known.source if known else "") or values["model"], "service": service.base_url}
    return found


def prompts_of(settings: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, str]:
    """Return {where: SHA-256} of the prompts: those that the definition words, and those that a backend names in its notes."""
    return dict(sorted({**dict(_worded(settings, "")), **dict(_named(notes, ""))}.items()))


def _worded(values: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        where = f"{place}{key}"
        if isinstance(value, Mapping):
            yield from _worded(value, f"{where}.")
        elif isinstance(value, str) and value and where.rpartition(".")[2] in ("prompt", "prefix"):
            yield where, sha256_bytes(value.encode())


def _named(notes: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for key, value in notes.items():
        if isinstance(value, Mapping):
            yield from _named(value, f"{place}{key}.")
        elif key.endswith("prompt_sha256"):
            yield f"{place}{key.removesuffix('_sha256')}", str(value)


def describe_origin(
    step: Step, inputs: Mapping[str, str | None], settings: Mapping[str, Any], notes: Mapping[str, Any], definition: Definition, paths: DatasetPaths
) -> dict[str, Any]:
    """Return the three of them, as a manifest holds them."""
    return {
        "models": models_read(inputs, definition, paths.root.name),
        "services": services_asked(step, settings, definition),
        "prompts": prompts_of(settings, notes),
    }
