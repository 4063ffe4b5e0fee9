"""Who a sentence is about: names of people in a text, and whether a name means the topic."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_](?:[^\W_]|[-'’](?=[^\W_]))*")
_TITLES = frozenset("Mr Mrs Ms Miss Dr Prof Professor Sir Dame Lord Lady".split())
# Words that are capitalised only because they stand first: "In Ostrel" is no name of two words.
_OPENERS = frozenset(
    "A After Although An And As At Before Both But By During For From Had Has He Her His How I If In Into It Its Like Many Most "
    "Near No Of On One Once Only Or Our Records She Since So Some That The Their Then There These They This Those Though Through "
    "To Two Under Until Upon Was We Were What When Where While Who With Without".split()
)


@dataclass(frozen=True)
class Mention:
    """A name in a sentence: its words without titles and dots, where it stands (characters), whether "'s" follows."""

    words: tuple[str, ...]
    start: int
    end: int
    possessive: bool


@dataclass(frozen=True)
class Name:
    """The name of the person (or thing) that a topic is about.

    Attributes:
        full: The topic without a Wikipedia bracket: "Ada Venn (chemist)" is "Ada Venn".
        words: ``full`` split at white space; the last one counts as the surname.
    """

    full: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, topic: str) -> Name:
        """Return the name in a topic."""
        full = re.sub(r"\s*\([^()]*\)\s*$", "", topic).strip() or topic.strip()
        return cls(full, tuple(full.split()))

    @property
    def surname(self) -> str:
        return self.words[-1] if self.words else ""

    def is_meant_by(self, mention: Sequence[str]) -> bool:
        """Return whether ``mention`` is the full name, the surname alone, or the surname after the first name or its initial.

        A relative ("Elin Venn" for the topic "Ada Venn") is somebody else.
        """
        words = [word.casefold().rstrip(".") for word in mention]
        own = [word.casefold().rstrip(".") for word in self.words]
        if not words or not own or words[-1] != own[-1]:
            return False
        return len(words) == 1 or words[-len(own) :] == own or words[0] in (own[0], own[0][0])


def find_mentions(sentence: str, topic: Name, not_names: Collection[str] = ()) -> list[Mention]:
    """Return the names of people in a sentence, in order.

    A name is two or more capitalised words side by side (an initial counts as one), or the topic's surname alone. Other
    capitalised words that stand alone are towns, firms and the like.

    Args:
        not_names: Further words that start sentences and belong to no name.
    """
    runs: list[list[re.Match[str]]] = []
    open_run = False
    for word in _WORD.finditer(sentence):
        if not word.group()[0].isupper():
            open_run = False
            continue
        if open_run and _adjoin(sentence, runs[-1][-1], word):
            runs[-1].append(word)
        else:
            runs.append([word])
        open_run = not _is_possessive(word.group())
    mentions = []
    for run in runs:
        while run and (run[0].group() in _OPENERS or run[0].group() in _TITLES or run[0].group() in not_names):
            run = run[1:]
        if not run:
            continue
        words = tuple(_bare(word.group()) for word in run)
        if len(words) > 1 or topic.is_meant_by(words):
            mentions.append(Mention(words, run[0].start(), run[-1].end(), _is_possessive(run[-1].group())))
    return mentions


def _adjoin(sentence: str, left: re.Match[str], right: re.Match[str]) -> bool:
    between = sentence[left.end() : right.start()]
    return between.isspace() or (between.strip() == "." and (len(left.group()) == 1 or left.group() in _TITLES))


def _is_possessive(word: str) -> bool:
    return word.endswith(("'s", "’s"))


def _bare(word: str) -> str:
    return word[:-2] if _is_possessive(word) else word
