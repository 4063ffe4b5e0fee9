"""Pairs from rewards, and tokenisation at the boundary of prompt and response."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from chat_forms import write_tokenizer  # noqa: E402

from dpo.batches import bucket_by_length, pad, plan_documents
from dpo.models import load_tokenizer
from dpo.preferences import build_pairs, read_prompts, split_batches, visit_pairs, visit_responses
from dpo.tokenise import ResponseTokeniser, TokenSequence, common_prefix, join
from volume.errors import RecordError, UsageError


def rewards(values: list[Any], topic: str = "T") -> dict[str, Any]:
    return {topic: {"Q": {"responses": [f"r{index}" for index in range(len(values))], "score": values}}}


def test_every_pair_with_a_gap_is_taken_and_ties_are_counted() -> None:
    prompts, counts = build_pairs(rewards([0.5, 0.2, 0.5, 0.9]), "score")
    assert prompts[0].pairs == ((0, 1), (3, 0), (2, 1), (3, 1), (3, 2))
    assert (counts.pairs, counts.ties, counts.responses) == (5, 1, 4)


def test_equal_scores_summed_in_another_order_are_a_tie() -> None:
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert build_pairs(rewards([0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1]), "score")[1].ties == 1


def test_a_gap_must_exceed_the_threshold() -> None:
    prompts, counts = build_pairs(rewards([0.8, 0.7, 0.5]), "score", threshold=0.1)
    assert prompts[0].pairs == ((0, 2), (1, 2))
    assert counts.ties == 1


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_missing_reward_leaves_its_response_out_and_is_counted(missing: Any) -> None:
    prompts, counts = build_pairs(rewards([0.8, missing, 0.5]), "score")
    assert prompts[0].pairs == ((0, 2),)
    assert (counts.without_reward, counts.ties, len(prompts[0].responses)) == (1, 0, 3)


def test_the_same_question_under_two_topics_stays_two_prompts() -> None:
    both = {**rewards([0, 1], "A"), **rewards([1, 0], "B")}
    both["B"]["Q"]["responses"] = ["other 0", "other 1"]
    prompts, _ = build_pairs(both, "score")
    assert [(prompt.topic, prompt.text, prompt.pairs) for prompt in prompts] == [("A", "Q", ((1, 0),)), ("B", "Q", ((0, 1),))]
    assert [prompt.responses for prompt in prompts] == [("r0", "r1"), ("other 0", "other 1")]


@pytest.mark.parametrize("order", ["grouped", "shuffled"])
def test_a_prompt_without_pairs_comes_first_without_harm(order: str) -> None:
    prompts, counts = build_pairs({**rewards([1, 1], "A"), **rewards([1, 0], "B")}, "score")
    assert counts.prompts_without_pairs == 1
    assert visit_pairs(prompts, order, 1, 0) == [[(1, 0, 1)]]


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [0.7], [], [None, 0.3], [float("nan"), float("nan")], [0.0, -0.0, 0]])
def test_a_file_without_any_pair_gives_none_and_no_batch(values: list[Any]) -> None:
    prompts, counts = build_pairs(rewards(values), "score")
    assert (counts.pairs, counts.prompts_without_pairs, len(prompts)) == (0, 1, 1)
    for order in ("grouped", "shuffled"):
        assert split_batches(visit_pairs(prompts, order, 2, seed=0), 4) == []


def test_whole_numbers_and_negative_zero_are_rewards_like_others() -> None:
    prompts, counts = build_pairs(rewards([1, 0.0, -0.0, 0, 1.0]), "score")
    assert prompts[0].pairs == ((0, 1), (0, 2), (0, 3), (4, 1), (4, 2), (4, 3))
    assert counts.ties == 4
    assert [str(reward) for reward in prompts[0].rewards] == ["1.0", "0.0", "0.0", "0.0", "1.0"]


def test_a_pair_knows_the_gap_of_its_rewards() -> None:
    (prompt,), _ = build_pairs(rewards([0.1 + 0.2, None, 0.9]), "score")
    assert prompt.rewards == (0.3, None, 0.9)
    assert [(pair, prompt.reward_gap(*pair)) for pair in prompt.pairs] == [((2, 0), 0.6)]


def test_equal_responses_with_different_rewards_stay_a_pair_and_are_counted() -> None:
    prompts, counts = build_pairs({"T": {"Q": {"responses": ["a", "a", "b"], "score": [0.2, 0.8, 0.5]}}}, "score")
    assert prompts[0].pairs == ((1, 0), (2, 0), (1, 2))
    assert (counts.pairs, counts.same_text) == (3, 1)


def test_supervised_tuning_takes_every_response_whatever_its_reward() -> None:
    prompts = read_prompts(rewards([float("nan"), 1.0, None]))
    assert prompts[0].pairs == () and prompts[0].rewards == ()
    assert sorted(visit_responses(prompts, 1, seed=0)[0]) == [(0, 0), (0, 1), (0, 2)]
    assert visit_responses(prompts, 1, seed=0) != visit_responses(prompts, 1, seed=4)


@pytest.mark.parametrize(("record", "message"), [
    ({"responses": ["a", "b"], "score": ["1", "0"]}, "'score': '1' is no reward; expected a number"),
    ({"responses": ["a", "b"], "score": [True, False]}, "True is no reward"),
    ({"responses": ["a", 3], "score": [1, 0]}, "topic 'T', 'Q': expected a list 'responses' of texts, found one that is no text, 3"),
    ({"score": [1, 0]}, "expected a list 'responses' of texts, found none"),
])  # fmt: skip
def test_what_is_no_response_or_no_reward_is_told_of(record: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        build_pairs({"T": {"Q": record}}, "score")


def test_questions_of_any_wording_are_taken_as_they_are() -> None:
    assert read_prompts({"Ada": {"¿Quién es {Ada}?": {"responses": []}}})[0].text == "¿Quién es {Ada}?"


def test_an_unknown_reward_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Did you mean 'score'"):
        build_pairs(rewards([1, 0]), "scores")


def test_rewards_that_do_not_match_the_responses_are_an_error() -> None:
    with pytest.raises(RecordError, match="2 responses but 1 values"):
        build_pairs({"T": {"Q": {"responses": ["a", "b"], "score": [1.0]}}}, "score")


def test_shuffled_order_visits_the_same_pairs_and_differs_between_epochs_and_seeds() -> None:
    prompts, _ = build_pairs({**rewards([1, 2, 3, 4, 5], "A"), **rewards([5, 1, 4, 2, 3], "B")}, "score")
    first, second = visit_pairs(prompts, "shuffled", 2, seed=1)
    other = visit_pairs(prompts, "shuffled", 1, seed=2)[0]
    assert first != second and first != other
    assert sorted(first) == sorted(second) == sorted(other) == sorted(visit_pairs(prompts, "grouped", 1, seed=1)[0])


def test_the_last_partial_batch_of_each_epoch_is_used_unless_dropped() -> None:
    assert split_batches([[1, 2, 3], [4, 5, 6]], 2) == [[1, 2], [3], [4, 5], [6]]
    assert split_batches([[1, 2, 3], [4, 5, 6]], 2, drop_last=True) == [[1, 2], [4, 5]]


# Tokenisation


@pytest.fixture
def tokeniser(world: Path) -> ResponseTokeniser:
    return ResponseTokeniser(with_bos(load_tokenizer(world / "tokenizer")), max_length=12, max_prompt_length=6)


def with_bos(tokenizer: Any) -> Any:
    """Return a tokenizer that puts <s> before a text itself, as those of most models do."""
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def words(tokeniser: ResponseTokeniser, sequence: TokenSequence) -> tuple[list[str], list[str]]:
    tokens = tokeniser.tokenizer.convert_ids_to_tokens(sequence.ids.tolist())  # type: ignore[attr-defined]
    return tokens[: sequence.prompt_length], tokens[sequence.prompt_length :]


def test_bos_once_eos_once_and_the_prompt_masked(tokeniser: ResponseTokeniser) -> None:
    (sequence,) = tokeniser.responses([("Write of Ada .", "Ada works .")])
    assert words(tokeniser, sequence) == (["<s>", "Write", "of", "Ada", "."], ["Ada", "works", ".", "</s>"])


def test_no_bos_where_the_tokenizer_puts_none_as_it_put_none_when_sampling(world: Path) -> None:
    """Pythia's and GPT-2's tokenizers know a BOS token that no text of theirs begins with."""
    tokenizer = load_tokenizer(world / "tokenizer")
    tokenizer.backend_tokenizer.post_processor = processor_without_bos()
    tokeniser = ResponseTokeniser(tokenizer, max_length=12, max_prompt_length=6)
    (sequence,) = tokeniser.responses([("Write of Ada .", "Ada works .")])
    assert words(tokeniser, sequence) == (["Write", "of", "Ada", "."], ["Ada", "works", ".", "</s>"])
    (bare,) = tokeniser.responses([("", "Ada works .")])
    assert words(tokeniser, bare) == (["Ada"], ["works", ".", "</s>"])  # nothing predicts the first token
    (document,) = tokeniser.documents(["Ada works ."])  # pretraining decides by itself what begins a text
    assert words(tokeniser, document) == (["<s>"], ["Ada", "works", ".", "</s>"])


def processor_without_bos() -> Any:
    from tokenizers import processors

    return processors.TemplateProcessing(single="$A", special_tokens=[])


def test_special_tokens_that_the_text_brings_are_not_doubled(tokeniser: ResponseTokeniser) -> None:
    (sequence,) = tokeniser.responses([("<s> Write", "Ada </s>")])
    assert words(tokeniser, sequence) == (["<s>", "Write"], ["Ada", "</s>"])


def test_the_same_ids_whether_joined_before_or_after(tokeniser: ResponseTokeniser) -> None:
    together = tokeniser.responses([("Write of Ada .", "Ada works .")])[0]
    apart = [tokeniser.responses([(prompt, "")])[0].ids[1:-1] for prompt in ("Write of Ada .", "Ada works .")]
    assert together.ids[1:-1].tolist() == np.concatenate(apart).tolist()


def test_one_space_stands_between_prompt_and_response_unless_there_is_white_space_or_another_separator() -> None:
    assert join("Q", "A") == "Q A"
    assert join("Q\n", "A") == "Q\nA" and join("Q", "\nA") == "Q\nA" and join("", "A") == "A"
    assert join("<|user|>", "A", "") == "<|user|>A" and join("Q", "A", "\n\n") == "Q\n\nA"
    assert join("Q", "") == "Q" and join("Q", "", " ") == "Q"


def test_sentencepiece_gets_no_second_space_between_prompt_and_response(tmp_path: Path) -> None:
    """The public trainer tokenises " Ada" alone, where a prepended space makes it two."""
    tokeniser = ResponseTokeniser(load_tokenizer(write_tokenizer(tmp_path)), 40, 20)
    (sequence,) = tokeniser.responses([("Who is", "Ada")])
    assert words(tokeniser, sequence) == (["<s>", "▁Who", "▁is"], ["▁Ada", "</s>"])
    alone = tokeniser.tokenizer([" Ada"], add_special_tokens=False)["input_ids"][0]
    assert tokeniser.tokenizer.convert_ids_to_tokens(alone) == ["▁", "▁Ada"]  # type: ignore[attr-defined]


def test_a_response_ends_with_the_token_that_ends_a_turn_where_that_is_not_eos(tmp_path: Path) -> None:
    tokeniser = ResponseTokeniser(load_tokenizer(write_tokenizer(tmp_path)), 7, 4, ending="<|end|>")
    sequences = tokeniser.responses([("Who is", "Ada"), ("Who is", "Ada<|end|>"), ("Who is", "Ada Ada Ada Ada Ada")])
    assert [words(tokeniser, sequence)[1] for sequence in sequences] == [["▁Ada", "<|end|>"], ["▁Ada", "<|end|>"], ["▁Ada", "▁Ada", "▁Ada", "<|end|>"]]
    assert tokeniser.counts.responses_truncated == 1


def test_an_empty_response_is_its_eos_alone(tokeniser: ResponseTokeniser) -> None:
    assert words(tokeniser, tokeniser.responses([("Write", "")])[0]) == (["<s>", "Write"], ["</s>"])


def test_a_merge_across_the_boundary_belongs_to_the_response() -> None:
    class Merging:
        """Characters, but ". " before a capital is one token, as SentencePiece may do it."""

        bos_token_id: int | None = 1
        eos_token_id: int | None = 2

        def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any:
            return {"input_ids": [[1] * add_special_tokens + [ord(char) for char in part.replace(". A", "\x05")] for part in text]}

        def convert_tokens_to_ids(self, tokens: str) -> int:
            return ord(tokens)

    tokeniser = ResponseTokeniser(Merging(), 20, 10)
    (sequence,) = tokeniser.responses([("Hi.", "Ab")])
    assert sequence.ids.tolist() == [1, ord("H"), ord("i"), 5, ord("b"), 2]
    assert sequence.prompt_length == 3
    assert tokeniser.counts.boundaries_moved == 1
    assert common_prefix([1, 2, 3], [1, 2, 9, 9]) == 2
    with pytest.raises(UsageError, match="does not say which characters a token stands for"):
        tokeniser.responses([("Hi.", "Ab")], [(((0, 1),), ())])


def test_truncation_keeps_bos_and_eos_and_is_counted(tokeniser: ResponseTokeniser) -> None:
    (sequence,) = tokeniser.responses([("Write a biography of Ada and Bo .", "Ada was born in Helby . Bo works as a pilot .")])
    prompt, response = words(tokeniser, sequence)
    assert prompt == ["<s>", "of", "Ada", "<unk>", "Bo", "."]
    assert response == ["Ada", "was", "born", "in", "Helby", "</s>"]
    assert (tokeniser.counts.prompts_truncated, tokeniser.counts.responses_truncated) == (1, 1)


def test_a_short_prompt_leaves_its_room_to_the_response(tokeniser: ResponseTokeniser) -> None:
    (sequence,) = tokeniser.responses([("Write", "Ada was born in Helby . Bo works as a pilot .")])
    assert len(sequence.ids) == 12 and sequence.targets == 10


def test_equal_content_has_equal_keys(tokeniser: ResponseTokeniser) -> None:
    one, two, three = tokeniser.responses([("Write", "Ada"), ("Write", "Ada"), ("Write Ada", "")])
    assert one.key == two.key != three.key


# Batches


def sequence(length: int, prompt: int = 1) -> TokenSequence:
    return TokenSequence(np.arange(1, length + 1, dtype=np.int32), prompt)


def test_a_batch_marks_the_positions_that_predict_targets() -> None:
    batch = pad([sequence(4, 2), sequence(3, 1)])
    assert batch.input_ids.tolist() == [[1, 2, 3, 4], [1, 2, 3, 0]]
    assert batch.positions.tolist() == [1, 2, 4, 5]
    assert batch.targets.tolist() == [3, 4, 2, 3]


def test_buckets_keep_to_their_size_and_hold_everything_once() -> None:
    lengths = [5, 3, 9, 3, 4, 30, 5]
    chunks = bucket_by_length(lengths, 12)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(7))
    assert all(len(chunk) == 1 or len(chunk) * max(lengths[index] for index in chunk) <= 12 for chunk in chunks)


def test_document_plans_belong_to_their_seed_and_go_through_every_document() -> None:
    lengths = [3 + index % 4 for index in range(40)]
    plan = plan_documents(lengths, 30, 20, seed=1)
    assert plan == plan_documents(lengths, 30, 20, seed=1) != plan_documents(lengths, 30, 20, seed=2)
    assert len(plan) == 30
    assert plan[:5] == plan_documents(lengths, 5, 20, seed=1)
    assert {index for batch in plan for index in batch} == set(range(40))
