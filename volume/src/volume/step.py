"""A step: one stage for one split or run, with the files that it reads and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One stage for one split or run.

    Attributes:
        id: Name of its manifest, e.g. ``factscore-train``.
        target: The make target that it belongs to.
        env: The environment (image) that it runs in.
        module: ``python -m`` module.
        args: Its own arguments (split, run).
        needs: Ids of the steps whose outputs it reads.
        settings: Sections of the definition that change what it writes.
        inputs: Files that every item depends on; called late, since an earlier step writes them.
        item_inputs, item_outputs: Files of one topic, for a step whose work item is the topic.
        split: The split whose topics are the items, or None for a step that is one piece of work.
    """

    id: str
    target: str
    env: str
    module: str
    args: tuple[str, ...]
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    inputs: Callable[[], list[Path]]
    split: str | None = None
    item_inputs: Callable[[str], list[Path]] = lambda topic: []
    item_outputs: Callable[[str], list[Path]] = lambda topic: []


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder, those that are there."""
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))


def topic_names(questions: Path) -> list[str]:
    """Return the topics of a questions file; none when it is not there or cannot be read (its own step will say so)."""
    try:
        return [entry["topic"] for entry in json.loads(questions.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        return []
