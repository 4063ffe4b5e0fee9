"""The loop that every stage runs in, so that all of them behave alike.

A stage gives one function; this module reads the command line, finds out what is left to do, calls the function, writes
its outputs atomically, keeps a journal of finished topics, and writes the manifest last. Killed at any moment and
started again, it goes on after the last finished topic and ends with the same bytes.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from volume.context import Context, hold_step, open_context
from volume.datasets import as_json, show_settings
from volume.errors import COMPLETE, PARTIAL, ItemError, RecordError, VolumeError, tell_errors
from volume.files import FileHashes, remove_partial, write_json
from volume.journal import Journal, keep_topic, mark_topics, still_holds
from volume.manifest import Fingerprint, fingerprint_of, read_manifest, why_stale, write_manifest
from volume.progress import Progress
from volume.records import Topic

_SHOWN_FAILURES = 12  # the manifest has them all

Work = Callable[[list[Topic]], dict[str, "list[Any] | ItemError"]]


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

    def run() -> int:
        context = open_context(stage, argv)
        signal.signal(signal.SIGTERM, lambda *_: setattr(context, "interrupted", True))
        hashes = FileHashes(context.paths.manifests / ".hashes" / f"{context.step.id}.json")
        with hold_step(context):
            return body(context, hashes)

    return tell_errors(run)


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
    marks = mark_topics(context, fingerprint)
    done = {name: entry for name, entry in journal.entries.items() if name in marks and still_holds(context, hashes, entry, marks[name])}
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
    with Progress(context.step.id, len(done), len(marks), context.log) as progress:
        for start in range(0, len(ready), group):
            if context.interrupted:
                raise KeyboardInterrupt
            for name, result in _attempt(context, work, ready[start : start + group]).items():
                if isinstance(result, ItemError):
                    failures[name] = str(result)
                else:
                    done[name] = keep_topic(context, name, result, marks[name], journal)
            progress.show(len(done))
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


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
