"""The files and settings that facts and verdicts depend on, beside the responses: a change of any makes scores stale."""

from __future__ import annotations

from pathlib import Path

from volume.definition_faults import named_models
from volume.paths import DatasetPaths
from volume.settings import Definition

# NLTK's sentence model, below the volume's root: where the stages look for it.
PUNKT = "nltk_data/tokenizers/punkt_tab/english"


def model_folder(definition: Definition, paths: DatasetPaths, data_dir: Path, name: str) -> Path:
    """Return a model's folder: below the dataset's when a step makes it there, else below the volume's root."""
    path = definition.models[name].path
    return paths.model(path) if definition.pretrain is not None else data_dir / path


def grammar_files(definition: Definition, paths: DatasetPaths) -> list[Path]:
    """Return the grammar of a generated world, or of a language of one's own; nothing where no backend reads one."""
    read = any(section is not None and section.backend == "grammar" for section in (definition.facts, definition.questions))
    return [paths.world / "grammar.json"] if read or definition.world is not None else []


def example_files(definition: Definition, data_dir: Path) -> list[Path]:
    """Return the file with the public code's prompt for questions, where it takes the place of ours."""
    settings = definition.questions
    return [data_dir / settings.examples] if settings and settings.examples else []


def span_files(definition: Definition, paths: DatasetPaths, data_dir: Path) -> list[Path]:
    """Return the files by which the spans to resample are found: the grammar, or the spaCy model where it is there."""
    if definition.entities.backend == "grammar":
        return grammar_files(definition, paths)
    return sorted(path for path in (data_dir / definition.entities.model).rglob("*") if path.is_file())


def knowledge_files(definition: Definition, paths: DatasetPaths, data_dir: Path) -> list[Path]:
    """Return the knowledge base and, where the definition names one, the file of redirects; nothing where there is no knowledge base."""
    settings = definition.knowledge
    root = paths.root if definition.world is not None else data_dir
    return [root / name for name in (settings.path, settings.redirects) if name] if settings else []


def evidence_files(definition: Definition, paths: DatasetPaths, data_dir: Path, verifier: str = "verifier") -> list[Path]:
    """Return the files, beside the responses, that the verdicts of a verifier depend on."""
    folders = [model_folder(definition, paths, data_dir, name) for name in _scoring_models(definition, verifier)]
    text = definition.facts is not None and definition.facts.backend != "grammar"
    sentences = sorted((data_dir / PUNKT).glob("*")) if text else []
    return [
        *grammar_files(definition, paths), *knowledge_files(definition, paths, data_dir),
        *(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")), *sentences,
    ]  # fmt: skip


def _scoring_models(definition: Definition, verifier: str) -> list[str]:
    return [name for place, name in named_models(definition).items() if place.rpartition(".")[0] in ("retrieval", verifier)]


def scoring_settings(definition: Definition, verifier: str = "verifier") -> tuple[str, ...]:
    """Return the names of the settings that the verdicts of a verifier depend on."""
    return ("facts", "retrieval", verifier, *(f"models.{name}" for name in _scoring_models(definition, verifier)))
