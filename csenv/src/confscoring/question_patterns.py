"""Patterns of English phrases that the backend `rules` can ask for: dates, lengths of time, numbers; and of what ends a clause."""

from __future__ import annotations

import re

from confscoring.question_words import NO_ADVERBS

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan\.?|Feb\.?|Aug\.?|Sept?\.?|Oct\.?|Nov\.?|Dec\.?)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:c\. ?|circa )?(?:AD \d{1,4}|\d{1,4} (?:BCE?|CE|AD)|\d{3,4})(?![\d,.]*\d)(?!-[a-z])"
_PART = r"(?:(?:early|mid|late|the (?:spring|summer|autumn|fall|winter|beginning|end|middle) of)[ -])?"
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th)|(?:four|six|seven|eigh|nine)teenth|fifteenth|thirteenth|twelfth|eleventh|tenth|ninth|eighth|twentieth|twenty-first)"
_DATE = (
    rf"(?:the )?{_PART}(?:(?:the )?{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?|{_MONTH} {_DAY},? {_YEAR}|{_MONTH},? {_YEAR}|{_MONTH}(?: {_DAY})?(?![\w’'])|"
    rf"(?:the )?{_ORDINAL}[ -]century(?: (?:BCE?|CE|AD))?|\d{{3,4}}s(?![\w’'])|{_YEAR})"
)
_SPAN = r"\s*(?:-|–|—|to|and|until|till|or)\s*"
DATES = rf"{_DATE}(?:{_SPAN}(?:{_DATE}|\d{{2}}(?!\d)|the present(?: day)?|today))?"
_END = r"(?=$|[,;]| (?:in|at|to|for|with|by|as|from|near|on|after|before|under|against|about|through|among|into|during|when|where|while|because|that)\b)"
# "in 1931", "from 1950 to 1962", "since the 1990s"; a noun behind it shows that it is no date ("in the 1990 World Cup").
WHEN = re.compile(rf"(?:^|(?<= ))(?P<word>in|on|at|around|about|during|by|since|until|till|from|between|before|after|circa|as of) (?P<date>{DATES}){_END}")

LEADS = r"(?:In|On|At|By|For|From|After|Before|During|Since|Until|As|Through|Under|With|Among|Around|Throughout|Between|Within|Like|Despite)"
_SUBJECT_AHEAD = r"(?P<main>(?:he|she|they|it|his|her|their|its|the|[^\W\d_a-z][\w'’.-]*) .+)$"
LEAD = re.compile(rf"(?P<lead>{LEADS}\b[^,]*(?:, \d{{3,4}})?), {_SUBJECT_AHEAD}")
DATED_LEAD = re.compile(rf"(?P<lead>(?:In|On|At|Around|About|During|By|Since|Until|From|Between|Before|After) {DATES}),? {_SUBJECT_AHEAD}")
CASES_LEAD = re.compile(r"(?P<lead>In (?:[a-z]+ ){1,2}(?:cases|stages|patients|people|children|adults|countries)|Since then|By then),? (?P<main>[a-z].+)$")

_ONES = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".replace(" ", "|")
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_COUNT = (
    rf"(?:\d[\d,]*(?:\.\d+)?(?:-\d[\d,.]*)?|(?:{_TENS})(?:-(?:one|{_ONES}))?|{_ONES}|(?:a|one) (?=hundred|thousand|million|billion|dozen)|half a (?=million))"
)
_SCALE = r"(?: ?(?:hundred|thousand|million|billion|trillion|dozen)){0,2}"
_HEDGE = (
    r"(?:(?:only|just|about|around|over|under|more than|less than|fewer than|nearly|almost|approximately|roughly|at least|up to|as many as|between|an estimated) )?"
)
NUMBER = rf"{_HEDGE}{_COUNT}{_SCALE}(?: ?(?:to|or|and|-|–) ?{_COUNT}{_SCALE})?"
_TIME = r"(?:second|minute|hour|day|night|week|month|year|decade|centur(?:y|ie)|generation)s?"
DURATION = rf"(?:{NUMBER} {_TIME} (?:to|or) (?={NUMBER} {_TIME}))?(?:{NUMBER}|a|an|one)[ -](?:{_TIME}|(?:and )?a half {_TIME})"
FOR_LONG = re.compile(rf"(?:^|(?<= ))for (?P<time>{DURATION}|life){_END}")
WITHIN = re.compile(rf"(?:^|(?<= ))(?P<word>within|after|in) (?P<time>{DURATION}){_END}")
HOW_OFTEN = re.compile(
    rf"(?:^|(?<= ))(?P<time>every (?:{NUMBER} )?{_TIME}|(?:once|twice|{NUMBER} times?|{NUMBER}) (?:a|an|per|every) (?:{NUMBER} )?{_TIME}|each {_TIME}){_END}"
)
LASTS = re.compile(rf"^(?:for |from )?(?P<time>{DURATION}|(?:several|many|a few) {_TIME}){_END}")
AGE = re.compile(
    rf"(?:^|(?<= ))(?:(?P<word>at|before|after|by|until|from) (?:the )?age(?: of)?|aged|at) (?P<age>{NUMBER})(?: (?:years|months)(?: old)?)?{_END}"
)
MEASURE = re.compile(rf"^(?P<measure>{NUMBER} [a-z%°]+(?: [a-z]+)?) (?P<how>tall|high|long|wide|deep|thick|old|heavy|large)\b(?P<rest>.*)$")
# "three popular novels about the sea": the noun's words go up to a preposition, and the last one is plural.
_NOUN_WORD = r"[^\W\d_][\w’'-]*"
_NO_NOUN = r"(?!(?:of|to|and|or|in|on|at|for|with|by|from|about|who|that|as|during|between|before|after|since|percent|per cent)\b)"
AMOUNT = re.compile(
    rf"^(?P<number>{NUMBER}) (?P<noun>{_NO_NOUN}{_NOUN_WORD}(?: {_NO_NOUN}{_NOUN_WORD}){{0,4}}"
    r"(?:(?<=s)|(?<=men)|(?<=children)|(?<=people)|(?<=feet)))(?P<rest>(?: (?!and ).*)?)$"
)
SHARE = re.compile(
    rf"^(?P<number>{NUMBER} ?(?:%|percent|per cent)|{_HEDGE}(?:half|an? (?:third|quarter|fifth|tenth)|two[- ]thirds|three[- ]quarters|the majority)|"
    rf"{_HEDGE}(?:one|{_ONES}|\d+) (?:in|out of) (?:every )?{NUMBER}) (?:of )?(?P<rest>.+)$"
)

