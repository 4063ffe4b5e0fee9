"""Opens the finder of spans that a definition describes."""

from __future__ import annotations

from pathlib import Path

from confscoring.span_grammar import GrammarFinder
from confscoring.span_rules import RuleFinder
from confscoring.span_spacy import SpacyFinder, find_pipeline
from confscoring.spans import SpanFinder
from volume.settings import EntitiesSettings


def open_finder(settings: EntitiesSettings, data_dir: Path, grammar: Path) -> SpanFinder:
    """Return the finder for [entities]: rules where the backend is `spacy` and there is no model.

    Args:
        grammar: The grammar of the world, for the backend `grammar`.

    Raises:
        UsageError: There is a spaCy model that cannot be used, or no grammar.
    """
    if settings.backend == "grammar":
        return GrammarFinder(grammar)
    pipeline = find_pipeline(data_dir / settings.model, settings.spans)
    return RuleFinder(settings.spans) if pipeline is None else SpacyFinder(pipeline, settings.spans)
