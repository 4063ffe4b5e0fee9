"""Invented names: single words, each used for one thing only, so that a word means what it says.

People share first names; surnames are unique. (With shared surnames a small model learns far fewer facts from the same
number of tokens: 0.23 against 0.61 of questions answered in the measured prototype.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence

WOMEN = (
    "Ada Alma Berit Carla Clara Dora Edda Elin Elsa Erna Flora Freya Greta Hanna Hedda Ida Inga Iris Jana Judith "
    "Karin Katya Lena Lotte Magda Mara Nadia Nora Olga Paula Petra Rosa Ruth Selma Sonja Tilda Ursula Vera Wanda Zelda"
).split()
MEN = (
    "Adam Albin Anton Axel Boris Bruno Carl Conrad Dario Edgar Elias Emil Erik Felix Frank Georg Gustav Hugo Igor Ivo "
    "Jakob Jonas Karl Kurt Leo Ludwig Magnus Marek Max Nils Oskar Otto Pavel Ralf Rolf Simon Tomas Ulrich Viktor Walter"
).split()

_STARTS = (
    "Al Ar Bal Bar Bel Ber Bol Bran Bren Cal Car Cor Dal Dar Del Dor Dun El Er Fal Far Fel Gal Gar Gil Gor Hal Har Hel "
    "Hol Il Jar Kal Kel Kor Lan Lor Mal Mar Mel Mor Nal Nor Ol Or Pal Par Pel Por Quil Ral Ran Rol Sal Sar Sel Sol Tal "
    "Tar Tel Tor Ul Val Var Vel Vor Wal Wel Wil Yar Zel"
).split()
_SURNAME_ENDS = (
    "bane beck bourne brook cott crest dane dell drake dyne fell field finch gard gate grave grove hale hart holt keld "
    "lake land lock loe low mere moor more nock quist ridge row sand shaw slade stone strand thorn trow vane ward worth"
).split()
_TOWN_ENDS = "bridge burgh bury by cliff den ferry ford ham haven hill mouth ness port stead thorpe ton vale wick wold".split()
_UNIVERSITY_ENDS = "anum avia eum ica ium onia oria ova una ura".split()
_FIRM_STARTS = (
    "Amber Apex Arc Birch Blue Bright Cedar Cinder Clear Cobalt Copper Crown Delta Ember Falcon Flint Frost Glass Granite Heron "
    "Iron Ivory Keystone Lantern Larch Linden Maple Marble Nickel North"
).split()
_FIRM_ENDS = "works forge loom soft line craft mill tech yard lab".split()
_PRIZE_STARTS = "Silver Golden Crystal Bronze Ruby Velvet Scarlet Emerald Pearl Amethyst".split()
_PRIZE_ENDS = "quill reed lamp oak wing star leaf shell".split()

FIELDS = (
    "acoustics agronomy anatomy archaeology astronomy biology botany cartography chemistry dentistry ecology economics "
    "entomology epidemiology ethics forestry genetics geography geology geometry grammar history horticulture hydrology law "
    "linguistics logic mathematics mechanics medicine metallurgy meteorology mineralogy optics pharmacy philosophy physics "
    "physiology statistics zoology"
).split()
PASTIMES = (
    "archery badminton baking billiards birdwatching bowling canoeing carpentry chess climbing cooking cricket croquet cycling "
    "dancing fencing fishing gardening golf hiking juggling knitting painting pottery rowing sailing skating skiing swimming tennis"
).split()


def compound(rng: random.Random, starts: Sequence[str], ends: Sequence[str], count: int, taken: set[str]) -> list[str]:
    """Return ``count`` distinct words start+end that are not ``taken``, and take them.

    When the plain combinations run out (a large world), a second start goes in between.

    Raises:
        ValueError: Even so there are too few words.
    """
    plain = sorted({start + end for start in starts for end in ends} - taken)
    if len(plain) < count:
        plain += sorted({start + middle.lower() + end for start in starts for middle in starts for end in ends} - taken - set(plain))
    if len(plain) < count:
        raise ValueError(f"{count} names wanted, only {len(plain)} can be built; use a smaller SCALE")
    words = rng.sample(plain, count)
    taken.update(words)
    return words


def invent_surnames(rng: random.Random, count: int, taken: set[str]) -> list[str]:
    """Return ``count`` unique surnames."""
    return compound(rng, _STARTS, _SURNAME_ENDS, count, taken)


def invent_values(rng: random.Random, taken: set[str]) -> dict[str, list[str]]:
    """Return the values of every attribute. Birthplaces and home towns come from one list, so that they can be confused."""
    towns = compound(rng, _STARTS, _TOWN_ENDS, 60, taken)
    return {
        "birth_year": [str(year) for year in range(1900, 1980)],
        "birthplace": towns,
        "home_town": towns,
        "university": compound(rng, _STARTS, _UNIVERSITY_ENDS, 50, taken),
        "field": list(FIELDS),
        "employer": compound(rng, _FIRM_STARTS, _FIRM_ENDS, 60, taken),
        "prize": compound(rng, _PRIZE_STARTS, _PRIZE_ENDS, 30, taken),
        "pastime": list(PASTIMES),
    }
