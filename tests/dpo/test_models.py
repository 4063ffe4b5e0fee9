"""Models from disk: every form of weights, none but weights, and a sentence for each way in which a copy can be broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import weights_of

from dpo.models import load_model, load_tokenizer
from volume.errors import UsageError


@pytest.fixture
def folder(start: Path, tmp_path: Path) -> Path:
    """A copy of the toy model that a test may break."""
    return Path(shutil.copytree(start, tmp_path / "model"))


def store(folder: Path, form: str) -> list[Path]:
    """Put the weights of a model folder into another form; return the files."""
    from safetensors.torch import save_file

    weights = weights_of(folder)
    if form == "safetensors":
        return [folder / "model.safetensors"]
    (folder / "model.safetensors").unlink()
    if form in ("bin", "old bin"):  # "old": as PyTorch wrote it before 1.6
        torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "bin")
        return [folder / "pytorch_model.bin"]
    stem, ending = ("pytorch_model", "bin") if form == "bin in shards" else ("model", "safetensors")
    files = [folder / f"{stem}-0000{number}-of-00002.{ending}" for number in (1, 2)]
    parts = [dict(list(weights.items())[number::2]) for number in (0, 1)]
    for path, part in zip(files, parts, strict=True):
        torch.save(part, path) if ending == "bin" else save_file(part, str(path), metadata={"format": "pt"})
    places = {name: path.name for path, part in zip(files, parts, strict=True) for name in part}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return files


FORMS = ["safetensors", "safetensors in shards", "bin", "bin in shards", "old bin"]


@pytest.mark.parametrize("form", FORMS)
def test_weights_load_from_every_form(folder: Path, form: str) -> None:
    expected = weights_of(folder)
    store(folder, form)
    loaded = dict(load_model(folder).named_parameters())
    assert set(loaded) == set(expected)
    assert all(torch.equal(parameter, expected[name]) for name, parameter in loaded.items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["empty", "ten bytes", "half", "all but a byte", "a web page", "absent"])
def test_a_copy_cut_short_is_one_sentence_with_folder_and_remedy(folder: Path, form: str, how: str) -> None:
    path = store(folder, form)[0]
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "ten bytes": data[:10], "half": data[: len(data) // 2], "all but a byte": data[:-1]}.get(how, b"<html>Not found</html>"))
    if how == "absent":
        path.unlink()
    with pytest.raises(UsageError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder} cannot be loaded as a model: ")
    assert "put its files there once more" in str(caught.value) and "\n" not in str(caught.value)


def test_code_in_a_bin_file_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    path = store(folder, "bin")[0]
    torch.save({"model.norm.weight": Harm()}, path)
    with pytest.raises(UsageError, match="cannot be loaded as a model"):
        load_model(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("values", "message"), [
    ({"num_hidden_layers": 3}, r"lacks weights of its architecture, or has them in another shape \(9, first model\.layers\.2"),
    ({"hidden_size": 8}, r"in another shape \(20, first model\.embed_tokens\.weight\).*its config\.json belongs to another model"),
    ({"model_type": "nonsense"}, "cannot be loaded as a model: ValueError: .*nonsense"),
])  # fmt: skip
def test_a_configuration_of_another_model_is_refused(folder: Path, values: dict[str, Any], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    with pytest.raises(UsageError, match=message):
        load_model(folder)


def test_adapters_beside_a_model_are_not_put_into_it_unasked(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="Merge them into its weights"):
        load_model(folder)


def test_parameters_take_the_wanted_type_and_buffers_stay_in_float32(folder: Path) -> None:
    """Rotary frequencies in bfloat16 would move the first DPO loss off ln 2."""
    model, whole = load_model(folder, torch.bfloat16), load_model(folder)
    assert all(torch.equal(one, other.bfloat16()) for one, other in zip(model.parameters(), whole.parameters(), strict=True))
    buffers = dict(model.named_buffers())
    assert buffers and all(torch.equal(buffers[name], value) and value.dtype == torch.float32 for name, value in whole.named_buffers())


def test_a_model_in_training_has_no_dropout_whatever_its_configuration_says(tmp_path: Path) -> None:
    import transformers

    config = transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["attn_pdrop"] == 0.1
    model, ids = load_model(tmp_path), torch.arange(12).view(1, 12)
    assert model.training
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize(("name", "data"), [("tokenizer.json", b'{"version": "1.0", "mod'), ("tokenizer.model", b"binary")])
def test_a_tokenizer_that_cannot_be_read_is_one_sentence_with_folder_and_remedy(folder: Path, name: str, data: bytes) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(data)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    with pytest.raises(UsageError) as caught:
        load_tokenizer(folder)
    assert str(caught.value).startswith(f"the tokenizer in {folder} cannot be loaded: ") and "tokenizer.json must be among them" in str(caught.value)


def test_a_folder_without_model_or_tokenizer_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no model\. Run the stage that makes it first"):
        load_model(tmp_path)
    with pytest.raises(UsageError, match=r"has no tokenizer \(none of tokenizer\.json, "):
        load_tokenizer(tmp_path)
