"""Words and sentences as the rules for spans see them: English word lists, where words stand, which are first in a sentence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

PRONOUNS = frozenset(
    "i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we us our ours ourselves they them their theirs "
    "themselves who whom whose which what that this these those there here someone somebody something anyone anybody anything everyone everybody "
    "everything nobody nothing none one ones another others each either neither both some many much more most few several such all any".split()
)
AUXILIARIES = frozenset("am is are was were be been being has have had having does do did doing".split())
MODALS = frozenset("can could may might must shall should will would cannot".split())
PREPOSITIONS = frozenset(
    "about above across after against along alongside amid among amongst around as at before behind below beneath beside besides between beyond by despite "
    "down during except for from in inside into like near of off on onto out outside over past per since than through throughout till to toward towards "
    "under underneath unlike until up upon versus via with within without according due because instead regarding concerning including excluding following".split()
)
_CONJUNCTIONS = frozenset("and or but nor so yet if although though unless because while whereas when whenever where wherever why how whether once".split())
_ADVERBS = frozenset(
    "not also often usually sometimes always never rarely commonly generally typically very too just only even still already again then thus therefore hence "
    "however moreover furthermore additionally consequently subsequently meanwhile nevertheless nonetheless instead indeed later earlier soon now today "
    "eventually finally initially originally currently recently previously formerly perhaps maybe rather quite almost about around together alone well ever "
    "away back further especially particularly mainly mostly primarily notably famously officially respectively first firstly secondly next last lastly ago "
    "yes no please note overall apart aside else otherwise likewise similarly accordingly twice".split()
)
DETERMINERS = frozenset("a an the this that these those my your his her its our their some any each every no another".split())
# Words that stand between noun phrases; a determiner among them begins one.
FUNCTION_WORDS = PRONOUNS | AUXILIARIES | MODALS | PREPOSITIONS | _CONJUNCTIONS | _ADVERBS | DETERMINERS
# Other words that open sentences far more often than names.
OPENERS = FUNCTION_WORDS - {"will", "may"} | frozenset("born raised educated known considered based named called given made other early prior".split())

# Shortened words whose full stop ends no sentence.
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr fr rev hon gen col lt sgt capt gov sen rep pres messrs mt ft vs no nos vol pp inc ltd co corp etc approx ca dept est "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)

_MARKS = "\u0300-\u036f"  # accents written apart from their letter
_INNER = f"(?:[^\\W_]|[{_MARKS}])"
# "U.S.", "J.R.R.", "Ph.D."; else letters and digits with a hyphen, an apostrophe or "&" inside: "O'Neill", "Jean-Paul", "AT&T", "B12".
WORD = re.compile(rf"(?:[^\W\d_]\.){{2,}}|Ph\.D\.?|[^\W_]{_INNER}*(?:[-‑'’&]{_INNER}+)*")

_FIRST = re.compile(r"(?:^|(?<=[\n\r]))[ \t]*(?:(?:[-*•–—+>]|\(?\d{1,3}[.)])[ \t]+)?[\"“«'‘(*_]*|(?<=[.!?…])[\"”»'’)\]*]*[^\S\r\n]+[\"“«'‘(*_]*|[\"“«]")
_LAST_WORD = re.compile(r"([^\W_]+)\.\Z")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|[^\s@]{1,64}@[^\s@]+\.[^\s@]+")
_HEADING = re.compile(r"[ \t]*(?:#{1,6}[ \t].*|\*\*[^*\n]+\*\*:?|[^.!?\n]{1,60}:)[ \t]*")


def words_of(text: str) -> list[re.Match[str]]:
    """Return the words of a text with their places."""
    return list(WORD.finditer(text))


def core(word: str) -> str:
    """Return a word without the ending of a possessive."""
    return word[:-2] if word.endswith(("'s", "’s")) else word


def plain(word: str) -> str:
    """Return a word in lower case without what an apostrophe adds ("It's", "I've"): the form that the lists here have."""
    return re.split("['’]", word, maxsplit=1)[0].lower()


def first_words(text: str) -> frozenset[int]:
    """Return where the words start that may be first in a sentence, a line, a list item or a quotation.

    A full stop behind an initial or a shortened word ends no sentence, unless a word that opens sentences comes next.
    """
    starts = set()
    for match in _FIRST.finditer(text):
        tail = _LAST_WORD.search(text[max(0, match.start() - 12) : match.start()])
        abbreviated = tail is not None and (len(tail[1]) == 1 or tail[1].lower() in ABBREVIATIONS)
        following = WORD.match(text, match.end())
        if not (abbreviated and following and plain(following[0]) not in OPENERS):
            starts.add(match.end())
    return frozenset(starts)


def is_capitalised(word: str) -> bool:
    """Return whether a word is written like a name: a capital at its start, or inside ("d'Artagnan", "mRNA")."""
    return any(character.isupper() or character.istitle() for character in word) and not word[0].isdigit()


def is_latin(word: str) -> bool:
    """Return whether a word has a Latin letter or a digit."""
    return any(character.isdigit() or unicodedata.name(character, "").startswith("LATIN") for character in word)


def silent_lines(text: str) -> list[tuple[int, int]]:
    """Return the parts of a text whose capitals say nothing: headings, lines all in capitals, addresses of the web."""
    found = [match.span() for match in _ADDRESS.finditer(text)]
    place = 0
    for line in text.splitlines(keepends=True):
        shouted = not any(character.islower() for character in line) and sum(len(word[0]) > 1 and word[0].isupper() for word in words_of(line)) > 3
        if _HEADING.fullmatch(line.rstrip("\r\n")) or shouted:
            found.append((place, place + len(line)))
        place += len(line)
    return found


def by_offset(spans: list[tuple[int, int]]) -> Callable[[int], bool]:
    """Return what tells whether a place lies in one of the spans."""
    return lambda place: any(start <= place < end for start, end in spans)