# A phrase behind one of these can be asked for: "What did she die of?" In "by about 5" the second belongs to the number.
_OF_NUMBER = "".join(rf"(?!(?<=\b{word} )(?:about|above|around|below|between|near|over|under|to)\b)" for word in "in by at for to of from with up".split())
PREPOSITION = re.compile(
    rf"(?:^|(?<= )){_OF_NUMBER}(?!in (?:addition|order|part)\b)"
    r"(?!as (?:well|much|many|long|least|soon|far|if|though)\b)(?P<word>about|above|across|against|among|around|as|at|behind|below|between|beyond|by|for|from|"
    r"in|inside|into|like|near|of|off|on|onto|outside|over|through|throughout|to|toward|towards|under|upon|via|with|within|without|alongside)(?= )"
)
# What ends the main clause: the rest adds to it.
TRAILER = re.compile(
    r"(?:, (?:who|which|whom|whose|where|when|while|although|though|but|and|or|including|such as|especially|particularly)\b|"
    r", (?:with|by|of|from|to|in|at|on|for) (?:whom|which|whose)\b|, (?:one|two|three|some|many|most|all|both) of (?:whom|which)\b|"
    r", [a-z]+ing (?=(?:an?|the|his|her|its|their|in|at|on|to|for|with|as|by|from|up|it|more|over|one|two|three|four|five|six)\b|[^\W_a-z])|"
    r", (?:the|an?) (?=[^,]+$)(?!.* and )| but | and (?:his|her|their|its) [a-z]+ (?=(?:is|are|was|were|has|had|[a-z]+s|[a-z]+ed) )|"
    r"; |(?<!\d) [—–-] (?!\d)|: | (?:while|although|though|whereas|such as|so that|in order to) | where (?=he |she |they |it )|"
    r" and (?=(?:later|then|also|subsequently|was|were|is|are|has|had|for|in|by|to|as|at|on|with|from) )).*$"
)
SUPERLATIVE = re.compile(r"the (?:(?:second |third )?most|main|only|first|last|leading|primary|chief|best|worst|[a-z]+est)\b")
REASON = re.compile(r"^(?P<kept>.+?),? because (?:of )?(?P<reason>.+)$")
MOMENT = re.compile(r"^(?P<kept>.*?),?(?:^| )(?P<moment>(?:when|as (?:soon|early|late) as|once (?=she|he|it|they|the)|until (?=she|he|it|they|the [a-z]+ [a-z]+)) .+)$")

_OWN = r"(?:his|her|their|its)"
# Ends that are no answer: they stay in the question.
VAGUE = re.compile(
    r"(?:^|(?<= ))(?:"
    rf"(?:for|over|after|within|in) (?:many|several|some|a few|the next|the following|the last|the past|more|most of {_OWN}|the rest of) [^,]+|"
    r"for (?:a (?:long |short |brief )?(?:time|while)|years|decades|life)|at (?:first|last|times|the time|that time|least|most|birth|night|home)|"
    r"in (?:general|particular|total|addition|turn|childhood|old age|later life|life|public|secret|private|(?:some|most|rare|severe|many) cases)|"
    rf"(?:early|late|later) in {_OWN} \w+|during {_OWN} [^,]+|throughout {_OWN} \w+|"
    rf"in {_OWN} (?:[a-z]+ )?(?:years?|life|youth|teens|twenties|thirties|forties|fifties|sixties|lifetime|career|childhood|age|time)|"
    rf"{DURATION} (?:later|earlier|ago)|by then|again|together|later|alone|the (?:following|next|same|previous) \w+|"
    rf"(?<=\w )(?:after|before|during|following|despite|upon) (?!{NUMBER} )[^,]+|(?<=\w )(?!(?:{'|'.join(sorted(NO_ADVERBS))})\b)[a-z]{{3,}}ly)$"
)
