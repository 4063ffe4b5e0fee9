"""Words that say nothing about a topic, so that the nonparametric model is not asked for them: English function words and punctuation."""

from __future__ import annotations

from typing import Any

FUNCTION_WORDS = (
    # articles, determiners, quantities
    "a an the this that these those each every either neither some any no none all both half few many much more most less least several such same other "
    "another own enough "
    # pronouns
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its itself they them their "
    "theirs themselves one ones who whom whose which what whoever whatever someone somebody something anyone anybody anything everyone everybody "
    "everything nobody nothing "
    # prepositions
    "about above across after against along among amongst around as at before behind below beneath beside besides between beyond by despite down during "
    "except for from in inside into like near of off on onto out outside over per since than through throughout till to toward towards under until unto up "
    "upon via with within without "
    # conjunctions and adverbs of place, time and degree
    "and but or nor so yet if then else because although though while whereas unless whether when where why how here there now again once ever never "
    "always often sometimes also too very just only even still already almost quite rather not however thus hence therefore "
    # auxiliaries
    "am is are was were be been being do does did doing done have has had having will would shall should can could may might must ought cannot "
    # what contractions are cut into
    "s t d m o y ll re ve ma don isn aren wasn weren doesn didn hasn haven hadn won wouldn shan shouldn couldn mustn"
).split()
_DASHES_AND_QUOTES = "\u2013\u2014\u00b4\u2018\u2019\u201c\u201d\u2026"
PUNCTUATION = (
    *".,;:!?-'\"`()[]{}<>/\\|_*#%&+=~^@$€£§", *_DASHES_AND_QUOTES,
    "...", "--", "''", "``", "'s", "'t", "'ll", "'re", "'ve", "'d", "'m", "().", ").", "),", ".)", ".\"", ",\"", "\".", "\",",
)  # fmt: skip


def stop_tokens(tokenizer: Any) -> frozenset[int]:
    """Return the ids of the tokens that are a stop word: capitalised or not, at the beginning of a text or after a space.

    A word that the tokenizer takes apart has none: its pieces are pieces of other words as well.
    """
    words = {form for word in (*FUNCTION_WORDS, *PUNCTUATION) for form in (word, word.capitalize())}
    texts = sorted(space + word for word in words for space in ("", " "))
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return frozenset(int(row[0]) for row in ids if len(row) == 1 and row[0] != tokenizer.unk_token_id)
