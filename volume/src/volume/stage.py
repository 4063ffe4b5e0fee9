"""The loop that every stage runs in, so that all of them behave alike.

A stage gives one function; this module reads the command line, finds out what is left to do, calls the function, writes
its outputs atomically, keeps a journal of finished topics, and writes the manifest last. Killed at any moment and
started again, it goes on after the last finished topic and ends with the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from volume import records
from volume.datasets import add_world_arguments, as_json, load_definition, show_settings
from volume.errors import COMPLETE, FAILED, PARTIAL, ItemError, RecordError, UsageError, VolumeError
from volume.files import FileHashes, canonical_json, remove_partial, sha256_bytes, sha256_value, write_json, write_text
from volume.manifest import Fingerprint, fingerprint_of, read_manifest, why_stale, write_manifest
from volume.paths import DatasetPaths
from volume.records import Topic, Topics
from volume.settings import Definition
from volume.steps import Step, build_steps

_SHOWN_FAILURES = 12  # the manifest has them all

Work = Callable[[list[Topic]], dict[str, "list[Any] | ItemError"]]


@dataclass
class Context:
    """What a stage knows about its run."""

    step: Step
    definition: Definition
    paths: DatasetPaths
    data_dir: Path
    split: str | None
    run: str | None
    limit: int | None
    topics: Topics
    interrupted: bool = False
    counts: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    topic_counts: dict[str, dict[str, float]] = field(default_factory=dict)

    def count(self, name: str, number: float = 1, topic: str | None = None) -> None:
        """Add to a count of the manifest. Given the topic, the count outlives an interruption with that topic's output."""
        counts = self.topic_counts.setdefault(topic, {}) if topic is not None else self.counts
        counts[name] = counts.get(name, 0) + number

    def note(self, name: str, value: Any) -> None:
        """Put a fact about the run into the manifest."""
        self.notes[name] = value

    def log(self, message: str) -> None:
        """Write one line to standard error."""
        print(f"{self.step.id}: {message}", file=sys.stderr, flush=True)


def run_topics(stage: str, prepare: Callable[[Context], Work], group: int = 1, argv: Sequence[str] | None = None) -> int:
    """Run a stage whose work item is the topic; return the exit status.

    Args:
        stage: The stage module's own name, e.g. ``factscore``.
        prepare: Called when some topic has work; loads what the work needs and returns the function that does it.
        group: Topics handed to the work function at once.
        argv: The command line, for tests.
    """
    return _guarded(stage, argv, lambda context, hashes: _run_topics(context, hashes, prepare, group))


def run_whole(stage: str, produce: Callable[[Context], list[Path]], argv: Sequence[str] | None = None) -> int:
    """Run a stage that is one piece of work; ``produce`` returns the files that it wrote."""
    return _guarded(stage, argv, lambda context, hashes: _run_whole(context, hashes, produce))


def _guarded(stage: str, argv: Sequence[str] | None, body: Callable[[Context, FileHashes], int]) -> int:
    """Open the context, hold the step's lock, and turn errors into one clear message and an exit status."""
    try:
        context = _open(stage, argv)
        signal.signal(signal.SIGTERM, lambda *_: setattr(context, "interrupted", True))
        hashes = FileHashes(context.paths.manifests / ".hashes" / f"{context.step.id}.json")
        with _lock(context):
            return body(context, hashes)
    except VolumeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted. What was finished is kept; run the same command again to go on.", file=sys.stderr)
        return FAILED
    except OSError as error:  # a full disk shows wherever bytes are written; other failures of files are told the same way
        print(f"error: {error.strerror or error}: {error.filename or ''}. What was finished is kept; mend this and run again.", file=sys.stderr)
        return FAILED


