"""The equivalence `suffix`: the rules of the public FactTune code, so that its figures can be had again.

The rules were found from what that code does to given answers (tests/fixtures/upstream.json); this is our own code. They are
kept with their faults, since published figures hang on them: one answer may end in another without a word boundary ("male" is
"female", "7" is "1947"), an empty answer agrees with every answer, and an answer joins the first class that takes it, so the
classes depend on the order of the answers. `words` has none of these.

What the known figures do not show, and was chosen: "?", ":" and ";" go the way of "!", and a leading "the" goes before "a" and "an".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confscoring.equivalence import AnswerClasses, AnswerGroup
from volume.errors import ItemError

_ARTICLES = ("the", "a", "an")
_ENDS = ' ."()'  # gone from both ends; brackets inside stay
_GONE = str.maketrans("", "", ",-'\"!?:;")


def trim_answer(answer: str) -> str:
    """Return an answer in lower case without what encloses it and without one leading article, as far as anything is left."""
    text = answer.strip().lower().strip(_ENDS)
    for article in _ARTICLES:
        text = text.removeprefix(f"{article} ")
    return text


def normalise_answer(answer: str) -> str:
    """Return the form in which answers are compared. All that begins with "yes" or "no" as a word is that word."""
    text = " ".join(trim_answer(answer).translate(_GONE).replace(".", " ").split())
    for word in ("yes", "no"):
        if text.startswith(f"{word} "):
            return word
    for article in _ARTICLES:
        text = text.replace(f" {article} ", " ")
    return text.removesuffix(" and")


def are_equivalent(left: str, right: str) -> bool:
    """Return whether two normalised answers are the same to the public code."""
    if left.endswith(right) or right.endswith(left) or set(left.split()) == set(right.split()):
        return True
    return f"{left}s" == right or f"{right}s" == left


class SuffixEquivalence:
    """Puts each answer into the first class whose first answer it is equivalent to."""

    def classify(self, groups: Sequence[AnswerGroup]) -> list[AnswerClasses | ItemError]:
        """Return the classes of every group. ``claimed`` counts answers that are equivalent to the claim's, of whatever class."""
        return [_classify(group) for group in groups]

    def identity(self) -> dict[str, Any]:
        """Return what the classes depend on."""
        return {"backend": "suffix"}


def _classify(group: AnswerGroup) -> AnswerClasses:
    answers = [normalise_answer(answer) for answer in group.answers]
    sizes: dict[str, int] = {}
    for answer in answers:
        home = next((first for first in sizes if are_equivalent(answer, first)), answer)
        sizes[home] = sizes.get(home, 0) + 1
    claimed = None if group.claimed is None else normalise_answer(group.claimed)
    agreeing = None if claimed is None else sum(are_equivalent(answer, claimed) for answer in answers)
    return AnswerClasses(tuple(sizes.values()), agreeing)
