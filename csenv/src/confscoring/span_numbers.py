"""Dates, numbers and quoted titles in English text, by patterns."""

from __future__ import annotations

import re

from confscoring.span_words import is_capitalised
from confscoring.spans import Span, is_free

_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December|"
    r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
)
_LONE_MONTH = r"(?:January|February|April|June|July|August|September|October|November|December)"  # "March" and "May" are other words too
_YEAR = r"(?:1\d{3}|20\d{2})"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?(?!\d)"
_DASH = r"\s?[-–—]\s?"
_ERA = r"(?:BCE?|CE|AD|B\.C\.(?:E\.)?|A\.D\.)"
_PART = r"(?:(?:[Tt]he\s)?(?:[Ee]arly|[Mm]id|[Ll]ate)[\s-]|[Tt]he\s)?"
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_TEN = "one|two|three|four|five|six|seven|eight|nine"
_WRITTEN = (
    rf"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:-(?:{_TEN}))?|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|"
    r"fourteen|fifteen|sixteen|seventeen|eighteen|nineteen)"
)
_LARGE = r"(?:hundred|thousand|million|billion|trillion|dozen)"
_ORDINAL = (
    r"(?:\d{1,2}(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|"
    r"(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|twenty-first)"
)
_UNIT = (
    r"(?:(?:square|cubic)\s)?(?:"
    r"(?:year|month|week|day|hour|minute|second|mile|metre|meter|kilometre|kilometer|centimetre|centimeter|millimetre|millimeter|yard|inch|acre|hectare|gram|"
    r"kilogram|milligram|microgram|pound|ounce|ton|tonne|litre|liter|millilitre|milliliter|gallon|degree|dollar|euro|cent|franc|volt|watt|unit|dose|tablet|"
    r"calorie|decade)(?:e?s)?(?:[\s-]old)?|feet|foot|per\s?cent|percent(?:age\spoints?)?|"
    r"(?:km|cm|mm|nm|kg|mg|mcg|[µμ]g|ng|lbs?|oz|m[lL]|d[lL]|IU|mmHg|bpm|kcal|kJ|kW|MW|GW|k?Hz|[MG]Hz|[KMGT]B|mph|ha|[mgLJWV])(?:/(?:d[lL]|m[lL]|kg|day|h|s|L|m[²2]))?[²³]?"
    r")(?![^\W_])"
)
_AMOUNT = rf"(?:{_NUMBER}(?:(?:{_DASH}|\sto\s|/){_NUMBER})?|{_WRITTEN}(?:\sto\s{_WRITTEN})?)(?:[\s-]{_LARGE})*"
_LETTER = r"[^\W_\u3040-\u30ff\u3400-\u9fff]"  # Chinese characters and kana stand beside numbers without a space
_BEFORE, _AFTER = rf"(?<!{_LETTER})(?<![\d][.,])", rf"(?!{_LETTER})"

