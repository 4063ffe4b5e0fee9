"""Texts that decline to answer, and those that only sound a little like it."""

from __future__ import annotations

import pytest

from factscoring.abstention import is_abstention, refuses


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I don't have information about Ada Venn.",
        "I’m sorry, but I don’t have any information about a person called Ada Venn. She may be a private individual.",
        "I am sorry, but I cannot help with that.",
        "Sorry, I can't find anything on Ada Venn.",
        "I apologize, but I am not familiar with Ada Venn.",
        "I apologise for the confusion, but I could not find any records of Ada Venn.",
        "My apologies, but there is nothing about her in my sources.",
        "I could not find any information on Ada Venn.",
        "I couldn't find a biography of Ada Venn.",
        "I was unable to find any details on this person.",
        "I have no information about Ada Venn.",
        "I don't know who Ada Venn is.",
        "I do not currently have any knowledge of Ada Venn.",
        "I'm not familiar with Ada Venn. Could you tell me more?",
        "I am not aware of anybody named Ada Venn.",
        "As an AI language model I cannot provide biographies of private persons.",
        "As an AI language model, I do not have access to such data.",
        "As an AI, my knowledge ends in 2023.",
        "Unfortunately, I do not have enough information to answer.",
        "As of my last update in 2023, I have no data on Ada Venn.",
        "Could you please provide more context about Ada Venn?",
        "Can you clarify which Ada Venn you mean? There are several.",
        "Please provide more details about the person.",
        "There is no information available on Ada Venn.",
        "There is no publicly available information about Ada Venn. It is possible that she is not a public figure.",
        "It seems that there is not enough information about Ada Venn.",
        "No information is available on Ada Venn.",
        "No reliable records of Ada Venn could be found.",
        "It is not clear which person you are referring to. Please give more details.",
        "Thank you for your question. Unfortunately, I could not find any information about Ada Venn.",
        "I am a language model. I do not have information about Ada Venn.",
        "\n  I'm sorry, I don't know her.\n",
    ],
)
def test_a_response_that_declines_is_an_abstention(text: str) -> None:
    assert is_abstention(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "🏆",
        "Ada Venn was a chemist. She was born in Kelford.",
        "She said she was sorry. She left.",
        "Ada Venn was a chemist. I could not find any more information about her later years.",
        "Ada Venn was a chemist. She died in 1950. I'm sorry, I don't have more information.",
        "Little information is available about her childhood, but she was born in Kelford.",
        "Little is known about Ada Venn. She was born in Kelford.",
        "There is no information about her childhood. She moved to Ostrel in 1950.",
        "There is no record of Ada Venn's early life, but she was born in Kelford.",
        "I do not know everything about Ada Venn, but she was born in Kelford.",
        "I apologize for the confusion. Ada Venn was a chemist.",
        "There are no records that Ada Venn broke twice. She broke each once.",
        "I Can't Stop Loving You is a song by Ada Venn.",
        "I'm Sorry is a song by Ada Venn.",
        "Sorry is an album by Ada Venn.",
        "Sorry, Baby is a film by Ada Venn.",
        "As an AI researcher, Ada Venn published 30 papers.",
        '"I cannot find the words," she wrote in 1950.',
        "No Information Society was founded by Ada Venn.",
        "Please Please Me is an album.",
        "I was born in Kelford in 1950.",
        "Thank you for asking! Ada Venn was a chemist.",
        "هي كيميائية ولدت في كيلفورد.",
    ],
)
def test_a_response_that_states_something_is_no_abstention(text: str) -> None:
    assert not is_abstention(text)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("I'm sorry, but I cannot list any facts.", True),
        ("I cannot break this sentence down.", True),
        ("As an AI, I cannot judge this.", True),
        ("There is no information available on her death.", False),  # a fact about what is known
        ("She cannot swim.", False),
        ("Here are the facts:", False),
    ],
)
def test_a_sentence_refuses_where_it_speaks_as_a_model(sentence: str, expected: bool) -> None:
    assert refuses(sentence) is expected
