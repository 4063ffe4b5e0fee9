"""Log-probabilities and gradients: each sequence once, packed or padded, in one piece or several, against the plain definitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import CPU, PlainEngine, gradient_of, plain_logps, plain_loss, random_group, random_pairs

from dpo.attention import can_pack
from dpo.batches import Batching, pack
from dpo.gradient import take_gradient
from dpo.logprobs import Policy, response_logps, sequence_sums
from dpo.models import load_model
from dpo.objectives import LanguageModelling, Pair, PairData, PreferenceOptimisation
from dpo.tokenise import TokenSequence
from volume.training_settings import DpoSettings

EVERYTHING = 10**6  # tokens of a forward that holds all


def tiny(kind: str, **more: Any) -> Any:
    """Return a model of a few thousand parameters, in the form in which Transformers' own code attends."""
    import transformers

    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
    config = transformers.AutoConfig.for_model(kind, **{**sizes, "initializer_range": 0.4, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **more})
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()


def make_groups(seed: int, prompts: int = 3) -> tuple[list[TokenSequence], list[Pair]]:
    draw = np.random.default_rng(seed)
    sequences: list[TokenSequence] = []
    pairs: list[Pair] = []
    for _ in range(prompts):
        group = random_group(draw, int(draw.integers(2, 13)))
        pairs += random_pairs(draw, group, len(sequences))
        sequences += group
    return sequences, pairs


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("packed", [True, False])
def test_response_log_probabilities_are_those_of_whole_logits(start: Path, packed: bool) -> None:
    sequences, _ = make_groups(1)
    plain = load_model(start).double()
    with torch.no_grad():
        expected = plain_logps(plain, sequences)
    policy = Policy(load_model(start).double(), packed)
    values = response_logps(policy, Batching(packed, 40), sequences, CPU)  # float32 after the head
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(values[:, 0], values[:, 1])


@pytest.mark.parametrize(("kind", "more"), [
    ("llama", {"num_key_value_heads": 2}), ("mistral", {"num_key_value_heads": 1, "sliding_window": None}), ("qwen2", {"num_key_value_heads": 2}),
    ("qwen3", {"num_key_value_heads": 2, "head_dim": 4}), ("olmo2", {"num_key_value_heads": 4}), ("gpt_neox", {"rotary_pct": 0.5}),
])  # fmt: skip
def test_packed_and_padded_agree_for_every_kind_of_model_that_is_packed(kind: str, more: dict[str, Any]) -> None:
    sequences, _ = make_groups(2)
    model = tiny(kind, **more)
    with torch.no_grad():
        expected = plain_logps(model, sequences)
    policy = Policy(model, pack=True)
    assert policy.packed
    values = response_logps(policy, Batching(True, EVERYTHING), sequences, CPU)[:, 0]
    np.testing.assert_allclose(values, expected, rtol=2e-6)


