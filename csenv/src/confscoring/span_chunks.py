"""Noun phrases in English text, by words alone: an approximation for where no spaCy model is at hand.

A phrase is a run of words between function words, verbs and punctuation; a determiner begins a new one and belongs to it.
Verbs are told by their spelling and by what stands around them ("to", "can", "she", a determiner behind), so some are taken
for nouns and the other way round. As in the public code subjects are left out: phrases with which a sentence, a line or a
list's item begins, and those before a verb. Pronouns and bare numbers are no phrases. English only: a word in another script
ends a phrase.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from confscoring.question_verbs import BASES, is_participle, read_verb
from confscoring.span_words import AUXILIARIES, DETERMINERS, FUNCTION_WORDS, MODALS, PREPOSITIONS, first_words, is_latin, words_of
from confscoring.spans import Span

_MOST_WORDS = 10  # a longer run is no phrase, but text that the word lists do not fit
_BEFORE_VERBS = MODALS | frozenset("do does did i he she it we you they who which".split())  # what follows, an adverb aside, is a verb
_NOTED = AUXILIARIES | PREPOSITIONS | _BEFORE_VERBS
_GOVERNING = PREPOSITIONS - frozenset("after as because before since than till until".split())  # what follows them is no subject
_QUANTIFIERS = frozenset("several many few various this no all both such".split())  # they begin a phrase before a noun, else stand alone
# "the most common", "her first prize": behind a determiner they are part of the phrase.
_AMONG = frozenset("first next last most more less only very same few many much such all one".split())
# "can also cause": these, and other adverbs, change nothing about what is expected next.
_BETWEEN = frozenset("not also often sometimes always never only even still already then further just ever first later best well".split())
_NO_ADVERBS = frozenset(
    "family early daily weekly monthly yearly assembly anomaly belly bully reply supply jelly butterfly melancholy monopoly friendly elderly deadly costly lively lonely "
    "likely unlikely timely orderly scholarly fly ally folly".split()
)


@dataclass
class _Run:
    """Words that belong together.

    Attributes:
        words: Their numbers in the text.
        after: The auxiliary, modal, pronoun or preposition before them, else "".
        subject: It begins a sentence, or a verb follows and no preposition is before.
    """

    words: list[int] = field(default_factory=list)
    after: str = ""
    subject: bool = False

    def meet_verb(self) -> None:
        """Note that a verb follows."""
        self.subject |= self.after not in _GOVERNING


def find_chunks(text: str) -> list[Span]:
    """Return the noun phrases in order, without subjects."""
    words = words_of(text)
    found = []
    for run in _runs(text):
        if not run.words or run.subject or len(run.words) > _MOST_WORDS:
            continue
        first, last = words[run.words[0]], words[run.words[-1]]
        adjective = len(run.words) == 1 and run.after in AUXILIARIES and first[0].islower()  # "is common"
        number = not any(character.isalpha() for character in text[first.start() : last.end()])
        if last[0].lower() not in DETERMINERS and not adjective and not number:
            found.append((first.start(), last.end()))
    return found


def _runs(text: str) -> Iterator[_Run]:
    """Yield the runs of words between those that end one."""
    words = words_of(text)
    first = first_words(text)
    begins = [word.start() in first for word in words]
    # "First Team", "May", "Will": with a capital inside a sentence they are parts of names.
    lower = [low if begins[index] or word[0] in ("I", low) or low in DETERMINERS else word[0] for index, word in enumerate(words) for low in [word[0].lower()]]
    joined = [text[before.end() : word.start()] in (" ", "\u00a0") and word.start() not in first for before, word in zip(words, words[1:], strict=False)]
    run = _Run()
    for index, word in enumerate(lower):
        if index and not joined[index - 1]:
            yield run
            run = _Run()
        following = lower[index + 1] if index + 1 < len(words) and joined[index] else ""
        previous = lower[run.words[-1]] if run.words else ""
        among = word in _AMONG and (previous in DETERMINERS or previous in _AMONG)
        numbers = word == "to" and previous[:1].isdigit() and following[:1].isdigit()  # "15 to 30 minutes"
        quantifier = word in _QUANTIFIERS and following not in FUNCTION_WORDS | {""} and read_verb(following) is None
        if not among and (quantifier or word in DETERMINERS - _QUANTIFIERS - {"that"}):
            yield run
            run = _Run([index], run.after if not run.words else "", begins[index])
        elif among or numbers:
            run.words.append(index)
        elif word in FUNCTION_WORDS or (_is_adverb(word) and previous not in DETERMINERS) or not is_latin(word):
            if word in AUXILIARIES or word in MODALS:
                run.meet_verb()
            yield run
            keeps = not run.words and (word in _BETWEEN or _is_adverb(word))
            run = _Run(after=run.after if keeps else word if word in _NOTED else "")
        elif words[index][0].islower() and _is_verb(word, previous, following, "" if run.words and lower[run.words[0]] in DETERMINERS else run.after):
            if not (is_participle(word) and following in PREPOSITIONS):  # "an injury caused by"
                run.meet_verb()
            yield run
            run = _Run()
        else:
            run.subject |= not run.words and begins[index]
            run.words.append(index)
    yield run


def _is_adverb(word: str) -> bool:
    return word.endswith("ly") and len(word) > 4 and word not in _NO_ADVERBS


def _is_verb(word: str, previous: str, following: str, after: str) -> bool:
    """Return whether a word is a verb.

    Args:
        previous: The word before it in its run, "" at the start.
        following: The word behind it, "" where more than a space stands between.
        after: The auxiliary, modal, pronoun or preposition before the run, "" if the run has a determiner.
    """
    if previous in DETERMINERS or previous in _QUANTIFIERS or _is_adverb(previous):  # "the treated area", "her works", "a highly respected"
        return False
    acting = word.endswith("ing") and len(word) > 4
    if not previous:
        if after in _BEFORE_VERBS:
            return True
        if after == "to":
            return bool(following)
        if after in AUXILIARIES:
            return is_participle(word) or (acting and bool(following))
        if following in DETERMINERS or (acting and following not in ("", "of", "and", "or")):  # "removes the tumour", "playing golf"
            return True
        if is_participle(word) and after not in _GOVERNING:  # ", known as"
            return True
    elif (acting or is_participle(word)) and following in PREPOSITIONS - {"of"}:  # "an actor born in", "events leading to"
        return True
    verb = read_verb(word)
    if verb is not None and after in _GOVERNING and following not in DETERMINERS:
        return bool(previous) and verb.past  # no verb: "with reduced pain", "with first-aid measures"
    return verb is not None or (word in BASES and previous.endswith("s") and not previous.endswith(("ss", "'s", "’s")))  # "symptoms include"
