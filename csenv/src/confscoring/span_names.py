"""Names in text, by their capitals: "Marie Curie", "J. R. R. Tolkien", "University of Warsaw", "Ludwig van Beethoven", "WHO".

A name is a run of capitalised words, with particles inside. The first word of a sentence has a capital anyway, so alone it
counts only where the text shows that it is a name: it has one in the middle of a sentence too, or is an acronym or the like.

What this gets wrong: a name of one word at the start of a sentence is missed where nothing else shows it; a title before a
name ("Physicist Marie Curie") becomes part of it; names with "and" or "for" inside come in two parts; German nouns pass for
names; scripts without capitals have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from confscoring.span_words import ABBREVIATIONS, FUNCTION_WORDS, OPENERS, by_offset, core, first_words, is_capitalised, plain, silent_lines, words_of
from confscoring.spans import Span

# Small words inside names; up to three together ("of the", "de la").
_INSIDE = frozenset("of the de da do dos das del della di du des la le les van von der den ter ten zu zur bin ibn al el y af av".split())
# Those that may begin a name ("van Gogh").
_BEGINNING = frozenset("de da del della di du van von der den ter ibn bin al el".split())
_APART = frozenset(("jr", "sr", "inc", "ltd", "phd", "md"))  # they follow a name behind a comma
_MOST_INSIDE = 3

class _Text:
    """A text with its words, and what is known of each."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = words_of(text)
        self.first = first_words(text)
        silent = by_offset(silent_lines(text))
        self.silent = [silent(word.start()) for word in self.words]
        self.lower = {word[0] for word in self.words if word[0].islower()}
        self.middle = {core(word[0]) for index, word in enumerate(self.words) if word.start() not in self.first and not self.silent[index]}

    def is_name(self, index: int) -> bool:
        """Return whether a word can be one of a name, wherever it stands."""
        word = self.words[index]
        return is_capitalised(word[0]) and not self.silent[index] and plain(word[0]) not in FUNCTION_WORDS - {"will", "may"}

    def is_article(self, index: int) -> bool:
        """Return whether a word is the "The" of "The Hague": with a capital inside a sentence, before a name."""
        word, following = self.words[index], index + 1
        inside = word[0] == "The" and word.start() not in self.first
        return inside and following < len(self.words) and self.follows(following) and self.is_name(following)

    def follows(self, index: int) -> bool:
        """Return whether a word can go on a name that the word before belongs to."""
        before, gap = self.words[index - 1][0], self.text[self.words[index - 1].end() : self.words[index].start()]
        if gap in (" ", "\u00a0", " & "):
            return core(before) == before
        if gap in (". ", ".\u00a0", ".") and (len(before) == 1 or before.lower() in ABBREVIATIONS):
            return plain(self.words[index][0]) not in OPENERS
        return gap == ", " and self.words[index][0].lower() in _APART


def find_names(text: str, is_taken: Callable[[int], bool]) -> list[Span]:
    """Return the names in a text, in order.

    Args:
        is_taken: Whether the word at a place is part of something else, a date say.
    """
    words = _Text(text)
    free = [not is_taken(word.start()) for word in words.words]
    found: list[Span] = []
    index = 0
    while index < len(words.words):
        run = _without_ordinary_start(words, _run_from(words, index, free))
        if not run:
            index += 1
            continue
        found += _ends_of(words, run)
        index = run[-1] + 1
    return found


def _run_from(words: _Text, index: int, free: Sequence[bool]) -> list[int]:
    """Return the words of a name that begins with this one; none if no name does."""
    total = len(words.words)
    at = index
    while words.words[at][0] in _BEGINNING and at - index < _MOST_INSIDE and at + 1 < total and free[at] and words.follows(at + 1):
        at += 1
    if not free[at] or not (words.is_name(at) or words.is_article(at)):
        return []
    run = list(range(index, at + 1))
    while True:
        at = run[-1] + 1
        while at < total and words.words[at][0] in _INSIDE and at - run[-1] <= _MOST_INSIDE and words.follows(at):
            at += 1
        if at == total or not free[at] or not words.follows(at):
            return run
        if words.is_name(at):
            run += range(run[-1] + 1, at + 1)
        elif at == run[-1] + 1 and re.fullmatch(r"\d{1,3}", words.words[at][0]):
            return [*run, at]  # "Apollo 11"
        else:
            return run


def _without_ordinary_start(words: _Text, run: list[int]) -> list[int]:
    """Return a name without the words at its start that have their capital from the sentence; none if nothing is left."""
    while run:
        word = words.words[run[0]]
        if word.start() not in words.first or word[0].islower():
            return run
        name = core(word[0])
        if plain(name) in OPENERS or (len(name) == 1 and words.text[word.end() : word.end() + 1] != "."):
            ordinary = True
        elif len(run) > 1:
            ordinary = name.lower() in words.lower
        else:
            ordinary = name not in words.middle and not _is_shaped(name)
        if not ordinary:
            return run
        run = run[1:]
        while run and words.words[run[0]][0] in _INSIDE:  # "Members of Parliament", where "members" is in the text too
            run = run[1:]
    return run


def _is_shaped(word: str) -> bool:
    """Return whether a word is a name by its shape, wherever it stands: NASA, COVID-19, O'Neill, McKay, U.S."""
    return len(word) > 1 and any(character.isupper() or character.isdigit() for character in word[1:])


def _ends_of(words: _Text, run: list[int]) -> list[Span]:
    """Return where a name stands; a single letter is none, and of "Warsaw-based" only "Warsaw" is one."""
    first, last = words.words[run[0]], words.words[run[-1]]
    kept = core(last[0])
    while (cut := max(kept.rfind("-"), kept.rfind("‑"))) > 1 and kept[cut + 1].islower() and kept[:cut].lower() not in ("al", "el", "abd"):
        kept = kept[:cut]
    end = last.start() + len(kept)
    return [(first.start(), end)] if sum(character.isalnum() for character in words.text[first.start() : end]) > 1 else []
