"""Adapters: the first policy is the reference, and merged weights are the policy that was trained, under every ZeRO stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dpo.export import export_weights, files_to_copy, write_export
from dpo.lora import add_adapters, merge_adapters, transposed_layers
from dpo.models import load_model
from volume.errors import UsageError
from volume.training_settings import OptimSettings

LORA = OptimSettings(lora_rank=4, lora_alpha=10.0)
IDS = torch.tensor([[1, 7, 12, 5, 9, 2], [1, 4, 4, 26, 8, 2]])


def make_llama(tied: bool = True) -> Any:
    import transformers

    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=27, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    ))  # fmt: skip


def make_gpt2() -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=27, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=1, eos_token_id=2, initializer_range=0.3)
    return transformers.GPT2LMHeadModel(config).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model(input_ids=IDS).logits
    return answer


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def shake(model: Any) -> None:
    """Stand in for training: give every adapter's B some values."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2, generator=generator)


# Adding


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_policy_is_the_reference_to_the_bit(start: Path, dtype: torch.dtype) -> None:
    model = load_model(start, dtype)
    reference, kind = logits(model), type(model)
    assert add_adapters(model, LORA, seed=0) is model and type(model) is kind
    assert torch.equal(logits(model), reference)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_adapters_alone_are_trained_on_every_linear_layer_but_the_head() -> None:
    model = add_adapters(make_llama(tied=False), LORA, seed=0)
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    # rank x (in + out) of q, o (16, 16), k, v (16, 8), gate, up, down (16, 24), in each of two layers
    assert sum(trained.values()) == 2 * 4 * (2 * 32 + 2 * 24 + 3 * 40)
    assert isinstance(model.get_output_embeddings(), torch.nn.Linear) and model.base_model is model.model


def test_an_adapter_belongs_to_the_seed_and_its_layer_alone() -> None:
    def first_factors(settings: OptimSettings, seed: int, before: int) -> dict[str, torch.Tensor]:
        model = make_llama()
        torch.manual_seed(before)
        state = torch.get_rng_state()
        add_adapters(model, settings, seed)
        assert torch.equal(state, torch.get_rng_state())  # nothing is drawn from the generator that all share
        return {name: value for name, value in weights_of(model).items() if "lora_A" in name}

    whole, again, other = first_factors(LORA, 3, 1), first_factors(LORA, 3, 2), first_factors(LORA, 4, 1)
    part = first_factors(OptimSettings(lora_rank=4, lora_targets=("v_proj",)), 3, 7)
    assert set(part) == {f"model.layers.{layer}.self_attn.v_proj.lora_A.default.weight" for layer in (0, 1)}
    for name, value in whole.items():
        assert torch.equal(value, again[name]) and not torch.equal(value, other[name])
        assert torch.equal(value, part.get(name, value))
        assert 0.5 < value.abs().max().item() * value.shape[1] ** 0.5 <= 1  # uniform in +-1 / sqrt(in), as PEFT draws it
    first, second = (whole[f"model.layers.{layer}.self_attn.q_proj.lora_A.default.weight"] for layer in (0, 1))
    assert not torch.equal(first, second)


