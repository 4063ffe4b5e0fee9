"""Whether a text declines to answer, by its wording.

Case matters in the patterns: "I can't stop" declines, "I Can't Stop Loving You" is a song. Only the start of a sentence is
read, so a biography may speak of people who were sorry and of records that are lost.

Not covered: languages other than English, and a refusal that comes after two sentences of something else.
"""

from __future__ import annotations

import re

from factscoring.sentences import split_sentences

_APOLOGY = re.compile(
    r"(?:(?:I'm|I am|We're|We are)(?: \w+ly| very| so)? sorry|Sorry(?=[.!]|,? (?:but|I|we|there|that)\b)|I (?:\w+ )?apologi[sz]e|[Mm]y (?:\w+ )?apologies)"
    r"(?P<cause>,? for (?:the|any|my|this|that)\b[^,.;]*)?(?P<rest>,? (?:but|that|and|to say(?: that)?)\b|[,.;:!—–-]|\s*$)"
)
# What may stand before the words that decline.
_LEAD = re.compile(
    r"(?:(?:Unfortunately|Regrettably|However|Sadly|Currently|Hello|Hi|Well|At (?:this|the) (?:time|moment)|"
    r"(?:As of|Up to|Based on|According to|To) (?:my|the best of my) [^,]{1,60})[,!.]? )+"
)
_MODEL = re.compile(
    r"(?:As|Being|Since I am|Because I am) an? (?:\w+ )?(?:AI|A\.I\.|artificial intelligence|(?:large )?language model|chatbot)\b"
    r"(?: \w+){0,4}?,? (?:I|[Mm]y|it is|there)\b"
)
_THINGS = r"(?:information|details|data|knowledge|records?|sources?|results?|evidence|references?|mentions?|facts|access|biograph\w+)"
_SPEAKER = re.compile(
    r"(?:I|We)(?: \w+ly| also| simply| just)? (?:"
    r"(?:cannot|can't|can not|could not|couldn't|will not|won't|was not able to|wasn't able to|am not able to|have not been able to|"
    r"haven't been able to|(?:am|was|are|were) unable to)(?: \w+ly)? (?:provide|find|answer|help|assist|write|give|verify|confirm|locate|generate|"
    r"offer|tell|determine|access|say|identify|comply|fulfil|fulfill|recall|share|create|produce|extract|list|discuss|speak|be|do|see|break|browse)\b"
    r"|(?:do not|don't|did not|didn't|currently do not|currently don't)(?: \w+ly)? (?:have|know|possess|find|recogni[sz]e|see)\b"
    rf"|have (?:no|not enough|insufficient|(?:very )?(?:little|limited)) (?:\w+ ){{0,3}}?{_THINGS}\b"
    r"|have no (?:way|idea)\b"
    r"|(?:have not|haven't|have never) (?:found|heard|come across|encountered)\b"
    r"|(?:am|'m) not (?:\w+ly )?(?:familiar|aware|sure|able|certain|programmed|allowed|trained)\b"
    r"|(?:must|have to) decline\b"
    r")|I'm (?:not (?:\w+ly )?(?:familiar|aware|sure|able|certain|programmed|allowed|trained)|unable to)\b"
    r"|My (?:training data|knowledge|sources?|records?|database)(?: \w+)? (?:does not|doesn't|do not|don't|has no|have no)\b"
)
_NOTHING_KNOWN = re.compile(
    r"(?:It (?:seems|appears|looks like)(?: that)? )?"
    r"(?:(?:[Tt]here (?:is|are|was|were|isn't|aren't|seems to be|appears to be)|[Tt]here's)(?: \w+ly)? "
    rf"(?:no|not any|not enough|not much|insufficient|any)(?: [\w-]+){{0,4}}? {_THINGS}\b(?! that (?!I\b|we\b))"
    rf"|No(?: [\w-]+){{0,3}}? {_THINGS}(?: (?:on|about|for|of|regarding|concerning) [^,;]{{1,60}})? (?:is|are|was|were|could be|can be|exists?)\b)"
)
_QUESTION = re.compile(
    r"(?:[Cc]ould|[Cc]an|[Ww]ould|[Ww]ill) you (?:please |kindly |be able to |mind )?(?:provid|clarify|specify|giv|tell|shar|elaborat|confirm|suppl|let)"
    r"|[Pp]lease (?:\w+ly )?(?:provide|clarify|specify|give|tell|share|supply|let me know)\b"
    r"|(?:It is|It's) (?:not clear|unclear) (?:who|which|what|whom) (?:\w+ ){0,3}?you\b"
)
# A part of a life that nothing is known of: the text is about the person all the same.
_PART = re.compile(r"\b(?:on|about|of|regarding|concerning|for) (?:his|her|their|its)\b")
_AND_YET = re.compile(r"(?:, |; | - | — )(?:but|however,|though|although|yet) (?!I\b|I'|we\b|you\b|please\b|there\b|if\b|could\b|can\b|it\b|this\b|that\b|my\b)")
_PREFACE = re.compile(r"(?:I|I'm|I'd|My|We|You|Your|Hello|Hi|Thank|Thanks|Sure|Certainly|Of course|Well|It (?:seems|appears|looks|sounds))\b")


def refuses(sentence: str) -> bool:
    """Return whether a sentence speaks as a model that cannot or will not answer."""
    text = _plain(sentence)
    apology = _APOLOGY.match(text)
    if apology is not None:
        # "I'm sorry for the confusion. ..." goes on; it declines only by what comes after it.
        return apology["cause"] is None or refuses(text[apology.end() :].strip())
    return bool(_MODEL.match(text) or _SPEAKER.match(_without_lead(text)))


def is_abstention(response: str) -> bool:
    """Return whether a response as a whole declines to answer; an empty one does not, it is empty.

    Its first sentence declines, or its second does after a first that speaks of the asker or of the model only.
    """
    first, second = (*map(_plain, split_sentences(response)[:2]), "", "")[:2]
    return _declines(first) or (_PREFACE.match(first) is not None and _declines(second))


def _declines(sentence: str) -> bool:
    if _APOLOGY.match(sentence):
        return refuses(sentence)
    if _AND_YET.search(sentence) or _PART.search(sentence):
        return False
    bare = _without_lead(sentence)
    return refuses(sentence) or bool(_NOTHING_KNOWN.match(bare) or _QUESTION.match(bare))


def _without_lead(text: str) -> str:
    lead = _LEAD.match(text)
    bare = text[lead.end() :] if lead else text
    return bare[:1].upper() + bare[1:]


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").split())
