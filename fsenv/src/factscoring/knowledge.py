"""The knowledge base: FActScore's SQLite file, one row per page, opened read-only and used as it is.

    documents(title PRIMARY KEY, text)     `text` is the page's passages, joined by SEPARATOR

Beside it may lie a JSON file of redirects, {"other title": "title"}, for topics that are not called as their page is.
"""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from volume.errors import ItemError, RecordError, UsageError

SEPARATOR = "####SPECIAL####SEPARATOR####"
_NEAR = 600  # titles with the same beginning that are compared with an unknown one
_FIRST = 2000  # titles from the file's beginning that are compared too: of a small file, all
_SPELLINGS = 8  # beginnings that are followed at once when letters are tried in both cases
_BRACKET = re.compile(r"\s*\([^()]*\)\s*$")


class Knowledge:
    """Read-only access to a knowledge base.

    Args:
        path: The SQLite file.
        redirects: A JSON file {"other title": "title"}; looked up for a title that is no page.

    Raises:
        UsageError: There is no such file.
        RecordError: It is no knowledge base, or the redirects are not texts for texts.
    """

    def __init__(self, path: Path, redirects: Path | None = None) -> None:
        self._path = path
        if not path.is_file():  # checked first: SQLite would be asked for a file that only it misses
            raise UsageError(
                f"the knowledge base {path} is missing. `make data` writes the one of a generated world; another one is built with "
                f"`python -m factscoring.build_knowledge --input pages.jsonl --output {path.name}`."
            )
        self._redirects = {} if redirects is None else read_redirects(redirects)
        try:
            self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        except sqlite3.OperationalError as error:  # no permission to read it
            raise self._broken(str(error)) from error
        if self._one("SELECT title, text FROM documents LIMIT 1") is None:
            raise self._broken("its table documents is empty")

    def resolve(self, title: str) -> str:
        """Return the title of the page that ``title`` names: itself, or where its redirects lead.

        Raises:
            ItemError: There is no such page (the message names the nearest titles), or the redirects go in a circle.
        """
        try:
            title.encode()
        except UnicodeEncodeError as error:
            raise ItemError(f"the topic {title!r} holds a character that is no valid Unicode: {error}") from error
        way = [title]
        while self._one("SELECT 1 FROM documents WHERE title = ?", way[-1]) is None:
            target = self._redirects.get(way[-1])
            if target is None:
                raise ItemError(self._unknown(way))
            if target in way:
                raise ItemError(f"the redirects of {title!r} go in a circle: {' -> '.join(map(repr, [*way, target]))}. Let one of them name a page.")
            way.append(target)
        return way[-1]

    def passages(self, title: str) -> list[str]:
        """Return the passages of the page that ``title`` names, in page order.

        Raises:
            ItemError: As ``resolve``.
            RecordError: The page cannot be read.
        """
        page = self.resolve(title)
        row = self._one("SELECT text FROM documents WHERE title = ?", page)
        assert row is not None
        if not isinstance(row[0], str):
            raise self._broken(f"the text of page {page!r} is {type(row[0]).__name__}, expected text")
        parts = (part.replace("<s>", "").replace("</s>", "").strip() for part in row[0].split(SEPARATOR))  # marks in enwiki-20230401.db
        return [part for part in parts if part]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _unknown(self, way: list[str]) -> str:
        near = self._nearest(way[-1])
        led = f" ({way[0]!r} is redirected to it)" if len(way) > 1 else ""
        hint = f" Nearest titles: {', '.join(map(repr, near))}." if near else " No title is near it."
        return f"the knowledge base {self._path.name} has no page titled {way[-1]!r}{led}.{hint} The topic must be a title, letter by letter."

    def _nearest(self, title: str) -> list[str]:
        """Return up to three near titles; those that differ only in case or in a bracket at the end come first."""
        folded: dict[str, str] = {}
        for known in self._candidates(title):
            folded.setdefault(known.casefold(), known)
        wanted = title.casefold()
        core = _BRACKET.sub("", wanted)
        same = sorted((known for known in folded if _BRACKET.sub("", known) == core), key=lambda known: (known != wanted, len(known), known))
        near = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.6)
        return [folded[known] for known in dict.fromkeys([*same, *near])][:3]

    def _candidates(self, title: str) -> Iterator[str]:
        """Yield titles that begin like ``title`` in any case, those that do so longest first, then the first ones of the file."""
        levels = [[""]]
        for letter in title:
            cases = dict.fromkeys((letter, letter.lower(), letter.upper()))
            longer = [start + case for start in levels[-1] for case in cases]
            levels.append([start for start in longer if self._titles(start, 1)][:_SPELLINGS])
            if not levels[-1]:
                break
        room = _NEAR
        for level in reversed(levels[1:]):
            for start in level:
                found = self._titles(start, room)
                room -= len(found)
                yield from found
            if room <= 0:
                break
        yield from self._titles("", _FIRST)

    def _titles(self, start: str, limit: int) -> list[str]:
        """Return the first titles that begin with ``start``, by the index; any titles where it is empty."""
        where, values = ("WHERE title >= ? AND title < ?", (start, start + "\U0010ffff")) if start else ("", ())
        try:
            return [str(row[0]) for row in self._db.execute(f"SELECT title FROM documents {where} LIMIT ?", (*values, limit))]
        except sqlite3.DatabaseError as error:
            raise self._broken(str(error)) from error

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._broken(str(error)) from error
        return row

    def _broken(self, why: str) -> RecordError:
        return RecordError(
            f"{self._path} is not a readable knowledge base: {why}. Expected an SQLite file with a table documents(title, text). A cut-short "
            "download, or a web page saved under its name, looks like this: fetch or build the file again (`make data` for a generated world)."
        )


def read_redirects(path: Path) -> dict[str, str]:
    """Return the redirects of a JSON file {"other title": "title"}.

    Raises:
        UsageError: There is no such file.
        RecordError: It is no JSON, or not an object of texts.
    """
    expected = 'Expected one JSON object {"other title": "title of a page"}.'
    try:
        redirects = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"the redirects {path} are missing. {expected}") from error
    except OSError as error:
        raise UsageError(f"the redirects {path} cannot be read: {error.strerror}. {expected}") from error
    except ValueError as error:
        raise RecordError(f"the redirects {path} are not valid JSON: {error}. {expected}") from error
    if not isinstance(redirects, dict):
        raise RecordError(f"the redirects {path} hold {type(redirects).__name__}. {expected}")
    for other, title in redirects.items():
        if not isinstance(title, str):
            raise RecordError(f"the redirects {path} lead {other!r} to {json.dumps(title)[:60]}. {expected}")
    return redirects