@pytest.mark.parametrize(("kind", "more"), [
    ("gpt2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}), ("mistral", {"num_key_value_heads": 2, "sliding_window": 8}),
])  # fmt: skip
def test_models_whose_attention_is_another_are_run_padded(kind: str, more: dict[str, Any]) -> None:
    sequences, _ = make_groups(2)
    model = tiny(kind, **more)
    with torch.no_grad():
        expected = torch.stack([plain_logps(model, [sequence])[0] for sequence in sequences])
    policy = Policy(model, pack=True)
    assert not policy.packed and not can_pack(model)
    values = response_logps(policy, Batching(False, 60), sequences, CPU)[:, 0]
    np.testing.assert_allclose(values, expected, rtol=2e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_is_that_of_running_both_sides_of_every_pair(
    start: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, seed: int
) -> None:
    if dtype == torch.float64:  # the head's float32 is for speed and memory: without it the mathematics is compared
        monkeypatch.setattr(torch.Tensor, "float", lambda value: value)
    sequences, pairs = make_groups(seed)
    policy = Policy(load_model(start).to(dtype), pack=True)
    reference = response_logps(policy, Batching(True, EVERYTHING), sequences, CPU)
    reference = reference + torch.linspace(-1, 1, len(sequences))[:, None]
    plain = load_model(start).to(dtype)
    expected_loss = plain_loss(plain, sequences, pairs, reference, beta=0.3)
    expected_loss.backward()
    objective = PreferenceOptimisation(PairData(sequences, reference), [pairs], DpoSettings(beta=0.3))
    for packed, tokens in ((True, EVERYTHING), (True, 60), (True, 17), (True, 1), (False, EVERYTHING), (False, 40)):
        policy = Policy(load_model(start).to(dtype), packed)
        result = take_gradient(PlainEngine(policy), Batching(packed, tokens), objective.share(0, CPU), CPU)
        exact = 1e-6 if dtype == torch.float64 else 1e-4
        assert relative(gradient_of(policy), gradient_of(plain)) < exact, (packed, tokens)
        assert result.loss.item() == pytest.approx(expected_loss.item(), rel=exact)


def test_a_batch_runs_each_distinct_sequence_and_each_prompt_once(start: Path) -> None:
    sequences = random_group(np.random.default_rng(0), 10)
    pairs = [Pair(i, j) for i in range(10) for j in range(i + 1, 10)]
    engine = PlainEngine(Policy(load_model(start), pack=True))
    objective = PreferenceOptimisation(PairData(sequences, torch.zeros(10, 2)), [pairs], DpoSettings())
    take_gradient(engine, Batching(True, EVERYTHING), objective.share(0, CPU), CPU)
    assert engine.forwards == 1
    assert engine.tokens == sequences[0].prompt_length + sum(sequence.targets - 1 for sequence in sequences)


def test_a_batch_that_does_not_fit_takes_one_more_forward_for_each_piece_and_one_gradient_step(start: Path) -> None:
    sequences, pairs = make_groups(3)
    batching = Batching(True, 30)
    pieces = batching.split(sequences)
    assert len(pieces) > 2
    engine = PlainEngine(Policy(load_model(start), pack=True))
    share = PreferenceOptimisation(PairData(sequences, torch.zeros(len(sequences), 2)), [pairs], DpoSettings()).share(0, CPU)
    own = len(batching.split(share.sequences))
    take_gradient(engine, batching, share, CPU)
    assert engine.forwards == 2 * own
    assert engine.boundaries == [False] * (own - 1) + [True]


def test_supervised_tuning_in_pieces_needs_no_first_pass_and_gives_the_same_gradient(start: Path) -> None:
    sequences, _ = make_groups(4)
    share = LanguageModelling(sequences, [range(len(sequences))]).share(0, CPU)
    gradients, losses = [], []
    for tokens in (EVERYTHING, 25):
        engine = PlainEngine(Policy(load_model(start), pack=True))
        result = take_gradient(engine, Batching(True, tokens), share, CPU)
        gradients.append(gradient_of(engine.module))
        losses.append(result.loss.item())
        assert result.sums["loss"].item() / result.sums["weight"].item() == pytest.approx(result.loss.item(), rel=1e-6)
    assert engine.forwards == len(Batching(True, 25).split(sequences)) > 2
    assert relative(gradients[1], gradients[0]) < 1e-5
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_log_probability_does_not_depend_on_what_it_is_packed_with(start: Path, dtype: torch.dtype) -> None:
    sequences = [sequence for seed in range(4) for sequence in make_groups(seed)[0]]
    policy = Policy(load_model(start, dtype), pack=True)
    together = response_logps(policy, Batching(True, EVERYTHING), sequences, CPU)
    for tokens in (1, 7, 50, 333):
        assert torch.equal(response_logps(policy, Batching(True, tokens), sequences, CPU), together)
    backwards = response_logps(policy, Batching(True, 99), sequences[::-1], CPU).flip(0)
    assert torch.equal(backwards, together)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_loss_is_ln_2_to_the_bit(start: Path, dtype: torch.dtype) -> None:
    sequences, pairs = make_groups(5, prompts=8)
    policy = Policy(load_model(start, dtype), pack=True)
    reference = response_logps(policy, Batching(True, 50), sequences, CPU)  # other pieces than the step's
    objective = PreferenceOptimisation(PairData(sequences, reference), [pairs], DpoSettings())
    for tokens in (EVERYTHING, 70):
        result = take_gradient(PlainEngine(policy), Batching(True, tokens), objective.share(0, CPU), CPU)
        assert result.loss.item() == torch.tensor(math.log(2)).item()
        assert result.sums["chosen_reward"].item() == result.sums["rejected_reward"].item() == 0.0


def test_masked_tokens_count_in_neither_log_probability_nor_gradient(start: Path) -> None:
    whole = random_group(np.random.default_rng(8), 2)
    longer = max(whole, key=lambda sequence: sequence.targets)
    assert longer.targets > 3
    left_out = (np.arange(longer.targets) < 2, np.zeros(longer.targets, dtype=bool))
    masked = TokenSequence(longer.ids, longer.prompt_length, left_out)
    policy = Policy(load_model(start), pack=True)
    tokens = policy(*(lambda batch: (batch.input_ids, batch.positions, batch.targets, batch.position_ids, batch.layout))(pack([longer])))
    chosen, rejected = sequence_sums(policy, Batching(True, EVERYTHING), [masked], CPU.device)[0]
    assert chosen.item() == pytest.approx(tokens[2:].double().sum().item(), rel=1e-12)
    assert rejected.item() == pytest.approx(tokens.double().sum().item(), rel=1e-12)


def test_activation_checkpointing_gives_the_same_gradient(start: Path) -> None:
    sequences, pairs = make_groups(6)
    objective = PreferenceOptimisation(PairData(sequences, torch.zeros(len(sequences), 2)), [pairs], DpoSettings())
    gradients = []
    for again in (False, True):
        model = load_model(start)
        if again:
            model.activation_checkpointing_enable()
        policy = Policy(model, pack=True)
        runs = []
        model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        take_gradient(PlainEngine(policy), Batching(True, EVERYTHING), objective.share(0, CPU), CPU)
        gradients.append(gradient_of(policy))
        assert len(runs) == 1 + again
    assert torch.equal(*gradients)


def test_logits_that_are_not_kept_are_computed_again_with_the_same_gradient(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, pairs = make_groups(7)
    objective = PreferenceOptimisation(PairData(sequences, torch.zeros(len(sequences), 2)), [pairs], DpoSettings())
    monkeypatch.setattr("dpo.logprobs._LOGITS_AT_ONCE_CPU", 1500)
    gradients, forwards = [], []
    for kept in (1 << 28, 1500):
        monkeypatch.setattr("dpo.logprobs.LOGITS_KEPT", kept)
        policy = Policy(load_model(start), pack=True)
        runs: list[int] = []
        policy.model.get_output_embeddings().register_forward_pre_hook(lambda _, given, runs=runs: runs.append(len(given[0])))
        take_gradient(PlainEngine(policy), Batching(True, EVERYTHING), objective.share(0, CPU), CPU)
        gradients.append(gradient_of(policy))
        forwards.append(runs)
    assert torch.equal(*gradients)
    assert len(forwards[0]) > 2 and sorted(forwards[1]) == sorted(2 * forwards[0])
    assert max(forwards[0]) * 27 <= 1500


def test_pieces_hold_what_they_may_and_a_prompt_with_its_responses() -> None:
    sequences = [sequence for seed in range(3) for sequence in make_groups(seed)[0]]
    for tokens in (1, 20, 64, EVERYTHING):
        pieces = Batching(True, tokens).split(sequences)
        assert sorted(index for piece in pieces for index in piece) == list(range(len(sequences)))
        for piece in pieces:
            assert len(piece) == 1 or pack([sequences[index] for index in piece]).input_ids.numel() <= tokens
    assert len(pieces) == 1
