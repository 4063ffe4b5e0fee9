"""English words and word patterns by which clauses.py finds verbs, subjects and joints."""

from __future__ import annotations

import re

NAME = r"[^\W\d_a-z][\w'’.-]*(?: [^\W\d_a-z][\w'’.-]*){0,3}"
BE = r"was|were|is|are|(?:has|have|had) been"
VERB = re.compile(
    rf"(?<![\w'’-])(?:(?P<be>{BE})|(?P<sure>has|have|had|does|do|did|would|could|became|becomes|began|begins|broke|brought|built|came|chose|"
    r"drew|drove|fell|felt|fought|gave|gives|got|grew|held|kept|knew|leads|led|lost|made|makes|met|paid|ran|rose|said|says|sang|sat|saw|sent|"
    r"serves|sold|spent|spoke|stood|swam|taught|teaches|thought|threw|told|took|takes|went|goes|won|wins|wore|writes|wrote|"
    r"(?:lives|sits|lies)(?= (?:in|on|at|with|near)\b)|(?:works|plays)(?= (?:as|at|in|for)\b)|"
    r"(?:left|found)(?! of| to be| in)|consists|contains|includes|remains(?= (?:an?|the|one)\b))|(?P<ed>[a-z]+ed))(?![\w'’-])"
)
NO_VERBS = frozenset(
    "hundred sacred naked beloved indeed red bed need seed speed feed breed weed creed deed greed shed sled kindred infrared wicked rugged unneeded".split()
)
# Before a plain noun these describe it ("music and applied arts"); before anything else they are verbs ("and retired in 1990").
ADJECTIVES = frozenset(
    "accomplished acclaimed advanced aged applied armed associated assorted celebrated combined dedicated detailed distinguished educated experienced "
    "gifted limited mixed noted organized organised related renowned respected retired selected skilled talented united unlimited unnamed varied".split()
)
LOOKS_ADJECTIVE = re.compile(r"(?:ed|ful|ous|al|ic|ive|ent|ant|ish|able|less|pure)$")
FUNCTION = re.compile(
    r"(?:an?|the|his|her|their|its|in|on|at|to|by|from|for|of|off|with|into|as|under|over|against|about|after|before|until|since|during|through|among|"
    r"and|or|but|up|out|back|away|him|them|it|that|this|two|three|four|five|six|several|many|most|both|all|some|one|more|not|\w+ly)\b|[^\W_a-z]|\W|$"
)
# Participles that go on a passive: "was born in Kelford and raised in Ostrel".
PASSIVE = re.compile(
    r"(?:raised|educated|buried|baptized|baptised|elected|appointed|nominated|inducted|honoured|honored|knighted|recognized|recognised|regarded|"
    r"considered|remembered|credited|described|awarded|interred) (?:in|at|by|as|to|for|on|into|with|from|among)\b"
)
ADVERBS = (
    r"(?:(?:in|by|from) (?:[A-Z][a-z]+ )?\d{4},? )?"
    r"(?:(?:later|then|also|soon|once|never|often|still|again|thus|ever|first|eventually|(?!family|only|early|likely|daily)[a-z]+ly),? ){0,2}"
)
LEAD = re.compile(ADVERBS)
SUBJECT_AHEAD = re.compile(rf"{ADVERBS}(?:(?P<pronoun>[Hh]e|[Ss]he|[Tt]hey|[Ii]t)|(?P<named>(?:[Hh]is|[Hh]er|[Tt]heir|[Ii]ts) [\w-]+|{NAME})) {ADVERBS}")
JOINT = re.compile(r"(?P<semicolon>;) (?:and |but )?|(?P<comma>,)? (?P<word>and|but) ")
RELATIVE = re.compile(r", (?:who|which) ")
SUBORDINATE = re.compile(
    r"\b(?:that|which|who|whom|whose|where|when|while|because|if|although|though|how|why|whether|what|not only|both|either|"
    r"(?:after|before|since|until|as) (?:he|she|they|it))\b",
    re.IGNORECASE,
)
PREPOSITION = re.compile(r"(?:In|On|At|By|For|From|With|After|Before|During|Since|Until|As|Through|Under|To|Of|About|Among|Born|When|While)\b", re.IGNORECASE)
DETERMINER_BEFORE = re.compile(r"(?:^|\W)(?:an?|the|his|her|their|its|this|these|those|of|by|\w+['’]s)(?: [a-z]+ly)? $", re.IGNORECASE)
OPENING_POSSESSIVE = re.compile(r"(?:His|Her|Their|Its)\b(?= )", re.IGNORECASE)
NOMINATIVE = {"his": "he", "her": "she", "their": "they", "its": "it"}
PRONOUN = re.compile(r"(?:he|she|they|it)", re.IGNORECASE)
NO_REFERENT = re.compile(
    r"It (?:is|was|has been|had been|would be) (?:(?:also|often|widely|generally|commonly) )?(?:[a-z]+ed|known|said|thought|possible|likely|clear|true|unclear|"
    r"uncertain|not|in|at|on|during|here|there|then|only|through) ",
    re.IGNORECASE,
)
PLACE_AHEAD = re.compile(r"\b(?:in|at|from|near|into|on|the) $", re.IGNORECASE)  # "in New York": no person that a pronoun could mean
CLOSED = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\"[^\"]*\"|“[^”]*”|«[^»]*»|„[^“”]*[“”]|(?<!\w)‘[^’]*’(?!\w)")
COVER = "\0"
