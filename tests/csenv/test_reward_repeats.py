"""Keys for responses and entities that repeat."""

from __future__ import annotations

from confscoring.repeats import numbered


def test_repeats_keep_keys_of_their_own() -> None:
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


def test_a_key_that_looks_like_a_mark_is_not_taken_for_one() -> None:
    assert numbered(["a", "a#2", "a"]) == ["a", "a#2", "a#3"]
    assert numbered(["a", "a", "a#2"]) == ["a", "a#2", "a#2#2"]
    assert numbered(["", "", ""]) == ["", "#2", "#3"]
