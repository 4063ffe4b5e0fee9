"""What follows the verb of a clause, asked for: a name, a place, what stands behind a preposition, an object."""

from __future__ import annotations

import re
from collections.abc import Iterator

from confscoring import question_patterns as patterns
from confscoring import question_words as words
from confscoring.question_clause import Clause, finish
from confscoring.question_verbs import BASES

Pair = tuple[str, str]  # question, answer

_PLACING = ("in", "at", "on", "inside", "within", "throughout", "near")
_NO_PHRASE = re.compile(rf"(?:him|her|them|it|himself|herself|themselves|itself|this|that|these|those|(?:which|whom|whose)\b.*|{patterns.NUMBER}|)")
_NO_OBJECT = re.compile(rf"(?:{patterns.LEADS}|into|of|about|to|over|onto|upon|below|above|and|or)\b", re.IGNORECASE)
_OWNED = re.compile(r"(?:the|an?|his|her|their|its) ")
_SIZED = re.compile(rf"an? (?P<what>[\w -]+?) of (?P<size>{patterns.NUMBER}(?: .+)?)")
_NAMED = re.compile(r"an? (?P<what>[\w -]+?),? (?:named|called) (?P<name>.+)")
_TITLED = re.compile(r"(?:an?|the) (?P<what>.+?),? (?:called|titled|entitled|named) (?P<name>[^\W\d_a-z].*)")
_PURPOSE = re.compile(r"(?P<kept>(?:.* )?to (?:[a-z]+ly )?(?P<verb>[a-z]+)) (?P<object>.+)$")


def ask_name(clause: Clause) -> Iterator[Pair]:
    """Ask for the name, the title or the size of what is had or made."""
    was = "was" if clause.past else "is"
    named, sized = (_NAMED.fullmatch(clause.rest), _SIZED.fullmatch(clause.rest)) if clause.base == "have" else (None, None)
    titled = _TITLED.fullmatch(clause.rest) if clause.base not in ("be", "have") else None
    if named:
        yield finish("what", was, f"the name of {clause.subject}'s", named["what"]), named["name"]
    elif sized:
        yield clause.ask(f"What {sized['what']}"), sized["size"]
    elif titled:
        yield finish("what", was, f"the name of the {titled['what']} that", clause.subject, clause.spoken), titled["name"]


def ask_behind_preposition(clause: Clause) -> Iterator[Pair]:
    """Ask for a place, else for what follows the last preposition; one behind which "of" goes on is asked for with it."""
    rest = clause.rest
    if re.search(r"(?:^| )(?:that|(?<!more )(?<!less )(?<!fewer )than) ", rest) or (clause.base in words.WHOLE and not patterns.PREPOSITION.match(rest)):
        return
    if rest.startswith("after ") and clause.base in words.NAMING:
        yield clause.ask("Who" if is_person_name(rest[6:]) else "What", "after"), rest[6:]
        return
    found = [match for match in patterns.PREPOSITION.finditer(rest) if match["word"] != "of"]
    yield from _ask_where(clause, found)
    for index in reversed(range(len(found))):
        word, before, phrase = found[index]["word"], rest[: found[index].start()].strip(), rest[found[index].end() + 1 :].strip()
        if _NO_PHRASE.fullmatch(phrase) or (word == "to" and _is_infinitive(clause, phrase)):
            continue
        if any(rest[match.end() + 1 :].split(" ", 1)[0].endswith("ing") for match in found[:index]) or (before and re.search(r" and an? ", f"{before} {phrase}")):
            continue  # "by breathing in droplets", "a degree from Ostrel and a degree in law"
        if re.match(r"(?:by|for|with|in|from|to|at) ", phrase) or (words.PEOPLE.search(before) and words.PEOPLE.search(f"{before} {word} {phrase}")):
            continue  # "cared for by", "men over the age of 50"
        between = rest[found[index - 1].end() + 1 : found[index].start()] if index else ""
        if _OWNED.match(between) and word in ("on", "for", "about", "between", "against", "with"):
            continue  # "for her work on tides" is asked for as a whole
        yield _ask_thing(clause, word, before, phrase)
    first, *phrases = re.split(r"(?:^|(?<= ))of ", rest, maxsplit=1)
    phrase = "".join(phrases)
    if not found and phrase and clause.base in words.BECOMING | {"be", "have"}:
        yield clause.ask("Who" if _is_person(clause, "of", first, phrase) else "What", f"{first}of"), phrase
    elif not found and phrase and not first:
        yield clause.ask("What", "of"), phrase


