"""Sentences of free text: NLTK's punkt where its data is installed, else spaCy's rule-based sentencizer.

Nothing is downloaded. Which of the two was used is part of a score's identity, so a splitter has a name. What both get
wrong in biographies (initials, titles, "No. 5") is mended afterwards, alike for both.

Not covered: scripts without spaces between sentences may come back unsplit, which costs grain and loses no text.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from volume.errors import UsageError
from volume.imports import without_torch

_PUNKT = "tokenizers/punkt_tab/english/"
_LIST_MARK = re.compile(r"\s*(?:[-*•–—]|\(?\d{1,2}[.)])\s+")
_INITIAL = re.compile(r"(?<!\w)[^\W\d_]\.$")
_TITLE = re.compile(r"(?<!\w)(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Fr|Rev|Hon|Gen|Col|Lt|Sgt|Capt|Gov|Sen|Rep|Pres|Messrs|Mt|Ft|vs)\.$")
_NUMBER = re.compile(r"(?<!\w)(?:No|Nos|Vol|pp|p)\.$")
# Words that stand first in a sentence far more often than in a name: "He chose plan B. She did not."
_OPENER = re.compile(r"(?:He|She|They|It|His|Her|Their|Its|The|A|In|On|At|After|Before|When|While|Since|During|This|These)\b")


@dataclass(frozen=True)
class Splitter:
    """Cuts text into sentences.

    Attributes:
        name: The package with its version and the method, for manifests: scores from two splitters do not compare.
        cut: Returns the pieces of one line.
    """

    name: str
    cut: Callable[[str], list[str]]

    def split(self, text: str) -> list[str]:
        """Return the sentences of ``text`` in order, stripped.

        A line break always ends a sentence; a list mark at the start of a line is dropped, and so are sentences without a
        letter or a digit.
        """
        sentences: list[str] = []
        for line in text.splitlines():
            mark = _LIST_MARK.match(line)
            body = line[mark.end() :] if mark else line
            if body.strip():
                sentences += _mend(self.cut(body))
        return [sentence for sentence in sentences if any(character.isalnum() for character in sentence)]


def find_splitter() -> Splitter:
    """Return the best splitter that is installed.

    Raises:
        UsageError: There is punkt data and it cannot be read; going on with the other splitter would change scores unseen.
    """
    return _find_punkt() or _build_sentencizer()


def data_folders() -> list[Path]:
    """Return where NLTK looks for its data (nltk.data.path), without importing it."""
    given = [Path(name) for name in os.environ.get("NLTK_DATA", "").split(os.pathsep) if name]
    own = [Path(sys.prefix) / part for part in ("nltk_data", "share/nltk_data", "lib/nltk_data")]
    usual = [Path(name) / "nltk_data" for name in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    return [*given, *([Path("~/nltk_data").expanduser()] if os.path.expanduser("~/") != "~/" else []), *own, *usual]


def _find_punkt() -> Splitter | None:
    if not any(folder.is_dir() for folder in data_folders()):
        return None  # importing NLTK takes a second or two, scipy with it
    # Here and not above: nltk and spacy pull in numpy, which most commands of this package do without.
    from nltk.data import find
    from nltk.tokenize.punkt import PunktTokenizer

    try:
        folder = find(_PUNKT)
    except LookupError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise _broken("punkt_tab on NLTK's search path", error) from error
    try:
        tokenizer = PunktTokenizer("english")
    except (LookupError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise _broken(str(folder), error) from error
    return Splitter(f"nltk-{importlib.metadata.version('nltk')} punkt_tab", tokenizer.tokenize)


def _broken(where: str, error: Exception) -> UsageError:
    reason = str(error).strip() or type(error).__name__
    return UsageError(
        f"{where}: this punkt data cannot be read ({reason}). Expected the tabular model `punkt_tab` for English. Install it anew, "
        "or delete it to have sentences split by spaCy's sentencizer."
    )


def _build_sentencizer() -> Splitter:
    with without_torch():
        import spacy

        pipeline = spacy.blank("en")
        pipeline.add_pipe("sentencizer")
    pipeline.max_length = 1 << 40  # the limit guards statistical parts, and there are none

    def cut(line: str) -> list[str]:
        return [sentence.text for sentence in pipeline(line).sents]

    return Splitter(f"spacy-{importlib.metadata.version('spacy')} sentencizer", cut)


def _mend(pieces: list[str]) -> list[str]:
    """Join pieces that were cut inside a name, a number or before lower case."""
    mended: list[str] = []
    for piece in map(str.strip, pieces):
        if not piece:
            continue
        if mended and _goes_on(mended[-1], piece):
            mended[-1] += " " + piece
        else:
            mended.append(piece)
    return mended


def _goes_on(before: str, after: str) -> bool:
    if not before.endswith("."):
        return False
    if _NUMBER.search(before):
        return after[0].isdigit()
    initial = _INITIAL.search(before)
    if (initial and initial.group()[0].isupper()) or _TITLE.search(before):
        return _OPENER.match(after) is None
    # "Acme Inc. in 1990"; text that is lower case throughout says nothing about where sentences begin.
    return after[0].islower() and before[0].isupper()