def test_targets_are_names_of_layers_or_the_ends_of_full_ones() -> None:
    model = add_adapters(make_llama(), OptimSettings(lora_rank=2, lora_targets=("q_proj", "0.mlp.up_proj")), seed=0)
    adapted = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert adapted == {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.up_proj"}


def test_without_a_rank_the_model_stays_as_it_is() -> None:
    model = make_llama()
    names = list(weights_of(model))
    assert add_adapters(model, OptimSettings(), seed=0) is model
    assert list(weights_of(model)) == names and all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("values", "message"), [
    ({"lora_targets": ("q_projj",)}, r"no linear layer 'q_projj'\. Did you mean 'q_proj'"),
    ({"lora_targets": ("query", "q_proj")}, r"no linear layer 'query'\. Known: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"),
    ({"lora_targets": ("lm_head",)}, "'lm_head' is the output head, which is not adapted"),
    ({"lora_rank": -1}, "expected a rank above 0"),
    ({"lora_alpha": 0.0}, "an alpha above 0"),
])  # fmt: skip
def test_settings_that_fit_no_layer_are_refused_with_what_would(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        add_adapters(make_llama(), OptimSettings(**{"lora_rank": 4, **values}), seed=0)


# Merging


def test_merging_adds_alpha_over_rank_times_b_a() -> None:
    weights = {
        "h.q.base_layer.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "h.q.base_layer.bias": torch.tensor([5.0, 6.0]),
        "h.q.lora_A.default.weight": torch.tensor([[1.0, 2.0]]), "h.q.lora_B.default.weight": torch.tensor([[3.0], [4.0]]), "h.norm.weight": torch.ones(2),
    }  # fmt: skip
    merged = merge_adapters(weights, alpha=4.0, rank=2)
    assert list(merged) == ["h.q.weight", "h.q.bias", "h.norm.weight"]
    assert merged["h.q.weight"].tolist() == [[1 + 2 * 3, 2 * 6], [2 * 4, 1 + 2 * 8]]
    assert merged["h.q.bias"].tolist() == [5, 6]
    assert merge_adapters(weights, 4.0, 2, {"h.q"})["h.q.weight"].tolist() == [[7, 8], [12, 17]]  # a layer that keeps (in, out)


@pytest.mark.parametrize("make", [make_llama, lambda: make_llama(tied=False), make_gpt2], ids=["tied", "untied", "gpt2"])
def test_merged_weights_give_the_logits_of_the_adapted_model_under_the_base_models_names(make: Any) -> None:
    adapted, merged = add_adapters(make(), LORA, seed=0), make()
    base, before = weights_of(merged), logits(merged)
    shake(adapted)
    weights = merge_adapters(weights_of(adapted), LORA.lora_alpha, LORA.lora_rank, transposed_layers(adapted))
    assert list(weights) == list(base)
    changed = {name for name in base if not torch.equal(base[name], weights[name])}
    assert changed == {name for name in base if base[name].dim() == 2 and not any(part in name for part in ("embed", "lm_head", "wte", "wpe"))}
    with torch.no_grad():
        for name, parameter in merged.named_parameters():
            parameter.copy_(weights[name])
    assert (logits(merged) - before).abs().max() > 0.1
    torch.testing.assert_close(logits(merged), logits(adapted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_that_were_never_trained_leave_every_bit_of_the_base_weights(dtype: torch.dtype) -> None:
    model = make_llama().to(dtype)
    base = weights_of(model)
    merged = merge_adapters(weights_of(add_adapters(model, LORA, seed=0)), LORA.lora_alpha, LORA.lora_rank)
    assert {name: (value.dtype, value.view(torch.uint8).tolist()) for name, value in merged.items()} == {
        name: (value.dtype, value.view(torch.uint8).tolist()) for name, value in base.items()
    }


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "bfloat16"), (2, "float32"), (3, "float32"), (3, "bfloat16")])
def test_what_is_exported_is_what_was_trained_under_every_zero_stage(start: Path, tmp_path: Path, stage: int, dtype: str) -> None:
    from dpo.deepspeed_engine import gather_weights, open_engine, step, torch_dtype
    from dpo.logprobs import Policy
    from dpo.processes import start_processes

    settings = OptimSettings(lr=0.05, optimizer="adamw", zero_stage=stage, dtype=dtype, lora_rank=4)
    base = load_model(start, torch_dtype(dtype))
    before, unadapted = logits(base), base.base_model.embed_tokens.weight.detach().clone()
    engine = open_engine(Policy(add_adapters(base, settings, seed=0)), settings, start_processes())
    for _ in range(2):
        engine.backward(engine.module.model(input_ids=IDS, labels=IDS).loss)
        step(engine, 1.0)
    trained = logits(engine.module.model)
    gathered = gather_weights(engine)
    assert gathered is not None
    write_export(tmp_path / "export", files_to_copy(start), export_weights(engine.module.model, gathered, settings))
    exported = load_model(tmp_path / "export", torch_dtype(dtype))
    assert torch.equal(exported.base_model.embed_tokens.weight, unadapted)
    if dtype == "float32":
        torch.testing.assert_close(logits(exported), trained, rtol=0, atol=1e-5)
    # In bfloat16 merging rounds: far less than training moved.
    assert (logits(exported) - trained).abs().mean() < 0.1 * (trained - before).abs().mean()
