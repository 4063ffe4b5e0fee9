"""Finds the verb of an English clause and takes it apart for a question: "usually lasts" -> "does ... usually last"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from confscoring.question_verbs import BASES, Verb, is_participle, read_verb
from confscoring.question_words import ADVERBS, BE, BEFORE_NOUN, BEFORE_VERB, DETERMINERS, DO, HAVE, IDLE, MODALS, NEGATIONS, NO_ADVERBS

_PLURAL_NOUNS = frozenset("people children men women patients they".split())
_BESIDES = frozenset("that and who which when because".split())  # with one of these a later verb is no main verb
_WITH_HAVE = {"has": "does", "have": "do", "had": "did"}


class Predicate(NamedTuple):
    """The verb of a clause.

    Attributes:
        front: The word that goes before the subject of a question: "was", "did", "can"; "" where the verb's base form is not known.
        verb: What stays behind the subject: "born", "usually last"; "" where the verb is a form of "be" alone.
        spoken: The whole verb as the statement has it: "was born", "usually lasts".
        base: Base form of the verb that decides; "be" where it is that alone.
        past: For a question that keeps the statement's verb.
        end: Where the words after it begin.
    """

    front: str
    verb: str
    spoken: str
    base: str
    past: bool
    end: int


def find_predicate(words: Sequence[str], index: int, sure: bool) -> Predicate | None:
    """Return the verb that begins at a word; None where none does.

    Args:
        words: The clause.
        sure: The word stands where a verb is to be expected: behind the topic, or behind "usually" and the like.
    """
    word = words[index].casefold() if words[index][0].islower() else ""
    after, adverbs = _skip_adverbs(words, index + 1)
    following = words[after] if after < len(words) else ""
    if word in BE:
        return _with_be(words, index + 1, word, word, "")
    if word in MODALS and following == "be":
        return _with_be(words, after + 1, word, _join(word, adverbs, "be"), _join(adverbs, "be"))
    if word in HAVE and is_participle(following):
        second, inner = _skip_adverbs(words, after + 1)
        passive = following == "been" and second < len(words) and (is_participle(words[second]) or words[second].endswith("ing"))
        verb = _join(adverbs, following, inner, words[second]) if passive else _join(adverbs, following)
        base = base_of(words[second]) if passive else "be" if following == "been" else base_of(following)
        return Predicate(word, verb, _join(word, verb), base, word == "had", (second if passive else after) + 1)
    if word in HAVE and (sure or words[index - 1].casefold() != "to"):
        return Predicate(_WITH_HAVE[word], _join(adverbs, "have"), _join(word, adverbs), "have", word == "had", after)
    if word in MODALS and following:
        return Predicate(word, _join(adverbs, following), _join(word, adverbs, following), following, False, after + 1)
    if word in DO and following in NEGATIONS:
        return Predicate(word, "", word, "do", False, index + 1)
    return _with_do(words, index, word, after, sure)


def _with_be(words: Sequence[str], start: int, front: str, spoken: str, inner: str) -> Predicate:
    """Return a form of "be" with the participle that may follow; ``inner`` is what a modal verb leaves behind the subject."""
    after, adverbs = _skip_adverbs(words, start)
    participle = words[after] if after < len(words) else ""
    past = front in ("was", "were")
    progressive = participle.endswith("ing") and participle.islower() and len(participle) > 5 and front in BE and after + 1 < len(words)
    if is_participle(participle) or progressive:
        verb = _join(adverbs, participle)
        return Predicate(front, _join(inner, verb), _join(spoken, verb), base_of(participle), past, after + 1)
    return Predicate(front, _join(inner, adverbs), _join(spoken, adverbs), "be", past, after)


def _with_do(words: Sequence[str], index: int, word: str, after: int, sure: bool) -> Predicate | None:
    """Return a verb that a question asks about with "do"; two with one object ("wrote and directed films") stay as they are."""
    verb = _read_main(words, index, word, sure)
    if verb is None:
        return None
    if after < len(words) and words[after] in ("and", "or"):
        second = words[after + 1] if after + 1 < len(words) else ""
        if read_verb(second, True) is not None:
            return Predicate("", "", _join(word, words[after], second), verb.base or "", verb.past, after + 2)
    front = "did" if verb.past else "do" if word == verb.base else "does"
    return Predicate(front if verb.base else "", verb.base or "", word, verb.base or "", verb.past, index + 1)


def _read_main(words: Sequence[str], index: int, word: str, sure: bool) -> Verb | None:
    if not word or word.endswith(","):
        return None
    before = next((one.casefold() for one in reversed(words[:index]) if one not in ADVERBS | IDLE and not is_adverb(one)), "").rstrip(",")
    verb = read_verb(word, sure)
    noun_before = before not in DETERMINERS | BEFORE_NOUN
    if (verb is None or not verb.past) and noun_before and (word in BASES or words[index - 1] in BEFORE_VERB) and _is_plural(words[:index], before):
        return Verb(word, False)
    if verb is None or sure or before in ("that", "which", "who"):
        return verb
    if not noun_before or before.endswith(("'s", "’s")):
        return None  # "the affected area", "the causes of"
    if word.endswith("ed") and (before.endswith("ing") or _is_reduced(words[index + 1 :], _is_plural(words[:index], before))):
        return None  # "drinking contaminated water", "people infected with it develop a rash"
    return verb


def _is_plural(subject: Sequence[str], last: str) -> bool:
    """Return whether a subject is plural by its last word or by the one before "of" and the like."""
    head = re.split(r"(?: [a-z]+ed)? (?:of|with|in|at|from|for|on|under|over)\b", " ".join(subject))[0].split()[-1].casefold()
    return any(one in _PLURAL_NOUNS or (one.endswith("s") and not one.endswith(("'s", "’s", "ss", "is", "us"))) for one in (last, head))


def _is_reduced(later: Sequence[str], plural: bool) -> bool:
    """Return whether a participle with its phrase stands for a relative clause: a finite verb comes later."""
    if not later or later[0] not in BEFORE_NOUN or _BESIDES & set(later):
        return False
    for place, one in enumerate(later[1:], start=1):
        last = later[place - 1]
        if one in BE | HAVE | MODALS or (one in BASES and (plural or last.endswith("s")) and last not in DETERMINERS | BEFORE_NOUN):
            return True
        if place > 1 and one.endswith("s") and one[0].islower() and read_verb(one) and last not in DETERMINERS | BEFORE_NOUN:
            return True
    return False


def _skip_adverbs(words: Sequence[str], index: int) -> tuple[int, str]:
    """Return the place behind the adverbs that begin at a word, and those among them that a question keeps."""
    kept = []
    while index < len(words) and words[index] not in ("no", "first") and (words[index] in ADVERBS | IDLE | NEGATIONS or is_adverb(words[index])):
        kept += [] if words[index] in IDLE else [words[index]]
        index += 1
    return index, " ".join(kept)


def is_adverb(word: str) -> bool:
    """Return whether a word is an adverb by its ending."""
    return word.endswith("ly") and word.islower() and word not in NO_ADVERBS and len(word) > 4


def base_of(participle: str) -> str:
    """Return the base form of a participle; itself where it is not known."""
    irregular = {"born": "bear", "known": "know", "given": "give", "written": "write", "shown": "show", "seen": "see", "grown": "grow", "taken": "take"}
    verb = read_verb(participle)
    return irregular.get(participle) or (verb.base if verb and verb.base else participle)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
