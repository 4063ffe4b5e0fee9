"""What a stage knows about its run, and how its command line becomes that."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volume import records
from volume.datasets import add_call_arguments, add_world_arguments, load_definition
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.ranks import Rank
from volume.records import Topics
from volume.settings import Definition, Mode
from volume.step import Step
from volume.steps import build_steps


@dataclass
class Context:
    """What a stage knows about its run.

    Attributes:
        step: Which step this is: its inputs and outputs.
        definition: The dataset's definition, resolved.
        paths: Where everything of the dataset lives.
        data_dir: The volume's root.
        split, run, limit, judge, candidate: As on the command line; None where not given.
        topics: The work items, cut to ``limit``; none for a step without topics.
        llm_mode, max_cost: How a service may be asked, and what all calls for the dataset may cost at most, in US dollars.
        interrupted: Set by SIGTERM: what is in hand is finished, then the stage stops.
        counts: Numbers for the manifest that belong to no topic.
        notes: Facts for the manifest, as JSON values.
        topic_counts: Numbers of topics whose output is not written yet.
        rank: Which of the processes that share the topics out this one is; as a rule it is alone.
    """

    step: Step
    definition: Definition
    paths: DatasetPaths
    data_dir: Path
    split: str | None
    run: str | None
    limit: int | None
    topics: Topics
    llm_mode: Mode = "record"
    max_cost: float | None = None
    judge: str | None = None
    candidate: int | None = None
    interrupted: bool = False
    counts: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    topic_counts: dict[str, dict[str, float]] = field(default_factory=dict)
    rank: Rank = Rank()

    def count(self, name: str, number: float = 1, topic: str | None = None) -> None:
        """Add to a count of the manifest. Given the topic, it outlives an interruption with that topic's output, and counts whatever rank had the topic."""
        counts = self.topic_counts.setdefault(topic, {}) if topic is not None else self.counts
        counts[name] = counts.get(name, 0) + number

    def note(self, name: str, value: Any) -> None:
        """Put a fact about the run into the manifest."""
        self.notes[name] = value

    def log(self, message: str) -> None:
        """Write one line to standard error, in one piece: ranks share it."""
        who = "" if self.rank.alone else f"{self.rank}: "
        sys.stderr.write(f"{self.step.id}: {who}{message}\n")
        sys.stderr.flush()


def open_context(stage: str, argv: Sequence[str] | None) -> Context:
    """Read a stage's command line, its definition and its topics.

    Raises:
        UsageError: The dataset or the step does not exist, or the questions file is missing.
        RecordError: The questions file cannot be read.
    """
    parser = argparse.ArgumentParser(prog=f"python -m <package>.{stage}", description=f"Stage {stage} of a dataset.")
    add_world_arguments(parser, required=True)
    parser.add_argument("--data-dir", required=True, type=Path, help="the data volume")
    parser.add_argument("--split", help="train, dpoval, val or test")
    parser.add_argument("--run", help="name of a policy under [runs]")
    parser.add_argument("--judge", help="name of a further verifier under [judges]")
    parser.add_argument("--candidate", type=int, metavar="K", help="the run's K-th candidate, in place of its policy")
    parser.add_argument("--limit", type=int, help="only the first N topics")
    add_call_arguments(parser)
    given = parser.parse_args(argv)
    definition = load_definition(given.dataset, given.seed, given.scale)
    paths = DatasetPaths(given.data_dir / f"dataset_{definition.name}")
    steps = build_steps(definition, paths, given.data_dir)
    wanted = [step for step in steps.values() if step.module.endswith(f".{stage}") and _matches(step, given, definition)]
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
    return Context(
        step, definition, paths, given.data_dir, split, given.run, given.limit, topics[: given.limit], given.llm_mode, given.max_cost, given.judge, given.candidate,
    )  # fmt: skip


def _matches(step: Step, given: argparse.Namespace, definition: Definition) -> bool:
    """Return whether the command line names this step; of a run's steps, those on the evaluation split are meant where no split is given."""
    pairs = dict(zip(step.args[::2], step.args[1::2], strict=True))
    candidate = None if given.candidate is None else str(given.candidate)
    if (pairs.get("--run"), pairs.get("--judge"), pairs.get("--candidate")) != (given.run, given.judge, candidate):
        return False
    split = pairs.get("--split")
    if given.run is None or given.split is not None:
        return bool(split == given.split)
    return split in (None, definition.eval.split) or candidate is not None
