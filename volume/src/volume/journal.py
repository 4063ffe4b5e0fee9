"""The finished topics of a step: a topic counts as done when what it depends on and what it wrote are unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from volume.context import Context
from volume.files import FileHashes, canonical_json, sha256_bytes, sha256_value, write_text
from volume.manifest import Fingerprint


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return {topic: entry} of a journal; none where there is no journal. Writes nothing, so it may be read while a stage runs."""
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []  # a topic may hold U+2028
    entries: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the line that a kill cut short; its topic is done again
            continue
        entries[entry["topic"]] = entry
    return entries


class Journal:
    """The finished topics of a step, one JSON line each, appended after the topic's outputs are in place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries = read_entries(path)
        if self.entries or path.exists():  # no half line may stand before the next one, and no superseded ones
            write_text(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self.entries.values()))

    def add(self, entry: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()  # not synced: after a power cut the outputs' hashes decide, and a lost line costs one topic


def mark_topics(context: Context, fingerprint: Fingerprint) -> dict[str, str]:
    """Return {topic: fingerprint of that topic}. The questions file counts by the topic's own entry alone."""

    def relative(path: Path) -> str:
        return str(path.relative_to(context.data_dir))

    own = {topic["topic"]: [relative(path) for path in context.step.item_inputs(topic["topic"])] for topic in context.topics}
    not_shared = {path for paths in own.values() for path in paths} | {relative(context.paths.questions(str(context.step.split)))}
    shared = sha256_value({path: digest for path, digest in fingerprint.inputs.items() if path not in not_shared})
    settings = {key: value for key, value in fingerprint.settings.items() if key != "limit"}
    return {
        topic["topic"]: sha256_value(
            [settings, fingerprint.code, fingerprint.lock, shared, [fingerprint.inputs[path] for path in own[topic["topic"]]], topic]
        )
        for topic in context.topics
    }


def keep_topic(context: Context, name: str, values: list[Any], mark: str, journal: Journal) -> dict[str, Any]:
    """Write a topic's outputs and its line in the journal, in that order."""
    outputs = {}
    for path, value in zip(context.step.item_outputs(name), values, strict=True):
        text = canonical_json(value)
        write_text(path, text)
        outputs[str(path.relative_to(context.data_dir))] = sha256_bytes(text.encode())
    # Notes go along: a run that resumes after the last topic never opens what they are about.
    entry = {"topic": name, "mark": mark, "outputs": outputs, "counts": context.topic_counts.pop(name, {}), "notes": dict(context.notes)}
    journal.add(entry)
    return entry


def still_holds(context: Context, hashes: FileHashes, entry: dict[str, Any], mark: str) -> bool:
    """Return whether a finished topic's inputs are the same and its outputs are as they were written."""
    return entry["mark"] == mark and all(hashes.of(context.data_dir / path) == digest for path, digest in entry["outputs"].items())