def _open(stage: str, argv: Sequence[str] | None) -> Context:
    parser = argparse.ArgumentParser(prog=f"python -m <package>.{stage}", description=f"Stage {stage} of a dataset.")
    add_world_arguments(parser, required=True)
    parser.add_argument("--data-dir", required=True, type=Path, help="the data volume")
    parser.add_argument("--split", help="train, dpoval, val or test")
    parser.add_argument("--run", help="name of a policy under [runs]")
    parser.add_argument("--limit", type=int, help="only the first N topics")
    given = parser.parse_args(argv)
    definition = load_definition(given.dataset, given.seed, given.scale)
    paths = DatasetPaths(given.data_dir / f"dataset_{definition.name}")
    steps = build_steps(definition, paths, given.data_dir)
    wanted = [step for step in steps.values() if step.module.endswith(f".{stage}") and _matches(step, given.split, given.run)]
    if len(wanted) != 1:
        own = [" ".join(step.args) or "(no arguments)" for step in steps.values() if step.module.endswith(f".{stage}")]
        if not own:
            raise UsageError(f"dataset '{definition.name}' has no stage '{stage}'.")
        raise UsageError(f"stage '{stage}' of '{definition.name}' takes one of: {'; '.join(own)}.")
    step = wanted[0]
    topics: Topics = []
    split = given.split or step.split
    if (split and paths.questions(split).exists()) or step.split:
        topics = records.load(paths.questions(str(split)), Topics)
    return Context(step, definition, paths, given.data_dir, split, given.run, given.limit, topics[: given.limit])


def _matches(step: Step, split: str | None, run: str | None) -> bool:
    pairs = dict(zip(step.args[::2], step.args[1::2], strict=True))
    if "--run" in pairs:
        return pairs["--run"] == run and split in (None, pairs.get("--split"))
    return run is None and pairs.get("--split") == split


@contextlib.contextmanager
def _lock(context: Context) -> Iterator[None]:
    """Hold the step for this process: two at once would write over each other's work."""
    path = context.paths.manifests / ".locks" / context.step.id
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VolumeError(f"{context.step.id} is being run by another process on this volume; wait for it.") from error
        yield


def _begin(context: Context, hashes: FileHashes) -> tuple[Fingerprint, str | None]:
    """Return the step's fingerprint, and why it has to run (None: it is up to date)."""
    names = [topic["topic"] for topic in context.topics] if context.step.split else []
    fingerprint = fingerprint_of(context.step, context.definition, names, hashes, context.data_dir, context.limit)
    manifest = read_manifest(context.paths, context.step.id)
    outputs = hashes.of_all((context.data_dir / name for name in manifest["outputs"]), context.data_dir) if manifest else {}
    reason = why_stale(manifest, fingerprint, outputs)
    if reason is None:
        context.log("up to date")
    else:
        limit = f" limit={context.limit}" if "limit" in fingerprint.settings else ""
        context.log(f"{reason}; settings {show_settings(context.definition, context.step.settings)}{limit}")
        if not context.paths.definition.exists() or json.loads(context.paths.definition.read_text()) != as_json(context.definition):
            write_json(context.paths.definition, as_json(context.definition))
    hashes.save()
    return fingerprint, reason


def _run_whole(context: Context, hashes: FileHashes, produce: Callable[[Context], list[Path]]) -> int:
    clock, started = time.monotonic(), _now()
    fingerprint, reason = _begin(context, hashes)
    if reason is None:
        return COMPLETE
    written = produce(context)
    outputs = hashes.of_all(written, context.data_dir)
    write_manifest(
        context.paths, context.step, context.definition, fingerprint, outputs=outputs, counts=context.counts, failures={},
        notes=context.notes, started=started, finished=_now(), seconds=time.monotonic() - clock,
    )
    context.log(f"wrote {len(outputs)} file(s) in {time.monotonic() - clock:.1f} s")
    return COMPLETE