# In this order: what an earlier one has found, a later one does not take again.
_DATED = [re.compile(pattern) for pattern in (
    # dates
    rf"{_BEFORE}{_DAY}(?:{_DASH}{_DAY})?\s(?:of\s)?{_MONTH}(?:,?\s(?:of\s)?{_YEAR})?{_AFTER}",
    rf"{_BEFORE}{_MONTH}\s{_DAY}(?:{_DASH}{_DAY})?(?:,?\s(?:of\s)?{_YEAR})?{_AFTER}",
    rf"{_BEFORE}{_MONTH},?\s(?:of\s)?{_YEAR}{_AFTER}",
    r"(?<!\d)\d{2,4}年(?:\d{1,2}月(?:\d{1,2}日)?)?",
    rf"{_BEFORE}\d{{4}}-\d{{2}}-\d{{2}}{_AFTER}|{_BEFORE}\d{{1,2}}([/.])\d{{1,2}}\1(?:\d{{4}}|\d{{2}}){_AFTER}",
    rf"{_BEFORE}{_PART}(?:\d{{2,3}}0['’]?s|['’]\d0s){_AFTER}|(?<=\s)['’]\d0s{_AFTER}",
    rf"{_BEFORE}{_PART}{_ORDINAL}[\s-]centur(?:y|ies)(?:\s{_ERA})?",
    rf"{_BEFORE}(?:AD\s\d{{1,4}}|\d{{1,4}}(?:{_DASH}\d{{1,4}})?\s?{_ERA}){_AFTER}",
    rf"{_BEFORE}\d{{1,2}}[:.]\d{{2}}\s?(?:[ap]\.m\.|[ap]m{_AFTER})",
    # numbers with what they count
    rf"{_BEFORE}(?:US|A|C)?[$€£¥₹]\s?{_NUMBER}(?:{_DASH}{_NUMBER})?(?:\s?(?:{_LARGE}|bn|[mk])\b)?",
    rf"{_BEFORE}{_NUMBER}(?:(?:{_DASH}|\sto\s){_NUMBER})?\s?(?:%|°\s?[CF]\b|°)",
    rf"{_BEFORE}{_AMOUNT}[\s-]?{_UNIT}",
    rf"{_BEFORE}{_YEAR}{_DASH}(?:{_YEAR}|\d{{2}}){_AFTER}",
    rf"{_BEFORE}{_LONE_MONTH}(?![^\W_]|\s[^\W\d_a-z])",
)]  # fmt: skip
_ALONE = [re.compile(rf"{_BEFORE}{_AMOUNT}{_AFTER}(?![,.]\d)"), re.compile(rf"{_BEFORE}(?:\d+(?:st|nd|rd|th)|{_ORDINAL}){_AFTER}(?!-)")]
_NO_NUMBER = re.compile(r"^[ \t]*\(?\d{1,3}[.)][ \t]|\[\d{1,3}(?:[,–-]\s?\d{1,3})*\]|(?:https?://|www\.)\S+", re.MULTILINE)  # a list's mark, a citation

_QUOTED = re.compile(
    r"“([^“”\n]{1,120})”|„([^„“”\n]{1,120})[“”]|\"([^\"\n]{1,120})\"|«([^«»\n]{1,120})»|「([^「」\n]{1,60})」|『([^『』\n]{1,60})』|《([^《》\n]{1,60})》|"
    r"(?<![^\W_])[‘']([^‘’'\n]+(?:['’][^\W_][^‘’'\n]*)*)['’](?![^\W_])|(?<![*\w])[*_]([^\s*_][^*_\n]{0,119})[*_](?![*\w])"
)
_SMALL = frozenset("a an the of and in on to for with at by from or nor but as vs de la le du des del di da y et und der die das".split())
_TITLE_WORDS = 12


def find_titles(text: str) -> list[Span]:
    """Return what stands in quotation marks, or between single asterisks, and is written like a title: all its greater words capitalised.

    The marks stay outside, and so does a comma or full stop that American usage puts before the closing one.
    """
    spans = []
    for match in _QUOTED.finditer(text):
        start, end = match.span(match.lastindex or 0)
        end -= len(text[start:end]) - len(text[start:end].rstrip(" ,.;:"))
        words = text[start:end].split()
        great = [word.strip("'’\"“”().,:;!?") for word in words if word.lower() not in _SMALL]
        cased = all(word[:1].isdigit() or is_capitalised(word) or word.upper() == word.lower() for word in great)
        if great and cased and len(words) <= _TITLE_WORDS and not _SMALL & {words[0], words[-1]}:
            spans.append((start, end))
    return spans


def find_dates(text: str) -> list[Span]:
    """Return dates, and numbers with what they count: "12 May 1931", "the 1990s", "3.5 million", "40 mg", "12 per cent"."""
    return _find(_DATED, text)


def find_numbers(text: str) -> list[Span]:
    """Return numbers that stand alone, years among them; written ones are "two" to "ninety-nine" and "first" to "twentieth"."""
    return _find(_ALONE, text)


def _find(patterns: list[re.Pattern[str]], text: str) -> list[Span]:
    taken = [match.span() for match in _NO_NUMBER.finditer(text)]
    found: list[Span] = []
    for pattern in patterns:
        for match in pattern.finditer(text):
            if is_free(match.span(), taken):
                taken.append(match.span())
                found.append(match.span())
    return sorted(found)
