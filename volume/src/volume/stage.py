"""The loop that every stage runs in, so that all of them behave alike.

A stage gives one function; this module reads the command line, finds out what is left to do, calls the function, writes
its outputs atomically, keeps a journal of finished topics, and writes the manifest last. Killed at any moment and
started again, it goes on after the last finished topic and ends with the same bytes.

Started several times by torchrun, a stage over topics shares them out (volume.ranks). Each process ends with 0 when its
share is done; the one that ends last writes the manifest for all, and ends with 3 if topics failed, of which torchrun
itself makes 1. A stage that is one piece of work is done by rank 0, or by all ranks together.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from volume.context import Context, open_context
from volume.datasets import as_json, show_settings
from volume.errors import COMPLETE, PARTIAL, UsageError, tell_errors
from volume.files import FileHashes, write_json
from volume.groups import Work, own_groups, work_through
from volume.journal import Journal, mark_topics, read_entries, read_failures, still_holds
from volume.manifest import Fingerprint, fingerprint_of, read_manifest, why_stale, write_manifest
from volume.peers import StopSignals, tell_once
from volume.ranks import Rank, StepHold, this_rank

_SHOWN_FAILURES = 12  # the manifest has them all


def run_topics(
    stage: str, prepare: Callable[[Context], Work], group: int | Callable[[Context], int] = 1, fixed: bool = False, argv: Sequence[str] | None = None,
) -> int:
    """Run a stage whose work item is the topic; return the exit status.

    Args:
        stage: The stage module's own name, e.g. ``factscore``.
        prepare: Called when some topic has work; loads what the work needs and returns the function that does it.
        group: Topics handed to the work function at once, or what finds their number.
        fixed: For work whose floating-point noise depends on what is batched together: a group has the same topics whatever
            is done already. One with a topic to do is worked on whole, and what was done before is thrown away.
        argv: The command line, for tests.
    """

    def body(context: Context, hashes: FileHashes, hold: StepHold) -> int:
        return _run_topics(context, hashes, hold, prepare, group if isinstance(group, int) else group(context), fixed)

    return tell_errors(lambda: _run_held(stage, argv, body, this_rank()))


def run_whole(stage: str, produce: Callable[[Context], list[Path]], argv: Sequence[str] | None = None) -> int:
    """Run a stage that is one piece of work; ``produce`` returns the files that it wrote."""

    def run() -> int:
        rank = this_rank()
        if rank.number > 0:
            return COMPLETE
        if not rank.alone:  # its peers have left, so nothing that it loads may wait for them
            os.environ["WORLD_SIZE"] = "1"
        return _run_held(stage, argv, lambda context, hashes, _: _run_whole(context, hashes, produce), Rank())

    return tell_errors(run)


def run_together(stage: str, produce: Callable[[Context], list[Path]], argv: Sequence[str] | None = None) -> int:
    """Run a stage that is one piece of work, done by all processes of a launch together.

    Every rank calls ``produce``, which in rank 0 returns the files written; rank 0 writes the manifest. ``produce`` must have
    all ranks meet before it writes anything: then none of them can look late, at a step that the others have just finished.
    Where an earlier launch was stopped between its last file and its manifest there is nothing left to meet for; a rank that
    comes after rank 0 has written the manifest then finds the step up to date, and is right.
    """
    words = sys.argv[1:] if argv is None else argv
    signals = StopSignals()

    def run() -> int:
        rank = this_rank()
        own = [word for word in words if not word.startswith("--local_rank=")]  # DeepSpeed's launcher adds it; LOCAL_RANK says the same
        work = lambda context, _, hold: _run_together(context, hold, produce)  # noqa: E731
        return tell_once(rank, signals, lambda: _run_held(stage, own, work, rank, signals.listen))

    return tell_errors(run)


def _stop_on_sigterm(context: Context) -> None:
    signal.signal(signal.SIGTERM, lambda *_: setattr(context, "interrupted", True))


def _run_held(
    stage: str, argv: Sequence[str] | None, body: Callable[[Context, FileHashes, StepHold], int], rank: Rank,
    listen: Callable[[Context], None] = _stop_on_sigterm,
) -> int:
    """Open the context and hold the step while its body runs."""
    context = open_context(stage, argv)
    context.rank = rank
    if not rank.alone:  # volume.cards looks there for this process's GPU; srun has a name of its own for it
        os.environ.setdefault("LOCAL_RANK", f"{rank.local}")
    listen(context)
    with StepHold(context.paths.manifests / ".locks", context.step.id, rank) as hold:
        return body(context, _hashes(context), hold)


def _hashes(context: Context) -> FileHashes:
    return FileHashes(context.paths.manifests / ".hashes" / f"{context.step.id}.json")


def _begin(context: Context, hashes: FileHashes) -> tuple[Fingerprint, str | None]:
    """Return the step's fingerprint, and why it has to run (None: it is up to date)."""
    names = [topic["topic"] for topic in context.topics] if context.step.split else []
    fingerprint = fingerprint_of(context.step, context.definition, names, hashes, context.data_dir, context.limit)
    manifest = read_manifest(context.paths, context.step.id)
    outputs = hashes.of_all((context.data_dir / name for name in manifest["outputs"]), context.data_dir) if manifest else {}
    reason = why_stale(manifest, fingerprint, outputs)
    if context.rank.number == 0:  # its peers would say the same
        limit = f" limit={context.limit}" if "limit" in fingerprint.settings else ""
        context.log(f"{reason}; settings {show_settings(context.definition, context.step.settings)}{limit}" if reason else "up to date")
    if reason is not None:
        if not context.paths.definition.exists() or json.loads(context.paths.definition.read_text()) != as_json(context.definition):
            write_json(context.paths.definition, as_json(context.definition))
    hashes.save()
    return fingerprint, reason


