"""The hand-written tokenizer files do what Transformers makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from confscoring.synthetic.tokenizer import SPECIAL, write_tokenizer

WORDS = {"Ada", "Beck", "'s", "field", "is", "law", ".", "Question", ":", "?", "Which"}


@pytest.fixture
def tokenizer(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    write_tokenizer(tmp_path, WORDS)
    return transformers.AutoTokenizer.from_pretrained(tmp_path)


def test_text_survives_encoding_and_decoding(tokenizer) -> None:
    text = "Ada Beck's field is law. Question: Which field?"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1 and tokenizer.eos_token_id == 2 and tokenizer.pad_token_id == 0
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids[1:]) == text.replace("Question:", "Question :")  # a colon is set off when decoded


def test_prompt_and_response_give_the_same_ids_joined_or_apart(tokenizer) -> None:
    prompt, response = "Which field?", "Beck's field is law."
    joined = tokenizer(f"{prompt} {response}")["input_ids"]
    assert joined == tokenizer(prompt)["input_ids"] + tokenizer(response, add_special_tokens=False)["input_ids"]


def test_the_files_depend_on_the_words_alone(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_tokenizer(tmp_path / "a", WORDS)]
    second = [path.read_bytes() for path in write_tokenizer(tmp_path / "b", set(reversed(sorted(WORDS))))]
    assert first == second
    assert len(SPECIAL) == 4
