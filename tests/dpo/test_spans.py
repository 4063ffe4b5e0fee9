"""Parts of responses that do not count: their file, and which tokens they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from chat_forms import write_tokenizer  # noqa: E402

from dpo.models import load_tokenizer  # noqa: E402
from dpo.preferences import Prompt  # noqa: E402
from dpo.spans import read_spans  # noqa: E402
from dpo.tokenise import ResponseTokeniser, RoleSpans, TokenSequence, overlapping  # noqa: E402
from volume.errors import RecordError, UsageError  # noqa: E402

PROMPTS = [Prompt("Ada", "Who is Ada?", ("Ada is Ada. Who?", "Ödön 何.")), Prompt("Bo", "Who is Ada?", ("Bo.",))]
GOOD: dict[str, Any] = {"topic": "Ada", "question": "Who is Ada?", "response": 0, "as_chosen": [[0, 11]], "as_rejected": [[12, 16], [0, 3]]}


def write_lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_every_line_gives_the_parts_of_one_response_of_one_topic(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", GOOD, "", {**GOOD, "response": 1, "as_chosen": [], "as_rejected": [[5, 7]], "note": "kept, not read"})
    spans = read_spans(path, PROMPTS)
    assert len(spans) == 2
    assert spans.of(PROMPTS[0], 0) == (((0, 11),), ((12, 16), (0, 3)))
    assert spans.of(PROMPTS[0], 1) == ((), ((5, 7),))  # characters, not bytes
    assert spans.of(PROMPTS[1], 0) is None  # the same question, but another topic


def test_a_question_that_two_rewards_files_share_is_masked_in_both_where_the_response_is_the_same(tmp_path: Path) -> None:
    other = Prompt("Ada", "Who is Ada?", ("Ada is Ada. Who?", "Short"))
    spans = read_spans(write_lines(tmp_path / "m.jsonl", GOOD, {**GOOD, "response": 1, "as_chosen": [[5, 7]], "as_rejected": []}), [*PROMPTS, other])
    assert spans.of(other, 0) == spans.of(PROMPTS[0], 0) == (((0, 11),), ((12, 16), (0, 3)))
    assert spans.of(PROMPTS[0], 1) == (((5, 7),), ()) and spans.of(other, 1) is None


@pytest.mark.parametrize(("change", "message"), [
    ({"topic": "Adda"}, r"topic 'Adda' is not in the rewards files\. Did you mean 'Ada'\?"),
    ({"topic": "Zebulon"}, r"topic 'Zebulon' is not in the rewards files$"),
    ({"topic": 3}, "topic = 3: expected a text"),
    ({"question": "Who is Bo?"}, "topic 'Ada' has no question 'Who is Bo\\?'. Did you mean 'Who is Ada\\?'"),
    ({"response": 2}, "response = 2: expected an index from 0 to 1"),
    ({"response": -1}, "response = -1: expected an index"),
    ({"response": True}, "response = True: expected an index"),
    ({"as_chosen": [[0, 17]]}, r"as_chosen has \[0, 17\]: expected \[start, end\] with 0 <= start < end <= 16"),
    ({"as_rejected": [[5, 5]]}, r"as_rejected has \[5, 5\]"),
    ({"as_rejected": [[-3, 2]]}, r"as_rejected has \[-3, 2\]"),
    ({"as_chosen": [[0, 2.0]]}, r"as_chosen has \[0, 2.0\]"),
    ({"as_chosen": [[0, 2, 3]]}, r"as_chosen has \[0, 2, 3\]"),
    ({"as_chosen": 7}, r"as_chosen = 7: expected a list of \[start, end\], empty for none"),
    ({"as_rejected": None}, "as_rejected = None: expected a list"),
])  # fmt: skip
def test_a_line_that_does_not_fit_is_an_error_that_names_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "m.jsonl", {**GOOD, "response": 1, "as_chosen": [], "as_rejected": []}, {**GOOD, **change})
    with pytest.raises(RecordError, match=r"m\.jsonl, line 2: " + message):
        read_spans(path, PROMPTS)


def test_a_response_twice_a_broken_line_and_a_missing_file_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"line 3: response 0 to 'Who is Ada\?' has been on line 1 already"):
        read_spans(write_lines(tmp_path / "twice.jsonl", GOOD, "", GOOD), PROMPTS)
    with pytest.raises(RecordError, match="broken.jsonl, line 2 is not valid JSON"):
        read_spans(write_lines(tmp_path / "broken.jsonl", GOOD, '{"topic": "Ada",'), PROMPTS)
    with pytest.raises(UsageError, match="none.jsonl is missing"):
        read_spans(tmp_path / "none.jsonl", PROMPTS)


# Characters to tokens


@pytest.fixture
def tokeniser(tmp_path: Path) -> ResponseTokeniser:
    return ResponseTokeniser(load_tokenizer(write_tokenizer(tmp_path)), 12, 5)


def left_out(tokeniser: ResponseTokeniser, prompt: str, response: str, spans: RoleSpans) -> tuple[list[str], list[str]]:
    """Return the tokens left out where the response is chosen, and where it is rejected."""
    (sequence,) = tokeniser.responses([(prompt, response)], [spans])
    assert sequence.left_out is not None
    tokens = tokeniser.tokenizer.convert_ids_to_tokens(sequence.ids.tolist())[sequence.prompt_length :]  # type: ignore[attr-defined]
    chosen, rejected = ([token for token, out in zip(tokens, mask, strict=True) if out] for mask in sequence.left_out)
    return chosen, rejected


def test_tokens_that_overlap_a_part_are_left_out_and_the_space_before_a_word_is_nobodys(tokeniser: ResponseTokeniser) -> None:
    response = "Ada is Ada. Who?"
    assert left_out(tokeniser, "Who is", response, (((0, 11),), ((12, 16),))) == (["▁Ada", "▁is", "▁Ada", "."], ["▁Who", "?"])
    assert left_out(tokeniser, "Who is", response, (((0, 12),), ())) == (["▁Ada", "▁is", "▁Ada", "."], [])  # the space is not "Who"
    assert left_out(tokeniser, "Who is", response, (((8, 9),), ((2, 5), (15, 16)))) == (["▁Ada"], ["▁Ada", "▁is", "?"])  # within a word


def test_eos_always_counts_even_where_the_response_brings_it(tokeniser: ResponseTokeniser) -> None:
    assert left_out(tokeniser, "Who", "Ada", (((0, 3),), ((0, 3),))) == (["▁Ada"], ["▁Ada"])
    assert left_out(tokeniser, "Who", "Ada</s>", (((0, 7),), ())) == (["▁Ada"], [])


def test_parts_of_what_is_cut_off_go_with_it_and_the_rest_stays_in_its_place(tokeniser: ResponseTokeniser) -> None:
    prompt, response = "Who is Ada is Who is", "Ada Who Ada is Ada. Who is"  # 7 + 10 tokens and EOS; 5 and 6 are kept, and EOS
    chosen, rejected = left_out(tokeniser, prompt, response, (((4, 7), (12, 18)), ((20, 26), (0, 3))))
    assert (chosen, rejected) == (["▁Who", "▁is", "▁Ada"], ["▁Ada"])
    (gone,) = tokeniser.responses([(prompt, response)], [((), ((20, 26),))])
    assert gone.left_out is None and gone.targets == 7


def test_without_a_prompt_the_first_token_is_no_target_and_the_masks_know_it(tmp_path: Path) -> None:
    tokeniser = ResponseTokeniser(load_tokenizer(write_tokenizer(tmp_path, puts_bos=False)), 12, 5)
    assert left_out(tokeniser, "", "Ada is Ada", (((0, 3), (4, 6)), ((7, 10),))) == (["▁is"], ["▁Ada"])


def test_masks_run_parallel_to_the_targets_and_are_part_of_the_key(tokeniser: ResponseTokeniser) -> None:
    def one(spans: RoleSpans | None) -> TokenSequence:
        return tokeniser.responses([("Who", "Ada is")], [spans])[0]

    plain, masked, turned = one(None), one((((0, 3),), ())), one(((), ((0, 3),)))
    assert plain.left_out is None and plain.key == one(((), ())).key == tokeniser.responses([("Who", "Ada is")])[0].key
    assert masked.left_out is not None and [mask.tolist() for mask in masked.left_out] == [[True, False, False], [False, False, False]]
    assert masked.left_out[0].shape == (masked.targets,)
    assert len({plain.key, masked.key, turned.key}) == 3 and masked.key == one((((0, 3),), ())).key
    assert plain.ids.tolist() == masked.ids.tolist()


def test_a_token_of_white_space_alone_overlaps_by_it_and_an_empty_one_by_nothing() -> None:
    assert overlapping("a \n b", [(0, 1), (1, 3), (3, 5), (5, 5)], [(2, 4)]).tolist() == [False, True, False, False]
