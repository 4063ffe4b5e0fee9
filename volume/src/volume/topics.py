"""The list of a dataset's topics: reading it from CSV, and dealing its topics to the splits so that nobody chose who is tested.

    rows = read_topics(find_list(definition, data_dir))
    deal_splits(rows, {"train": 288, "val": 50, "test": 125}, dpoval=10)

Columns: `topic` (the title of its page in the knowledge base), and if there are any `pronoun`, `lower_case` (the form inside a
sentence), `question_1`, `question_2`, … and `split`. Other columns are for readers alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from volume.datasets import DATASETS
from volume.errors import UsageError, suggest
from volume.paths import DatasetPaths, encode_topic
from volume.settings import Definition

SHARES = {"train": 0.62, "val": 0.11, "test": 0.27}  # the paper's: 288, 50 and 125 of 463
DEALT = ("train", "val", "test")  # in this order
SPLITS = ("train", "dpoval", "val", "test")
PRONOUNS = ("she", "he", "they", "it")
_QUESTION = re.compile(r"question_(\d+)")
_COLUMNS = ("topic", "pronoun", "lower_case", "split", "question_1")
_LONGEST = 230  # bytes of a file name; the longest ending of a topic's files needs the rest of 255
_SHOWN_FAULTS = 12


@dataclass(frozen=True)
class ListedTopic:
    """A row of the list.

    Attributes:
        topic: The title of its page.
        number: Its place in the list, from 0.
        questions: Its own questions, none where the list has none.
        pronoun, lower_case, split: As given, "" where not.
    """

    topic: str
    number: int
    questions: tuple[str, ...] = ()
    pronoun: str = ""
    lower_case: str = ""
    split: str = ""


def find_list(definition: Definition, data_dir: Path) -> Path:
    """Return the file of a definition's list: in the dataset's folder, beside the definition as it lies on the volume, below the volume's root, or packaged.

    Raises:
        UsageError: The definition has no [topics], there is no such file, or one's own and a packaged one have the same name.
    """
    if definition.topics is None:
        raise UsageError(f"dataset '{definition.name}' lacks [topics]; bio.toml shows the section.")
    name = definition.topics.path
    found, packaged = _on_volume(definition, data_dir), DATASETS / name
    if found and packaged.is_file() and found.read_bytes() != packaged.read_bytes():
        raise UsageError(f"topics.path = '{name}' is the name of a list of this project and of yours, {found}. Give yours another name.")
    if found or packaged.is_file():
        return found or packaged
    known = sorted(path.name for path in DATASETS.glob("*.csv"))
    raise UsageError(
        f"topics.path = '{name}': there is no such list beside the definition or in {data_dir}, and none comes with the project."
        f"{suggest(name, known)} Put a CSV file with a column `topic` there."
    )


def topic_files(definition: Definition, paths: DatasetPaths, data_dir: Path) -> list[Path]:
    """Return the files on the volume that the topics come from: the list, if it is one's own, and what is given in its place."""
    found = _on_volume(definition, data_dir)
    return [*([found] if found else []), *sorted(paths.given.glob("questions_per_topic_*.json"))]


def _on_volume(definition: Definition, data_dir: Path) -> Path | None:
    assert definition.topics is not None
    name = definition.topics.path
    places = (data_dir / f"dataset_{definition.name}" / name, data_dir / "definitions" / Path(name).name, data_dir / name)
    return next((path for path in places if path.is_file()), None)