def _run_whole(context: Context, hashes: FileHashes, produce: Callable[[Context], list[Path]]) -> int:
    clock, started = time.monotonic(), _now()
    fingerprint, reason = _begin(context, hashes)
    if reason is not None:
        _finish(context, hashes, fingerprint, produce(context), started, clock)
    return COMPLETE


def _run_together(context: Context, hold: StepHold, produce: Callable[[Context], list[Path]]) -> int:
    clock, started = time.monotonic(), _now()
    with hold.in_turn():  # many gigabytes of weights are hashed by whoever comes first; the others find them in the cache
        hashes = _hashes(context)
        fingerprint, reason = _begin(context, hashes)
    if not hold.agrees(fingerprint.digest()):
        raise UsageError(
            f"{context.rank} finds other inputs, settings, code or packages for {context.step.id} than a rank before it. "
            "All processes need the same volume, the same checkout and the same STACK."
        )
    if reason is None:
        return COMPLETE
    context.note("processes", context.rank.of)
    written = produce(context)
    if context.rank.number == 0:
        _finish(context, hashes, fingerprint, written, started, clock)
    return COMPLETE


def _finish(context: Context, hashes: FileHashes, fingerprint: Fingerprint, written: list[Path], started: str, clock: float) -> None:
    """Write the manifest of a stage that is one piece of work, and say so."""
    outputs = hashes.of_all(written, context.data_dir)
    write_manifest(
        context.paths, context.step, context.definition, fingerprint, outputs=outputs, counts=context.counts, failures={},
        notes=context.notes, started=started, finished=_now(), seconds=time.monotonic() - clock,
    )
    context.log(f"wrote {len(outputs)} file(s) in {time.monotonic() - clock:.1f} s")


def _run_topics(context: Context, hashes: FileHashes, hold: StepHold, prepare: Callable[[Context], Work], size: int, fixed: bool) -> int:
    clock, started = time.monotonic(), _now()
    fingerprint, reason = _begin(context, hashes)
    if reason is None:
        return COMPLETE
    path = context.paths.journal(context.step.id)
    journal = Journal(path, context.rank.alone)
    marks = mark_topics(context, fingerprint)

    def holding(entries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: entries[name] for name in marks if name in entries and still_holds(context, hashes, entries[name], marks[name])}

    done = holding(journal.entries)
    failures = work_through(context, prepare, size, fixed, marks, journal, done)
    hashes.save()
    if not context.rank.alone:
        share = sum(map(len, own_groups(context, size)))
        context.log(f"{share - len(failures)} of its {share} topics in {time.monotonic() - clock:.1f} s")
        if not hold.is_last():  # whoever is will find all in the journal
            return COMPLETE
        done, failures = holding(read_entries(path)), read_failures(path, marks, context.rank.launch)
        left = len(marks) - len({*done, *failures})
        if left:
            context.log(f"{left} topics are still to do, by ranks that have not started or were stopped. Run the same command again to go on from there.")
            return COMPLETE
    failures = {name: failures[name] for name in marks if name in failures}
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
    _tell_failures(context, failures)
    return PARTIAL if failures else COMPLETE


def _tell_failures(context: Context, failures: dict[str, str]) -> None:
    for name, why in list(failures.items())[:_SHOWN_FAILURES]:
        print(f"failed: {name}: {why}", file=sys.stderr)
    if len(failures) > _SHOWN_FAILURES:
        print(f"… and {len(failures) - _SHOWN_FAILURES} more, all in {context.paths.manifest(context.step.id)}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} topic(s) failed; the others are kept. Run the same command again to retry them.", file=sys.stderr)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
