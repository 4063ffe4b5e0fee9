"""English verbs as the backend `rules` needs them: which word is one, and its base form ("founded" -> "found").

A question with "did" needs the base form. Spelling gives it for most regular verbs, a table for irregular ones and for those
whose spelling does not tell ("edited", "united"). What neither knows has no base form here, and the question is put another way.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# past: base. Words that are more often something else ("felt" the cloth, "ground") are left out.
_PAST = {
    past: base
    for pair in (
        "arose:arise ate:eat became:become began:begin bent:bend bit:bite bled:bleed blew:blow bore:bear bought:buy bound:bind bred:breed broke:break "
        "brought:bring built:build came:come caught:catch chose:choose clung:cling crept:creep dealt:deal did:do drank:drink drew:draw drove:drive "
        "dug:dig fed:feed fell:fall felt:feel fled:flee flew:fly forbade:forbid foresaw:foresee forgot:forget fought:fight found:find froze:freeze "
        "gave:give got:get grew:grow had:have heard:hear held:hold hid:hide kept:keep knew:know laid:lay led:lead left:leave lent:lend lit:light lost:lose "
        "made:make meant:mean met:meet oversaw:oversee overtook:overtake paid:pay ran:run rang:ring rebuilt:rebuild rode:ride rose:rise said:say "
        "sang:sing sank:sink sat:sit saw:see sent:send shook:shake shot:shoot showed:show slept:sleep sold:sell sought:seek spent:spend spoke:speak "
        "sprang:spring stole:steal stood:stand strove:strive struck:strike stuck:stick swam:swim swore:swear taught:teach told:tell took:take thought:think "
        "threw:throw understood:understand undertook:undertake underwent:undergo went:go withdrew:withdraw woke:wake won:win wore:wear wove:weave wrote:write "
        "died:die tied:tie lied:lie dyed:dye agreed:agree refereed:referee freed:free echoed:echo vetoed:veto "
        # regular, but the spelling does not tell
        "accommodated:accommodate adhered:adhere asked:ask authored:author based:base bathed:bathe breathed:breathe canvased:canvas catapulted:catapult "
        "centred:centre coedited:coedit completed:complete competed:compete controlled:control patrolled:patrol enrolled:enrol excelled:excel compelled:compel "
        "expelled:expel propelled:propel rebelled:rebel cancelled:cancel labelled:label modelled:model travelled:travel counselled:counsel signalled:signal "
        "created:create credited:credit debuted:debut deleted:delete depleted:deplete edited:edit excited:excite executed:execute exhibited:exhibit "
        "explored:explore focused:focus focussed:focus ignited:ignite ignored:ignore inherited:inherit inhibited:inhibit inspired:inspire interfered:interfere "
        "interpreted:interpret invited:invite limited:limit recited:recite marketed:market merited:merit orbited:orbit persevered:persevere posited:posit "
        "profited:profit prohibited:prohibit promoted:promote recruited:recruit restored:restore scored:score solicited:solicit sponsored:sponsor stored:store "
        "suited:suit targeted:target united:unite visited:visit waited:wait welcomed:welcome adored:adore sired:sire bored:bore doctored:doctor "
        "monitored:monitor mentored:mentor tutored:tutor anchored:anchor honoured:honour restated:restate treated:treat defeated:defeat repeated:repeat "
        "heated:heat floated:float developed:develop enveloped:envelop galloped:gallop coped:cope hoped:hope sloped:slope eloped:elope convened:convene "
        "intervened:intervene postponed:postpone toned:tone cloned:clone owned:own joined:join belonged:belong prolonged:prolong hanged:hang longed:long "
        "ranged:range arranged:arrange changed:change exchanged:exchange plunged:plunge lounged:lounge challenged:challenge avenged:avenge fringed:fringe "
        "hinged:hinge winged:wing collapsed:collapse lapsed:lapse relapsed:relapse eclipsed:eclipse glimpsed:glimpse bused:bus gassed:gas "
        "rhymed:rhyme soothed:soothe clothed:clothe loathed:loathe sued:sue issued:issue valued:value argued:argue rescued:rescue continued:continue "
        "pursued:pursue queued:queue abandoned:abandon pardoned:pardon summoned:summon cleaned:clean benefited:benefit deposited:deposit inhabited:inhabit "
        "premiered:premiere favored:favor colored:color phoned:phone conceded:concede schemed:scheme themed:theme bequeathed:bequeath"
    ).split()
    for past, base in [pair.split(":")]
}  # fmt: skip
# Verbs whose present is common in facts: they are found behind plural subjects ("symptoms include") and as infinitives.
BASES = frozenset(_PAST.values()) | frozenset(
    "achieve acquire act adapt add address administer advocate affect aid aim allow appear apply appoint assist attack attend attract avoid award "
    "become begin believe belong block call campaign carry cause celebrate clear climb coach collaborate collect combine come command compose comprise "
    "conduct conquer consist contain continue contribute cost cover cross cure damage decline decrease defend define deliver depend depict derive describe "
    "design destroy detect diagnose differ direct disappear discover discuss divide donate earn edit employ enable encourage end enter establish evolve examine "
    "exist expand explain explore express extend face feature fill film finance finish follow form found fund gain graduate guard happen harm heal help host "
    "house identify illustrate impair improve include increase indicate infect influence inform inspire install introduce invade invent investigate involve join "
    "kill lack last launch lecture lie list live locate lower maintain manage mark marry measure migrate move name narrate need obtain occur offer open operate "
    "oppose organise organize own paint participate pass perform persist pilot play practise practice present preserve prevent produce progress promote protect "
    "prove provide publish raise range reach receive recommend record recover reduce refer regulate reign relate release relieve remain remove render replace "
    "report represent require research resemble reside resign resolve respond restore result retain retire return reveal rule sail save score seem separate serve "
    "set settle shape share shorten sign slow specialise specialize sponsor spread star start stay stem stimulate stop strengthen study succeed suffer suggest "
    "supply support survive swell sweep swim tend test threaten tour trade train transform translate transmit travel treat trigger try turn use vary visit vomit "
    "account accompany adjust announce arrange assess associate attach bloom boil broadcast calculate captain choose clean commemorate complicate concern confirm "
    "connect consume convert cool correct count dedicate decide deepen demand demonstrate deposit determine disrupt dissolve distinguish double drain drop "
    "eliminate emerge engage enhance erupt evaluate excrete exercise fade fail favour flow force gather generate handle harden honour hunt ignore implement induce "
    "inhabit inhibit injure insert invest isolate itch label link love manufacture mention mimic minimise minimize monitor multiply nest note notice observe occupy "
    "originate outline overlap peel penetrate permit persuade place plan praise predict prefer prescribe proceed process promise propose pull push radiate react "
    "recall recognise recognize refuse regard regenerate reject rely remember request reverse reward rotate schedule scratch secrete select sense shed shrink "
    "simplify smell soften split stiffen store struggle suppress surround suspect swallow tackle tolerate touch track vaccinate value view wash be "
    "vote walk want warn weaken weigh worsen work write yield".split()
)
UNCHANGED = frozenset("set put cut hit let cost shut hurt cast spread quit split burst beat read".split())  # past and base alike
# Participles that go with "was" and "has" and do not end in -ed.
PARTICIPLES = frozenset(
    "been become begun bound born borne bought broken brought built caught chosen come cut dealt done drawn driven eaten fallen fed fought found flown "
    "forgotten frozen given gone grown had heard held hidden hit hung hurt kept known laid led left lent lit lost made meant met paid put raised read "
    "rewritten ridden rebuilt risen run said seen sent set shaken shot shown shut sold sought spent spoken spread stolen stood struck sung sunk sworn swum "
    "taken taught thought thrown told torn understood undertaken undergone won worn woven withdrawn written".split()
)
# They end in -ed and are no verbs.
_NO_VERBS = frozenset("hundred sacred naked beloved indeed red bed need seed speed feed breed weed deed shed sled kindred infrared wicked rugged unneeded aged".split())
# Ends of a stem (the word without -ed) that had a silent e, and among them those that had none.
_SILENT_E = re.compile(
    r"(?:[cvuz]|(?<!s)s|dg|rg|[^aeiouywrlnm]l|at|[iaou]d|ir|ur|ar|in|[ai]m|um|[ai]b|[aiy]p|ag|eg|ieg|[aio]k|[aiou]l|ot|ut|er[gs]|y[sz])$"
)
_NO_SILENT_E = re.compile(r"(?:[eo]at|[oa]id|[eo]ad|oud|[ae]ir|oir|our|[eo]ar|[aeo]in|[eao][ai]m|oom|ee[dkmlpr]|[eo]ap|ou[pt]|oo[dkltp]|[eao]ak|[aeo][ai]l|ou[lt]|uct)$")
_UNTOLD = re.compile(r"(?:[^aeiou]it|[ui]it|et|or|th|om|on|un|en(?<!ten)(?<!pen)(?<!ken)|[ao]n|ob|ub|op|ep|el|ang|ing|ung|ed)$")


class Verb(NamedTuple):
    """A verb as it stands: its base form, None where it is not known, and whether it is past."""

    base: str | None
    past: bool


def read_verb(word: str, sure: bool = False) -> Verb | None:
    """Return what verb a lower-case word is; None where it is none.

    Args:
        sure: The word stands where a verb must, behind the subject: then every word in -s is one.
    """
    if word in _PAST:
        return Verb(_PAST[word], True)
    if word.endswith("ed") and word not in _NO_VERBS and len(word) > 3:
        return Verb(_base_of(word), True)
    if word in UNCHANGED and sure:
        return Verb(word, True)
    if word.endswith("s") and not word.endswith(("ss", "'s", "’s", "us", "is")):
        base = _singular(word)
        return Verb(base, False) if sure or base in BASES else None
    return None


def is_participle(word: str) -> bool:
    """Return whether a word behind "was" or "has" may be a participle."""
    return word in PARTICIPLES or (word.endswith("ed") and word not in _NO_VERBS and len(word) > 3)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes", "oes", "cuses")) and word not in ("aches", "accuses", "excuses"):
        return word[:-2]
    return word[:-1]


def _base_of(word: str) -> str | None:
    """Return the base form of a regular past; None where the spelling does not tell."""
    stem = word[:-2]
    for candidate in (stem, stem + "e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem):
        if candidate in BASES:
            return candidate
    if word.endswith("ied"):
        return word[:-3] + "y"
    if not re.search(r"[aeiouy]", stem):
        return None
    if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] in "bdgmnprt":
        return stem[:-1]  # "stopped"
    if _NO_SILENT_E.search(stem) or stem.endswith("ion"):
        return stem
    if _SILENT_E.search(stem):
        return stem + "e"
    return None if _UNTOLD.search(stem) else stem