def read_topics(path: Path) -> list[ListedTopic]:
    """Read a list; the byte-order mark and line ends of any system are accepted, and rows without a word in them skipped.

    Raises:
        UsageError: The file cannot be read, or rows of it cannot be used; each is named by its line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"the list of topics {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line} is not UTF-8 text (byte {error.object[error.start]:#04x}). Save the list as CSV in UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[ListedTopic] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    header: list[str] = []
    after = 0  # the line that the row before ended on
    try:
        for cells in reader:
            line, after = after + 1, reader.line_num
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not header:
                header = _check_header(path, cells)
                continue
            row, own = _read_row(header, cells, len(rows))
            if row.topic in lines:
                own.append(f"{row.topic!r} stands on line {lines[row.topic]} already")
            faults += [f"line {line}: {fault}" for fault in own]
            lines.setdefault(row.topic, line)
            rows.append(row)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: no CSV ({error}). A text with a comma, a quote or a line break stands in double quotes.") from error
    if rows and 0 < sum(not row.split for row in rows) < len(rows):
        bare = next(row.topic for row in rows if not row.split)
        faults.append(f"line {lines[bare]}: {bare!r} has no split. Fill the column for all topics, or take it out: then they are dealt by their names")
    if faults:
        more = [f"… and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
        raise UsageError(f"{path} has {len(faults)} fault(s):\n  " + "\n  ".join(faults[:_SHOWN_FAULTS] + more))
    if not rows:
        raise UsageError(f"{path} has no topics. Expected a first line with the columns' names, `topic` among them, and a line for each topic.")
    return rows


def _check_header(path: Path, cells: list[str]) -> list[str]:
    twice = [name for name, times in Counter(cell for cell in cells if cell).items() if times > 1]
    if twice:
        raise UsageError(f"{path}, line 1: column {twice[0]!r} comes twice.")
    if "topic" not in cells:
        separator = next((mark for mark in (";", "\t") if any(mark in cell for cell in cells)), None)
        hint = f" Columns are separated by commas, not by {separator!r}." if separator else suggest("topic", cells)
        raise UsageError(f"{path}, line 1: there is no column 'topic'.{hint} The first line names the columns, e.g. topic,pronoun,question_1.")
    for name in cells:  # a misspelt one would be left out without a word
        near = next((known for known in _COLUMNS if name not in _COLUMNS and name.lower().replace(" ", "_").rstrip("s") == known), None)
        if near or re.fullmatch(r"(?i)questions?[ _-]?\d*", name) and not _QUESTION.fullmatch(name):
            raise UsageError(f"{path}, line 1: column {name!r}: did you mean {near or 'question_1'!r}?")
    return cells


def _read_row(header: Sequence[str], cells: Sequence[str], number: int) -> tuple[ListedTopic, list[str]]:
    """Return a row and what is wrong with it."""
    faults = []
    if len(cells) > len(header):
        faults.append(f"{len(cells)} cells for {len(header)} columns. A text with a comma stands in double quotes")
    given = dict(zip(header, cells, strict=False))
    topic, pronoun, split = given.get("topic", ""), given.get("pronoun", ""), given.get("split", "")
    places = sorted((int(found[1]), name) for name in header if (found := _QUESTION.fullmatch(name)))
    questions = tuple(given[name] for _, name in places if given.get(name))
    if not topic:
        faults.append("the topic is empty")
    if any(not char.isprintable() for char in topic):
        faults.append(f"the topic {topic!r} holds a line break or another character that no title has")
    if len(encode_topic(topic).encode()) > _LONGEST:
        faults.append(f"the topic {topic[:40]!r}… is longer than the name of a file can be")
    if pronoun and pronoun not in PRONOUNS:
        faults.append(f"pronoun {pronoun!r}: expected {', '.join(PRONOUNS)} or nothing")
    if split and split not in SPLITS:
        faults.append(f"split {split!r}: expected {', '.join(SPLITS)}")
    if len(set(questions)) < len(questions):
        faults.append(f"{topic!r} has a question twice")
    return ListedTopic(topic, number, questions, pronoun, given.get("lower_case", ""), split), faults


def deal_splits(topics: Sequence[ListedTopic], shares: Mapping[str, float], dpoval: float) -> dict[str, list[ListedTopic]]:
    """Return the topics of every split, in the order of the list; of a list with a column `split` as that says.

    In the order of the SHA-256 of their titles topics go to train, then to val, then to test: a title decides, nobody's liking. Those
    of dpoval, on whose pairs training is measured, are the first of val, which stay in val too. Without a val they are the first that no
    split took; where all are taken the last of train, which leave it.

    Args:
        topics: The list.
        shares: The sizes of train, val and test: a count, or below 1 a share of the list; 0 where not named; none at all: SHARES.
        dpoval: The size of dpoval, likewise.

    Raises:
        UsageError: The list has too few topics. Where no sizes are given dpoval takes what there is instead.
    """
    order = sorted(topics, key=lambda row: hashlib.sha256(row.topic.encode()).digest())
    if any(row.split for row in topics):
        dealt = {split: [row for row in order if row.split == split] for split in SPLITS}
        dealt = {split: rows for split, rows in dealt.items() if rows or split != "dpoval"}
    else:
        dealt = _deal(order, dict(shares) or SHARES)
    if "dpoval" not in dealt:
        dealt |= _take_dpoval(order, dealt, int(dpoval) if dpoval >= 1 else round(dpoval * len(topics)), strict=bool(shares))
    return {split: sorted(dealt.get(split, []), key=lambda row: row.number) for split in SPLITS}


def _deal(order: Sequence[ListedTopic], shares: Mapping[str, float]) -> dict[str, list[ListedTopic]]:
    wrong = [name for name in shares if name not in DEALT]
    if wrong:
        raise UsageError(f"topics.splits.{wrong[0]}: unknown.{suggest(wrong[0], DEALT)} (The size of dpoval is topics.dpoval.)")
    uneven = [name for name, share in shares.items() if not share >= 0 or (share >= 1 and share != int(share))]
    if uneven:
        raise UsageError(f"topics.splits.{uneven[0]} = {shares[uneven[0]]:g}: expected a whole number of topics, or a share below 1.")
    end, ends = 0.0, [0]
    for split in DEALT:  # ends are rounded, not sizes: so shares that make up the whole take the whole
        share = shares.get(split, 0)
        end += share if share >= 1 else share * len(order)
        ends.append(int(end + 0.5))
    sizes = {split: stop - start for split, start, stop in zip(DEALT, ends, ends[1:], strict=False)}
    shared = [split for split in DEALT if 0 < shares.get(split, 0) < 1]
    for split in shared:  # of a short list, each has one at least
        largest = max(shared, key=lambda other: sizes[other])
        if sizes[split] == 0 and sizes[largest] > 1:
            sizes[split], sizes[largest] = 1, sizes[largest] - 1
    total, told = sum(sizes.values()), ", ".join(f"{split} {size}" for split, size in sizes.items())
    if total > len(order):
        raise UsageError(f"topics.splits want {total} topics ({told}), and the list has {len(order)}. Give smaller numbers, or shares below 1.")
    empty = next((split for split in shared if sizes[split] == 0), None)
    if empty:
        raise UsageError(f"the list has {len(order)} topics ({told}), too few for {empty}. Add some, or give numbers under [topics.splits].")
    rest = iter(order)
    return {split: list(islice(rest, size)) for split, size in sizes.items()}


def _take_dpoval(order: Sequence[ListedTopic], dealt: Mapping[str, list[ListedTopic]], number: int, strict: bool) -> dict[str, list[ListedTopic]]:
    """Return dpoval, and train where topics were taken from it."""
    taken = {row.topic for rows in dealt.values() for row in rows}
    left = [row for row in order if row.topic not in taken]
    if dealt.get("val") or left:
        source, where = (dealt["val"], "val") if dealt.get("val") else (left, "the list beside the other splits")
        if number > len(source) and strict:
            raise UsageError(f"topics.dpoval = {number}, and {where} has {len(source)} topics. Give a smaller number under [topics].")
        return {"dpoval": source[:number]}
    train = dealt.get("train", [])
    if number >= max(1, len(train)):
        raise UsageError(f"topics.dpoval = {number} topics of train, which has {len(train)}. Give a smaller number under [topics], or make a val.")
    end = len(train) - number
    return {"dpoval": train[end:], "train": train[:end]}


def given_questions(paths: DatasetPaths, split: str) -> Path:
    """Return where a questions file of the authors' shape is put, to be taken in place of the list."""
    return paths.given / paths.questions(split).name


def given_responses(paths: DatasetPaths, topic: str) -> list[Path]:
    """Return the file of a topic's responses that is taken in place of sampling, none where there is none; named as here, or by the plain title."""
    folder, name = paths.given / "responses", paths.responses(topic).name
    plain = f"{topic}_generations.json"
    names = [name] if "/" in plain or "\0" in plain else [name, plain]
    return [folder / name for name in dict.fromkeys(names) if (folder / name).is_file()][:1]


def find_named(topics: Sequence[str], text: str) -> list[str]:
    """Return the topics that a text names, with their bracket or without it, as words of their own."""

    def named(topic: str) -> bool:
        bare = re.sub(r"\s*\([^()]*\)$", "", topic)
        forms = {topic, bare} if " " in bare else {topic}  # "Prince" is many a word; "Ada Venn" is a name
        return any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text, re.IGNORECASE) for form in forms)

    return [topic for topic in topics if named(topic)]
