"""Finds named entities and noun chunks with a spaCy model, which is a folder on the volume or an installed package.

The public code resamples noun chunks and leaves out those that are subjects or the sentence's root, and the bare words which,
that, it, this; so does this. Texts go through the model one by one: a parse must not depend on what is batched with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from pathlib import Path
from typing import Any

from confscoring.spans import Span, select
from volume.errors import UsageError
from volume.imports import without_torch

_SUBJECTS = frozenset(("nsubj", "nsubjpass", "ROOT"))
_BARE = frozenset(("which", "that", "it", "this"))
# What spaCy and the readers below it raise for files that are cut short, missing or of another make.
_UNREADABLE = (OSError, ValueError, LookupError, AttributeError, TypeError, ImportError, EOFError, RuntimeError, ArithmeticError, AssertionError)


class SpacyFinder:
    """Finds spans by a loaded pipeline.

    Args:
        pipeline: What spacy.load returned.
        wanted: entities, noun_chunks or both; where both overlap, the entity is taken.
    """

    def __init__(self, pipeline: Any, wanted: str) -> None:
        self._pipeline, self._wanted = pipeline, wanted

    @property
    def identity(self) -> dict[str, str]:
        """spaCy's version, the model's name and version, and what is taken."""
        meta = self._pipeline.meta
        model = f"{meta['lang']}_{meta['name']} {meta['version']}"
        return {"finder": "spacy", "version": importlib.metadata.version("spacy"), "model": model, "spans": self._wanted}

    def find(self, text: str, topic: str) -> list[Span]:
        """Return the spans of a response in order, without the topic's own name."""
        doc = self._pipeline(text)
        entities = [(entity.start_char, entity.end_char) for entity in doc.ents] if self._wanted != "noun_chunks" else []
        chunks = doc.noun_chunks if self._wanted != "entities" else ()
        kept = [chunk for chunk in chunks if chunk.root.dep_ not in _SUBJECTS and chunk.text.lower() not in _BARE]
        return select(text, topic, entities, [(chunk.start_char, chunk.end_char) for chunk in kept])


def find_pipeline(folder: Path, wanted: str) -> Any | None:
    """Load the model of a folder, or the installed package of the folder's name; None where there is neither.

    Args:
        folder: As spacy.load takes it, or as a model's wheel holds it (with one folder in it that spacy.load takes).
        wanted: What the model must be able to find: entities, noun_chunks or both.

    Raises:
        UsageError: The model cannot be read, is for another version of spaCy, or cannot find what is wanted.
    """
    if folder.exists():
        return _load(_innermost(folder), str(folder), "delete the folder", wanted)
    try:
        found = importlib.metadata.distribution(folder.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    name = f"package {folder.name} {found.version}"
    return _load(_innermost(Path(str(found.locate_file(folder.name)))), name, "uninstall it", wanted)


def _innermost(folder: Path) -> Path:
    """Return the folder that spacy.load takes: this one, or the one in it, as a model's package has it."""
    inside = sorted(path.parent for path in folder.glob("*/config.cfg"))
    return inside[0] if len(inside) == 1 and not (folder / "config.cfg").exists() else folder


def _load(path: Path, where: str, removal: str, wanted: str) -> Any:
    with without_torch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spacy

        version = spacy.__version__
        remedy = f"Put a model for spaCy {version} there (from its wheel the folder that has a config.cfg), or {removal} to have rules find the spans."
        try:
            meant = json.loads((path / "meta.json").read_text(encoding="utf-8")).get("spacy_version") or ""
            if meant and not spacy.util.is_compatible_version(version, meant):
                raise UsageError(f"{where}: this model is for spaCy {meant}, and {version} is installed here; it could find other spans than with its own. {remedy}")
            pipeline = spacy.load(path)
            probe = pipeline("Ada won a prize.")
        except _UNREADABLE as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UsageError(f"{where} cannot be read as a model for spaCy {version}: {type(error).__name__}: {reason}. {remedy}") from error
    parts = ", ".join(pipeline.pipe_names) or "none"
    if wanted != "noun_chunks" and not any("doc.ents" in pipeline.get_pipe_meta(name).assigns for name in pipeline.pipe_names):
        raise UsageError(f"{where} has no part that finds entities (its parts: {parts}), which entities.spans = '{wanted}' needs. {remedy}")
    if wanted != "entities":
        try:
            list(probe.noun_chunks)
        except (ValueError, NotImplementedError) as error:  # no parser; no rule for noun chunks in this language
            raise UsageError(f"{where} finds no noun chunks (its parts: {parts}), which entities.spans = '{wanted}' needs. {remedy}") from error
    return pipeline