def _run_topics(context: Context, hashes: FileHashes, prepare: Callable[[Context], Work], group: int) -> int:
    clock, started = time.monotonic(), _now()
    fingerprint, reason = _begin(context, hashes)
    if reason is None:
        return COMPLETE
    journal = Journal(context.paths.journal(context.step.id))
    marks = _item_marks(context, fingerprint)
    done = {name: entry for name, entry in journal.entries.items() if name in marks and _still_holds(context, hashes, entry, marks[name])}
    waiting = [topic for topic in context.topics if topic["topic"] not in done]
    if done:
        context.log(f"{len(done)} of {len(marks)} topics are done already")
    failures = _do_groups(context, prepare, waiting, group, marks, journal, done)
    hashes.save()
    outputs = {path: digest for name in marks if name in done for path, digest in done[name]["outputs"].items()}
    counts: dict[str, float] = {"topics": len(marks), "done": len(done), "failed": len(failures), **context.counts}
    for entry in (done[name] for name in marks if name in done):
        for key, number in entry["counts"].items():
            counts[key] = counts.get(key, 0) + number
        context.notes = {**entry["notes"], **context.notes}
    write_manifest(
        context.paths, context.step, context.definition, fingerprint, outputs=outputs, counts=counts, failures=failures,
        notes=context.notes, started=started, finished=_now(), seconds=time.monotonic() - clock,
    )
    context.log(f"{len(done)} of {len(marks)} topics in {time.monotonic() - clock:.1f} s")
    for name, why in list(failures.items())[:_SHOWN_FAILURES]:
        print(f"failed: {name}: {why}", file=sys.stderr)
    if len(failures) > _SHOWN_FAILURES:
        print(f"… and {len(failures) - _SHOWN_FAILURES} more, all in {context.paths.manifest(context.step.id)}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} topic(s) failed; the others are kept. Run the same command again to retry them.", file=sys.stderr)
    return PARTIAL if failures else COMPLETE


def _do_groups(
    context: Context, prepare: Callable[[Context], Work], waiting: list[Topic], group: int, marks: dict[str, str],
    journal: Journal, done: dict[str, Any],
) -> dict[str, str]:
    """Work through the waiting topics; return {topic: reason} of those that failed."""
    failures: dict[str, str] = {}
    ready = []
    for topic in waiting:
        missing = [path for path in context.step.item_inputs(topic["topic"]) if not path.exists()]
        if missing:
            failures[topic["topic"]] = f"{missing[0].relative_to(context.data_dir)} is missing: an earlier stage failed on it"
        else:
            ready.append(topic)
    if not ready:
        return failures
    remove_partial(path for topic in ready for path in context.step.item_outputs(topic["topic"]))
    work = prepare(context)
    spoken = time.monotonic()
    for start in range(0, len(ready), group):
        if context.interrupted:
            raise KeyboardInterrupt
        batch = ready[start : start + group]
        for name, result in _attempt(context, work, batch).items():
            if isinstance(result, ItemError):
                failures[name] = str(result)
                continue
            done[name] = _keep(context, name, result, marks[name], journal)
        if time.monotonic() - spoken > 30 or sys.stderr.isatty():
            context.log(f"{len(done)} of {len(marks)} topics ({100 * len(done) // len(marks)} %)")
            spoken = time.monotonic()
    return failures


def _attempt(context: Context, work: Work, batch: list[Topic]) -> dict[str, list[Any] | ItemError]:
    """Run the work on a group; if the group fails as a whole, run its topics one by one so that only the bad one is lost."""
    try:
        return work(batch)
    except VolumeError:
        if len(batch) == 1:
            raise
    except ItemError as error:
        if len(batch) == 1:
            return {batch[0]["topic"]: error}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ZeroDivisionError) as error:
        if len(batch) == 1:  # a fault of the stage on this topic: recorded with its place, never swallowed
            context.log(traceback.format_exc())
            return {batch[0]["topic"]: ItemError(f"{type(error).__name__}: {error}")}
    results: dict[str, list[Any] | ItemError] = {}
    for topic in batch:
        try:
            results |= _attempt(context, work, [topic])
        except RecordError as error:
            results[topic["topic"]] = ItemError(str(error))
    return results


def _item_marks(context: Context, fingerprint: Fingerprint) -> dict[str, str]:
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


def _keep(context: Context, name: str, values: list[Any], mark: str, journal: Journal) -> dict[str, Any]:
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


def _still_holds(context: Context, hashes: FileHashes, entry: dict[str, Any], mark: str) -> bool:
    return entry["mark"] == mark and all(hashes.of(context.data_dir / path) == digest for path, digest in entry["outputs"].items())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Journal:
    """The finished topics of a step, one JSON line each, appended after the topic's outputs are in place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[str, dict[str, Any]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # the line that a kill cut short; its topic is done again
                continue
            self.entries[entry["topic"]] = entry
        if lines:  # no half line may stand before the next one, and no superseded ones
            write_text(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self.entries.values()))

    def add(self, entry: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()  # not synced: after a power cut the outputs' hashes decide, and a lost line costs one topic
