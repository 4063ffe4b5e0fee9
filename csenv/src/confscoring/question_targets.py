"""What a clause can be asked for, the best first: each a question and the answer that was cut out of the clause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from confscoring import question_patterns as patterns
from confscoring import question_words as words
from confscoring.question_clause import Clause, finish
from confscoring.question_complements import Pair, ask_behind_preposition, ask_name, ask_object, is_person_name

_ARTICLE = re.compile(r"an? ")
_NOUN_PHRASE = re.compile(r"(?:(?:an?|the|his|her|their|its|one|two|three|four|five|all|both)\b|[^\W_a-z]|[$€£]|.*(?:s|ing)$|.*(?:,| and ))")
_NATIONALITY = re.compile(r"[A-Z][a-z]+(?:an|ish|ese|ch|ek|iss|qi|li|ai|ic)(?:-[A-Z][a-z]+)?")
_MEANT = re.compile(r"^(?:him|them|her(?= (?:an?|the|one|as|in|to|at|for|with|from|by|on)\b))(?= )|(?<= )(?:him|her|it|them)$")
_AGED = re.compile(rf"when (?:he|she|they|it) (?:was|were) (?P<age>{patterns.NUMBER})(?: years old)?")
_TIMES = re.compile(rf"(?P<kept>.*?) ?(?P<times>once|twice|{patterns.NUMBER} times)")
_BODIES = frozenset("council government team".split())


def find_targets(clause: Clause, name: str) -> Iterator[Pair]:
    """Yield (question, answer) for what the clause can be asked for, the best first.

    Args:
        name: The topic as it is written in the middle of a sentence.
    """
    if clause.whole and re.match(r"(?:it|them|this|these|those)\b", clause.rest):
        return  # what "it" is was said before, and the question would not say it
    yield from _ask_when(clause)
    yield from _ask_how_long(clause)
    yield from _ask_number(clause)
    counted = patterns.SHARE.match(clause.subject) or patterns.AMOUNT.match(clause.subject)
    if clause.subject.casefold() == "there":
        return
    if re.match(rf"{patterns.LEADS}\b", clause.subject[:1].upper() + clause.subject[1:]) and not counted:
        yield from _ask_inverted(clause)
        return
    if not clause.whole and name not in clause.subject:
        meant = _MEANT.sub(name, clause.rest)
        defined = clause.base == "be" and not re.search(r"['’]s | of ", clause.subject) and patterns.SUPERLATIVE.match(meant)
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", meant) or re.match("at [a-z]", meant) or defined:
            yield _ask_subject(replace(clause, rest=meant))
            return
    if clause.base == "be":
        yield from _ask_predicate(clause)
    yield from ask_name(clause)
    yield from ask_behind_preposition(clause)
    if not clause.rest and not clause.whole and clause.tail and clause.base != "be":
        yield _ask_subject(clause)  # "In rare cases the heart is affected."
    yield from ask_object(clause)


def _ask_when(clause: Clause) -> Iterator[Pair]:
    rest = clause.rest
    reason = patterns.REASON.match(rest)
    if reason:
        yield clause.ask("Why", reason["kept"]), reason["reason"]
    moment = patterns.MOMENT.match(rest)
    if moment:
        age = _AGED.fullmatch(moment["moment"])
        until = moment["moment"].startswith("until ")
        if age:
            yield clause.ask("At what age", moment["kept"]), age["age"]
        else:
            yield clause.ask("Until when" if until else "When", moment["kept"]), moment["moment"].removeprefix("until ")
    for found in reversed(list(patterns.WHEN.finditer(rest))):
        word, date = found["word"], found["date"]
        if re.fullmatch(r"\d{3}", date) and word not in ("in", "since", "until"):
            continue  # "about 500"
        asking = f"{word} when" if word in ("since", "until", "till", "by") else "When"
        answer = f"{word} {date}" if word in ("from", "between", "before", "after", "about", "around") else date
        yield clause.ask(asking, f"{rest[: found.start()]} {rest[found.end() :]}"), answer
    bare = re.match(rf"(?P<date>{patterns.DATES})(?=$|,| )", rest) if clause.base in ("bear", "die") else None
    if bare:
        yield clause.ask("When", rest[bare.end() :]), bare["date"]


def _ask_how_long(clause: Clause) -> Iterator[Pair]:
    rest = clause.rest
    age = patterns.AGE.search(rest)
    if age:
        yield clause.ask(f"{age['word'] or 'at'} what age", f"{rest[: age.start()]} {rest[age.end() :]}"), age["age"]
    if re.fullmatch(patterns.DURATION, rest) and clause.tail.startswith(("after ", "before ")):
        yield finish("how long", clause.tail, clause.front, clause.subject, clause.verb), rest
    ranging = re.fullmatch(r"(?:from|between) (?P<range>.+ (?:to|and) .+)", rest) if clause.base in ("range", "vary") else None
    if ranging:
        yield clause.ask("From what to what"), ranging["range"]
    lasting = patterns.LASTS.match(rest) if clause.base in words.TAKING else None
    if lasting:
        yield clause.ask("How long", rest[lasting.end() :]), lasting["time"]
    times = _TIMES.fullmatch(rest)
    if times:
        yield clause.ask("How many times", times["kept"]), times["times"]
    for pattern, asking in ((patterns.FOR_LONG, "For how long"), (patterns.HOW_OFTEN, "How often"), (patterns.WITHIN, "")):
        found = pattern.search(rest)
        if found:
            yield clause.ask(asking or f"{found['word']} what time", f"{rest[: found.start()]} {rest[found.end() :]}"), found["time"]


def _ask_number(clause: Clause) -> Iterator[Pair]:
    rest, said = clause.rest, (clause.spoken, clause.rest, clause.tail)
    for text, ending in ((clause.subject, said), (rest, ())):
        share, amount = patterns.SHARE.match(text), patterns.AMOUNT.match(text)
        if share:
            asking = f"What share of {share['rest']}"
            yield finish(asking, *ending) if ending else clause.ask(asking), share["number"]
        elif amount and ending:
            yield finish("how many", f"{amount['noun']}{amount['rest']}", *ending), amount["number"]
        elif amount and clause.base != "be":
            kind = re.match(r" of [^,]+?(?= (?:in|at|on|for|with|by|from|to|as)\b|$)", amount["rest"])
            more = kind.group() if kind else ""
            yield clause.ask(f"How many {amount['noun']}{more}", amount["rest"][len(more) :]), amount["number"]
    measure = patterns.MEASURE.match(rest) if clause.base == "be" else None
    if measure:
        yield clause.ask(f"How {measure['how']}", measure["rest"]), measure["measure"]
    for found in patterns.PREPOSITION.finditer(rest) if clause.base not in ("range", "vary") else ():
        amount = patterns.AMOUNT.match(rest[found.end() + 1 :])
        if amount and not amount["rest"] and found["word"] not in ("of", "like"):
            yield clause.ask(f"{found['word']} how many {amount['noun']}", rest[: found.start()]), amount["number"]


def _ask_inverted(clause: Clause) -> Iterator[Pair]:
    """Ask who is meant in "Among his pupils were Emil Hartwig and Clara Voss."."""
    if clause.base == "be":
        person = is_person_name(re.split(r",| and ", clause.rest)[0])
        yield finish("who" if person else "what", clause.front, clause.subject[0].lower() + clause.subject[1:]), clause.rest


def _ask_subject(clause: Clause) -> Pair:
    """Ask what it is that does something to the topic: "What prevents dorsal fever?"."""
    head = clause.subject.split()[-1]
    people = words.PROFESSION.match(head) or words.PEOPLE.search(clause.subject) or head.endswith("men")
    person = is_person_name(clause.subject) or people or head in words.RELATIVES | _BODIES
    first, _, more = clause.spoken.partition(" ")
    verb = {"are": "is", "were": "was", "have": "has", "do": "does"}.get(first, first)
    if clause.front == "do" and verb == first:
        verb = re.sub(r"(?<=[^aeiou])ys$", "ies", first + ("es" if first.endswith(("s", "sh", "ch", "x", "o")) else "s"))
    return finish("who" if person else "what", verb, more, clause.rest, clause.tail), clause.subject


def _ask_predicate(clause: Clause) -> Iterator[Pair]:
    """Ask what somebody or something is."""
    rest, plain = clause.rest, _ARTICLE.sub("", clause.rest, count=1)
    works = plain != rest and words.PROFESSION.match(plain) is not None and not patterns.PREPOSITION.search(plain)
    head = re.split(r" (?:of|in|for|at|with) ", clause.subject)[0].split()[-1].casefold()
    owned = re.search(r"['’]s | of ", clause.subject) and " " not in rest and rest not in words.PLAIN and not words.ADJECTIVE.search(rest)
    kind = words.KIND.match(rest)
    if not clause.whole and works and head in words.RELATIVES:
        yield finish("what", clause.front, "the profession of", clause.subject), plain
    elif not clause.whole and ((_NOUN_PHRASE.match(rest) and not rest.startswith(("in ", "on ", "at "))) or owned):
        yield clause.ask("Who" if head in words.RELATIVES and rest[:1].isupper() else "What"), rest
    elif clause.whole and _NATIONALITY.fullmatch(rest):
        yield finish("what", clause.front, f"{clause.subject}'s nationality"), rest
    elif clause.whole and works and re.match(r"(?:[a-z]+ )?[A-Z]", plain):
        yield finish("what", clause.front, clause.subject, "by nationality and profession"), plain
    elif clause.whole and works:
        yield finish("what", clause.front, f"{clause.subject}'s profession"), plain
    elif kind:
        yield clause.ask(f"What kind of {kind['noun']}"), kind["kind"].strip()
