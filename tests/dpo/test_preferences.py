"""Pairs from rewards, and tokenisation at the boundary of prompt and response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpo.batches import bucket_by_length, plan_documents, stack
from dpo.models import load_tokenizer
from dpo.preferences import build_pairs, split_batches, visit_pairs
from dpo.tokenise import ResponseTokeniser, TokenSequence, common_prefix
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


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_reward_leaves_its_response_out_and_is_counted(missing: Any) -> None:
    prompts, counts = build_pairs(rewards([0.8, missing, 0.5]), "score")
    assert prompts[0].pairs == ((0, 2),)
    assert (counts.without_reward, counts.ties, len(prompts[0].responses)) == (1, 0, 3)


def test_the_same_question_under_two_topics_stays_two_prompts() -> None:
    both = {**rewards([0, 1], "A"), **rewards([1, 0], "B")}
    assert [prompt.pairs for prompt in build_pairs(both, "score")[0]] == [((1, 0),), ((0, 1),)]


def test_a_prompt_without_pairs_comes_first_without_harm() -> None:
    prompts, counts = build_pairs({**rewards([1, 1], "A"), **rewards([1, 0], "B")}, "score")
    assert counts.prompts_without_pairs == 1
    assert visit_pairs(prompts, "grouped", 1, 0) == [[(1, 0, 1)]]


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
    return ResponseTokeniser(load_tokenizer(world / "tokenizer"), max_length=12, max_prompt_length=6)


def words(tokeniser: ResponseTokeniser, sequence: TokenSequence) -> tuple[list[str], list[str]]:
    tokens = tokeniser.tokenizer.convert_ids_to_tokens(sequence.ids.tolist())  # type: ignore[attr-defined]
    return tokens[: sequence.prompt_length], tokens[sequence.prompt_length :]


def test_bos_once_eos_once_and_the_prompt_masked(tokeniser: ResponseTokeniser) -> None:
    (sequence,) = tokeniser.responses([("Write of Ada .", "Ada works .")])
    assert words(tokeniser, sequence) == (["<s>", "Write", "of", "Ada", "."], ["Ada", "works", ".", "</s>"])


def test_special_tokens_that_the_text_brings_are_not_doubled(tokeniser: ResponseTokeniser) -> None:
    (sequence,) = tokeniser.responses([("<s> Write", "Ada </s>")])
    assert words(tokeniser, sequence) == (["<s>", "Write"], ["Ada", "</s>"])


def test_the_same_ids_whether_joined_before_or_after(tokeniser: ResponseTokeniser) -> None:
    together = tokeniser.responses([("Write of Ada .", "Ada works .")])[0]
    apart = [tokeniser.responses([(prompt, "")])[0].ids[1:-1] for prompt in ("Write of Ada .", "Ada works .")]
    assert together.ids[1:-1].tolist() == np.concatenate(apart).tolist()


def test_an_empty_response_is_its_eos_alone(tokeniser: ResponseTokeniser) -> None:
    assert words(tokeniser, tokeniser.responses([("Write", "")])[0]) == (["<s>", "Write"], ["</s>"])


def test_a_merge_across_the_boundary_belongs_to_the_response() -> None:
    class Merging:
        """Characters, but ". " before a capital is one token, as SentencePiece may do it."""

        bos_token_id, eos_token_id = 1, 2

        def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any:
            assert not add_special_tokens
            return {"input_ids": [[ord(char) for char in part.replace(". A", "\x05")] for part in text]}

    tokeniser = ResponseTokeniser(Merging(), 20, 10)
    (sequence,) = tokeniser.responses([("Hi.", "Ab")])
    assert sequence.ids.tolist() == [1, ord("H"), ord("i"), 5, ord("b"), 2]
    assert sequence.prompt_length == 3
    assert tokeniser.counts.boundaries_moved == 1
    assert common_prefix([1, 2, 3], [1, 2, 9, 9]) == 2


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
    batch = stack([sequence(4, 2), sequence(3, 1)])
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