def _ask_where(clause: Clause, found: list[re.Match[str]]) -> Iterator[Pair]:
    """Ask for a place; one within another is asked for with it: "the library at Tromsø"."""
    rest = clause.rest
    for index in reversed(range(len(found))):
        word, before = found[index]["word"], rest[: found[index].start()].strip()
        end = next((later.start() for later in found[index + 1 :] if later["word"] not in _PLACING), len(rest))
        phrase, after = rest[found[index].end() + 1 : end].strip(), rest[end:]
        outer = found[index - 1] if index else None
        if _NO_PHRASE.fullmatch(phrase) or (outer and _is_place(clause, outer["word"], "", rest[outer.end() + 1 : found[index].start()].strip())):
            continue
        moves = clause.base in words.MOTION and word in ("to", "from", "into") and phrase[:1].isupper()
        if _is_place(clause, word, before, phrase):
            located = clause.base == "be" and words.PLACE_NOUN.search(before)
            yield clause.ask("Where", f"{'located' if located else before} {after}"), phrase
        elif word == "from" and clause.base == "be":
            yield clause.ask("Where", f"from {after}"), phrase
        elif moves:
            yield clause.ask("Where", f"{before} {word} {after}"), phrase


def _ask_thing(clause: Clause, word: str, before: str, phrase: str) -> Pair:
    person, share = _is_person(clause, word, before, phrase), patterns.SHARE.match(phrase)
    if word == "by" and phrase.split()[0].endswith("ing"):
        return clause.ask("How", before), f"by {phrase}"
    if word == "by" and re.fullmatch(rf"{patterns.NUMBER} ?(?:%|percent|per cent|[a-z]+s)", phrase):
        return clause.ask("By how much", before), phrase
    if share:
        return clause.ask(f"{word} what share of {share['rest']}", before), share["number"]
    if word in ("in", "among", "for", "to", "on", "with") and words.PEOPLE.search(phrase):
        return clause.ask(f"{word} whom", before), phrase
    if before and clause.base != "be":
        return clause.ask(f"{word} {'whom' if person else 'what'}", before), phrase
    return clause.ask("Who" if person else "What", f"{before} {word}"), phrase


def ask_object(clause: Clause) -> Iterator[Pair]:
    """Ask for an object, for the object of an infinitive, or for what somebody became."""
    rest = clause.rest
    purpose = _PURPOSE.match(rest)
    if purpose and _is_infinitive(clause, f"{purpose['verb']} {purpose['object']}"):
        if purpose["object"].split()[0] not in words.ADVERBS | words.NO_OBJECT:
            yield clause.ask("What", purpose["kept"]), purpose["object"]
        return
    first = rest.partition(" ")[0]
    marked = re.match(r"(?:an?|the|one|his|her|their|its)\b", rest) is not None
    if not rest or clause.base == "have" or first in words.NO_OBJECT or _NO_OBJECT.match(rest) or (clause.base == "be" and not marked):
        return
    if not marked and re.match(r"[^\W\d_a-z]|\d", rest) is None and (clause.base in words.INTRANSITIVE or first.endswith("ly")):
        return
    people = words.PEOPLE.search(rest)
    person = (people and not patterns.PREPOSITION.search(rest[: people.start()])) or (clause.base in words.WHOM and is_person_name(rest))
    yield clause.ask("Who" if person else "What"), rest


def is_person_name(text: str) -> bool:
    """Return whether a text looks like a person's name: two to four capitalised words, none of them an organisation's."""
    return words.PERSON_NAME.match(text) is not None and words.ORGANISATION.search(text) is None


def _is_person(clause: Clause, word: str, before: str, phrase: str) -> bool:
    if word == "to" and clause.base == "bear":
        return True
    if not is_person_name(phrase):
        return False
    if word == "to":
        return clause.base in words.TO_PEOPLE
    if word == "of":
        return bool(before) and before.split()[-1] in words.RELATIVES
    return word in ("by", "with", "under", "alongside", "after", "against") or (word == "from" and clause.base not in words.MOTION)


def _is_infinitive(clause: Clause, phrase: str) -> bool:
    """Return whether a verb follows "to": "to map the strait", but "leads to pain"."""
    marked = re.match(r"[a-z]+ (?:the|an?|his|her|their|its)\b", phrase) is not None
    return marked or (phrase.split()[0] in BASES and clause.base not in words.TO_THINGS)


def _is_place(clause: Clause, word: str, before: str, phrase: str) -> bool:
    """Return whether "in X" and the like say where: by the noun, by a capital, or by a verb that is done somewhere."""
    if word not in _PLACING or words.FIELD.search(before) or (word == "on" and clause.base not in words.SITED):
        return False
    if words.PLACES.search(phrase):
        return True
    named = re.match(r"(?:the |a |an )?(?:[a-z]+ of )?[^\W\d_a-z]", phrase) is not None
    body = word in ("in", "on") and words.BODY.search(phrase) is not None
    if word == "at":
        return named or clause.base in words.SOMEWHERE
    if body or clause.base in words.INVOLVED:
        return clause.base in words.SOMEWHERE and named and not body
    if named:
        return clause.base != "be" or not before or re.match(r"(?:an?|the|one) ", before) is not None or words.THERE.search(before) is not None
    return clause.base in words.SOMEWHERE - words.NOT_IN_A and _OWNED.match(phrase) is not None
