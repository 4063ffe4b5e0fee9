"""The knowledge base: one article per person in words of its own, with gaps, errors and other people's facts.

The verifier has to find a fact among passages that say it otherwise than the responses do, next to sentences that state
the same kind of fact about somebody else.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from confscoring.synthetic.grammar import ATTRIBUTES
from confscoring.synthetic.people import Person
from volume.errors import VolumeError
from volume.settings import WorldSettings

SEPARATOR = "####SPECIAL####SEPARATOR####"  # between the passages of an article, as in FActScore's database
_WRITER_VERSION = 3_040_000  # put into every file, so that another SQLite gives the same bytes

# {who}: the surname or a pronoun that starts a sentence; {v}: the value.
_PHRASES = {
    "birth_year": ("{who} was born in the winter of {v}.", "Parish books show that {who} was born in {v}."),
    "birthplace": ("{who} was born in {v}, the second of four children.", "{who} is a native of {v}."),
    "home_town": ("{who} now lives in {v} with two dogs.", "{who} settled in {v} many years ago."),
    "university": ("{who} graduated from {v} with distinction.", "{who} took a degree at {v}."),
    "field": ("{who} was trained in {v} from an early age.", "At college {who} read {v}."),
    "employer": ("{who} works for {v}.", "{who} joined the staff of {v} after a long search."),
    "prize": ("{who} was awarded the {v} in a small ceremony.", "{who} won the {v} at the second attempt."),
    "pastime": ("{who} spends most weekends on {v}.", "In spare hours {who} turns to {v}."),
}
_OTHERS = {
    "birth_year": "A teacher, {other}, was born in {v}.",
    "birthplace": "A cousin, {other}, was born in {v}.",
    "home_town": "An old friend, {other}, lives in {v}.",
    "university": "A rival, {other}, graduated from {v}.",
    "field": "A mentor, {other}, was trained in {v}.",
    "employer": "A former colleague, {other}, works for {v}.",
    "prize": "Another guest, {other}, won the {v} in the same year.",
    "pastime": "A neighbour, {other}, spends weekends on {v}.",
}
_FILLERS = (
    "The family kept few letters.", "Friends recall a dry sense of humour.", "Little is known about the early years.",
    "A portrait hangs in the county museum.", "Several interviews were printed over the years.", "The archive is open on weekdays.",
)  # fmt: skip


def write_articles(
    seed: int, people: list[Person], values: dict[str, list[str]], settings: WorldSettings
) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Return the articles (title, text) and, by person, the attributes whose true value stands in the article."""
    rng = random.Random(f"{seed}/articles")
    rows, known = [], {}
    for person in people:
        sentences: list[str] = []
        known[person.name] = []
        for attribute in ATTRIBUTES:
            chance = rng.random()
            if chance < settings.absent:
                continue
            value = person.facts[attribute]
            if chance < settings.absent + settings.stale:
                value = rng.choice([other for other in values[attribute] if other != value])
            else:
                known[person.name].append(attribute)
            who = rng.choice((person.surname, person.pronoun))
            sentence = rng.choice(_PHRASES[attribute]).format(who=who, v=value)
            sentences.append(sentence[0].upper() + sentence[1:])
        for _ in range(3):
            attribute = rng.choice(ATTRIBUTES)
            other = rng.choice([candidate for candidate in people if candidate is not person])
            sentences.append(_OTHERS[attribute].format(other=other.name, v=rng.choice(values[attribute])))
        sentences += rng.sample(_FILLERS, 2)
        rng.shuffle(sentences)
        opening = f"{person.name} is the subject of this article."
        rows.append((person.name, SEPARATOR.join(_passages(rng, [opening, *sentences]))))
    return rows + _noise(rng, values), known


def _passages(rng: random.Random, sentences: list[str]) -> list[str]:
    """Return the sentences as 3 to 6 passages of about equal length."""
    count = rng.randint(3, 6)
    size = -(-len(sentences) // count)
    return [" ".join(sentences[start : start + size]) for start in range(0, len(sentences), size)]


def _noise(rng: random.Random, values: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return articles on towns, universities and firms: titles that no response is about."""
    rows = []
    for attribute, text in (
        ("birthplace", "{v} is a town on a slow river. Its market is held on {day}."),
        ("university", "{v} is a university with {number} students. Its oldest hall burnt down in a {day} storm."),
        ("employer", "{v} is a firm with {number} people on its staff. It closes on {day}."),
    ):
        for value in values[attribute]:
            day = rng.choice(("Monday", "Tuesday", "Thursday", "Friday"))
            rows.append((value, text.format(v=value, day=day, number=rng.randrange(100, 9000))))
    return rows


def write_database(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a knowledge base in FActScore's format, atomically, with bytes that depend on the rows alone.

    Raises:
        VolumeError: The disk is full or the folder cannot be written; no partial file is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(partial)) as db, db:
            db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
            db.executemany("INSERT INTO documents VALUES (?, ?)", sorted(rows))
        with partial.open("r+b") as file:  # the header names the SQLite version that wrote last: not a part of the content
            file.seek(96)
            file.write(_WRITER_VERSION.to_bytes(4, "big"))
        partial.replace(path)
    except (OSError, sqlite3.OperationalError) as error:  # a full disk shows as either
        raise VolumeError(f"cannot write {path}: {error}. Free some space or mend the folder's permissions, then run the same command again.") from error
    finally:
        partial.unlink(missing_ok=True)
