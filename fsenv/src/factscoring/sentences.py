"""Sentences and words of a text, by rules: the same on every machine, no downloaded model.

A newline always ends a sentence. Otherwise '.', '!' or '?' before white space ends one, unless the stop belongs to an
abbreviation ("Dr.", "e.g."), to an initial ("J. Doe"), or the text goes on in lower case. A decimal point has no white
space after it and so ends nothing.
"""

from __future__ import annotations

import re

SPLITTER = "rules-1"  # goes into manifests: scores from other splitters are not comparable. Raise it when the rules change.

_LIST_MARK = re.compile(r"\s*(?:[-*•–—]\s+|\(?\d{1,2}[.)]\s+)")
_STOP = re.compile(r"[.!?؟。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]+(?=\S)")
_LAST_WORD = re.compile(r"([\w.]*\w)\s*$")
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")

# Before these stops a sentence never ends: a name or a number follows.
_TITLES = frozenset("mr mrs ms dr prof st sr fr rev hon gen col lt sgt capt gov sen rep pres messrs mt ft vs cf".split())
# These end a sentence only when a word follows that is rarely anything but its first.
_ABBREVIATIONS = frozenset(
    "jr inc ltd co corp ed eds etc al e.g i.e approx ca b d est dept univ u.s u.k d.c ph.d m.d b.a m.a a.m p.m "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_BEFORE_NUMBERS = frozenset("no nos vol pp".split())  # "No. 5", but "She said no. Then"
_OPENERS = frozenset("He She They It His Her Their Its The A An In On At After Before When While Since During This These That".split())


def split_sentences(text: str) -> list[str]:
    """Return the sentences of ``text`` in order, stripped, none empty; a list mark at the start of a line is dropped."""
    sentences: list[str] = []
    for line in text.splitlines():
        mark = _LIST_MARK.match(line)
        start = mark.end() if mark else 0
        for stop in _STOP.finditer(line, start):
            if _ends_sentence(line, start, stop):
                sentences.append(line[start : stop.end()].strip())
                start = stop.end()
        sentences.append(line[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(line: str, start: int, stop: re.Match[str]) -> bool:
    rest = line[stop.end() :].lstrip()
    if not rest:
        return True
    if rest[0].islower():  # "was published by Acme Inc. in 1990", "Yahoo! was"
        return False
    if stop.group()[0] != ".":
        return True
    before = _LAST_WORD.search(line, start, stop.start())
    if before is None:
        return True
    word = before.group(1).lower()
    if word in _TITLES:
        return False
    if word in _BEFORE_NUMBERS:
        return not rest[0].isdigit()
    initial = len(word) == 1 and word.isalpha() and before.group(1).isupper()
    if initial or word in _ABBREVIATIONS:
        follower = _WORD.match(rest)
        return follower is not None and follower.group() in _OPENERS
    return True


def find_words(text: str) -> list[str]:
    """Return the lower-case words of ``text``; a hyphen holds a word together, an apostrophe ends it."""
    return _WORD.findall(text.lower())
