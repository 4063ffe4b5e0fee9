"""Shifts of attention heads as biases, against a hook that adds them to the heads' own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_llama

from confscoring.compat import find_parts
from confscoring.sampler import Sampler
from confscoring.sampling import Prompt
from confscoring.shifts import apply_shifts, group_equal, read_heads, read_shifts, write_shifts
from volume.errors import RecordError, UsageError
from volume.settings import SamplingSettings


def make_model(kind: str, seed: int = 0) -> Any:
    import transformers

    torch.manual_seed(seed)
    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 128, "initializer_range": 0.3}
    more: dict[str, Any] = {} if kind == "GPT2" else {"intermediate_size": 64}
    if kind == "Llama":
        more["num_key_value_heads"] = 2
    head = transformers.GPT2LMHeadModel if kind == "GPT2" else getattr(transformers, f"{kind}ForCausalLM")
    model = head(getattr(transformers, f"{kind}Config")(**shape, **more)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


IDS = torch.tensor([[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]])


@pytest.mark.parametrize(("kind", "place"), [
    ("Llama", "model.layers.{}.self_attn.o_proj"), ("GPTNeoX", "gpt_neox.layers.{}.attention.dense"), ("GPT2", "transformer.h.{}.attn.c_proj"),
])  # fmt: skip
def test_a_shift_is_added_to_the_heads_outputs_at_every_position(kind: str, place: str) -> None:
    shifts = {0: torch.randn(32, generator=torch.Generator().manual_seed(0)), 2: torch.linspace(-1, 1, 32)}
    ours, reference = make_model(kind), make_model(kind)
    with torch.no_grad():
        unshifted = ours(IDS).logits
        apply_shifts(ours, shifts)
        found = ours(IDS).logits
        modules = dict(reference.named_modules())
        for layer, shift in shifts.items():
            modules[place.format(layer)].register_forward_pre_hook(lambda _module, inputs, shift=shift: (inputs[0] + shift,))
        expected = reference(IDS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float((found - unshifted).abs().amax(dim=-1).min()) > 0.01  # at each position of each text


def test_the_sampler_goes_where_a_shift_leads(tmp_path: Path) -> None:
    folder = make_llama(tmp_path)
    settings = SamplingSettings(model="m", n=2, max_new_tokens=8, batch_rows=4)
    prompts = [Prompt(f"q {index}", text) for index, text in enumerate(("Where does Pim live?", "Who drew the first harbour map?", "When?"))]

    def drawn(shifts: dict[int, torch.Tensor]) -> list[list[str]]:
        sampler = Sampler(folder, "float32", 0, "toy")
        apply_shifts(sampler.model, shifts)
        return [[sample.text for sample in row] for row in sampler.sample(prompts, settings)]  # type: ignore[union-attr]

    plain = drawn({})
    assert drawn({1: torch.zeros(32)}) == plain
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    token = model.get_output_embeddings().weight[200].detach()
    shift = 40 * torch.linalg.solve(model.model.layers[1].self_attn.o_proj.weight.detach(), token)  # W s points at one token
    assert drawn({1: shift}) != plain
    with torch.no_grad():
        before = model(IDS).logits[:, -1].softmax(-1)[:, 200]
        apply_shifts(model, {1: shift})
        assert bool((model(IDS).logits[:, -1].softmax(-1)[:, 200] > before).all())


def test_heads_are_read_at_the_last_token_whatever_the_other_texts() -> None:
    model = make_model("Llama")
    lengths = [3, 5, 3, 2, 5, *([4] * 70)]  # more of one length than a batch has
    texts = [tuple(range(7 + place, 7 + place + length)) for place, length in enumerate(lengths)]
    found = read_heads(model, texts)
    assert [layer.shape for layer in found] == [(4, len(texts), 8)] * 3
    seen: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(model.model.layers):
        block.self_attn.o_proj.register_forward_hook(lambda _module, inputs, _output, layer=layer: seen.update({layer: inputs[0]}))
    for place, text in enumerate(texts):
        with torch.no_grad():
            model(torch.tensor([text]))
        for layer in range(3):
            for head in range(4):
                torch.testing.assert_close(found[layer][head, place], seen[layer][0, -1, 8 * head : 8 * head + 8], rtol=1e-4, atol=1e-4)


def test_texts_of_equal_length_go_together_in_batches_of_a_fixed_size() -> None:
    assert group_equal([3, 1, 3, 1, 1]) == [[1, 3, 4], [0, 2]]
    assert [len(group) for group in group_equal([7] * 130)] == [64, 64, 2]


def test_a_text_too_long_for_the_model_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="have 129 tokens together, and the model takes 128"):
        read_heads(make_model("Llama"), [(1,) * 129])


def test_shifts_are_read_as_they_were_written(tmp_path: Path) -> None:
    shifts = {3: torch.randn(8), 1: torch.randn(8)}
    path = write_shifts(tmp_path, shifts)
    found = read_shifts(tmp_path, "iti")
    assert found.keys() == shifts.keys() and all(torch.equal(found[layer], shifts[layer]) for layer in shifts)
    first = path.read_bytes()
    write_shifts(tmp_path, dict(reversed(shifts.items())))
    assert path.read_bytes() == first


def test_shifts_that_are_missing_broken_or_another_models_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shifts.safetensors is missing: run 'iti' shifts attention heads"):
        read_shifts(tmp_path, "iti")
    (tmp_path / "shifts.safetensors").write_bytes(b"half a fi")
    with pytest.raises(RecordError, match="holds no shifts"):
        read_shifts(tmp_path, "iti")
    for shifts in ({0: torch.ones(16)}, {3: torch.ones(32)}):
        with pytest.raises(UsageError, match="does not fit the model: it belongs to another one"):
            apply_shifts(make_model("Llama"), shifts)
    opt = make_model("Llama")
    opt.config.model_type = "opt"
    with pytest.raises(UsageError, match="ITI looks into a model's layers, and those of a model of type 'opt' are not known. It works with gpt2"):
        find_parts(opt, "ITI")
