"""Checks a dataset's topics against its knowledge base, before anything is sampled or paid for. `make data CHECK=1` runs it.

    python -m factscoring.check_topics --dataset bio --data-dir data

Reads: the list of [topics], the questions files in given/ and in the dataset's folder, the knowledge base. Prints the topics without a
page, with the nearest titles; topics that are one page, or stand in one file twice; topics that a few-shot example names. Writes
nothing. Exit status: 0 there are none, 3 there are some, 2 the list or the knowledge base cannot be used.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from factscoring.knowledge import Knowledge
from volume.datasets import add_world_arguments, load_definition
from volume.errors import COMPLETE, PARTIAL, ItemError, UsageError, tell_errors
from volume.evidence import knowledge_files
from volume.paths import DatasetPaths
from volume.records import Topics, load
from volume.settings import Definition
from volume.topics import find_list, find_named, given_questions, read_topics

_LIST = "list"


@dataclass(frozen=True)
class Finding:
    """Something about a topic that its owner should look at."""

    topic: str
    where: str
    what: str


def main(argv: list[str] | None = None) -> int:
    """Check a dataset's topics; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m factscoring.check_topics", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser, required=True)
    parser.add_argument("--data-dir", required=True, type=Path, help="the data volume")
    given = parser.parse_args(argv)
    return tell_errors(lambda: check(load_definition(given.dataset, given.seed, given.scale), given.data_dir))


def check(definition: Definition, data_dir: Path) -> int:
    """Print what is found; return the exit status.

    Raises:
        UsageError: There are no topics, or no knowledge base.
        RecordError: A file cannot be read.
    """
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    sources = dict(collect_topics(definition, paths, data_dir))
    if not any(sources.values()):
        raise UsageError(f"dataset '{definition.name}' has no topics yet: it has no [topics], and there is no questions file in {paths.root}.")
    files = knowledge_files(definition, paths, data_dir)
    if not files:
        raise UsageError(f"dataset '{definition.name}' lacks [knowledge]; bio.toml shows the section.")
    knowledge = Knowledge(files[0], files[1] if len(files) > 1 else None)
    places: dict[str, list[str]] = {}
    for where, names in sources.items():
        for name in dict.fromkeys(names):
            places.setdefault(name, []).append(where)
    missing, alike = look_up(knowledge, places)
    twice = [Finding(name, where, "stands there twice") for where, names in sources.items() for name in dict.fromkeys(names) if names.count(name) > 1]
    shown = list(named_in_examples(definition, places))
    show("without a page", missing)
    show("twice", [*twice, *alike])
    show("in a few-shot example, which gives answers away", shown)
    print(f"{len(places)} topics ({', '.join(f'{where} {len(names)}' for where, names in sources.items())}): {len(missing)} without a page in {files[0].name}, "
          f"{len(twice) + len(alike)} twice, {len(shown)} in a few-shot example.")  # fmt: skip
    return PARTIAL if missing or twice or alike or shown else COMPLETE


def collect_topics(definition: Definition, paths: DatasetPaths, data_dir: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, topics): of the list, of given files, and of the dataset's own questions files where it has no list.

    Raises:
        UsageError: The list cannot be read.
        RecordError: A file of questions cannot be read.
    """
    if definition.topics is not None and definition.world is None:
        yield _LIST, [row.topic for row in read_topics(find_list(definition, data_dir))]
    for split in definition.splits:
        own = paths.questions(split) if definition.topics is None or definition.world is not None else None
        for where, path in ((f"given {split}", given_questions(paths, split)), (split, own)):
            if path is not None and path.is_file():
                topics: Topics = load(path, Topics)
                yield where, [topic["topic"] for topic in topics]


def look_up(knowledge: Knowledge, places: dict[str, list[str]]) -> tuple[list[Finding], list[Finding]]:
    """Return the topics without a page, and those that are the page of another topic."""
    missing, alike = [], []
    owners: dict[str, str] = {}
    for name, where in places.items():
        try:
            page = knowledge.resolve(name)
        except ItemError as error:
            missing.append(Finding(name, ", ".join(where), nearest_in(str(error))))
            continue
        if page in owners:
            alike.append(Finding(name, ", ".join(where), f"is the page {page!r}, as {owners[page]!r} is"))
        owners.setdefault(page, name)
    return missing, alike


def nearest_in(message: str) -> str:
    """Return the nearest titles in the message about an unknown page; the whole message where it says something else."""
    found = re.search(r"Nearest titles: (.*)\. The topic must be a title", message)
    return f"nearest: {found[1]}" if found else "no title is near it" if "No title is near it" in message else message


def named_in_examples(definition: Definition, topics: Sequence[str] | dict[str, list[str]]) -> Iterator[Finding]:
    """Yield the topics that a few-shot example of the definition names."""
    for section, settings in (("responses", definition.responses), ("answers", definition.answers)):
        if settings is not None:
            yield from (Finding(name, f"{section}.prefix", "take another example, or take the topic out") for name in find_named(list(topics), settings.prefix))


def show(title: str, findings: Sequence[Finding]) -> None:
    """Print findings as a table, if there are any."""
    if not findings:
        return
    print(f"Topics {title} ({len(findings)}):")
    widths = [max(len(text) for text in column) for column in zip(*((found.topic, found.where) for found in findings), strict=True)]
    for found in findings:
        print(f"  {found.topic:{widths[0]}}  {found.where:{widths[1]}}  {found.what}")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
