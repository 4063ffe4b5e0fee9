"""The finished topics of a step: a topic counts as done when what it depends on and what it wrote are unchanged."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from volume.context import Context
from volume.files import FileHashes, canonical_json, sha256_bytes, sha256_value, write_text
from volume.manifest import Fingerprint


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return {topic: entry} of the finished topics; none where there is no journal. Writes nothing, so it may be read while a stage runs."""
    return {name: entry for name, entry in _read_lines(path).items() if "failed" not in entry}


def read_failures(path: Path, marks: dict[str, str], launch: str) -> dict[str, str]:
    """Return {topic: reason} of what the ranks of a launch failed on; what an earlier one noted will be tried again."""
    return {
        name: entry["failed"] for name, entry in _read_lines(path).items()
        if "failed" in entry and entry["launch"] == launch and entry["mark"] == marks.get(name)
    }  # fmt: skip


def _read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last entry of every topic."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []  # bytes: a topic may hold U+2028, and a cut line half a character
    entries: dict[str, dict[str, Any]] = {}
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
        except ValueError:  # the line that a kill cut short; its topic is done again
            continue
        entries[entry["topic"]] = entry
    return entries


class Journal:
    """The finished topics of a step, one JSON line each, appended after the topic's outputs are in place.

    Several ranks append to one journal; what one of them failed on stands there too, for the one that ends last.

    Args:
        alone: Nobody else appends to it now, so what no longer counts is taken out.
    """

    def __init__(self, path: Path, alone: bool = True) -> None:
        self._path = path
        self.entries = read_entries(path)
        if alone and (self.entries or path.exists()):
            write_text(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self.entries.values()))

    def add(self, entry: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # what a killed process left is no part of this line
                line = b"\n" + line
            file.write(line)
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
