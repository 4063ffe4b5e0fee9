"""The exported folder: shards as Transformers wants them, the base model's files untouched, an older export kept until the new one is whole."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dpo.export import export_weights, files_to_copy, plan_shards, write_export
from dpo.models import load_model
from volume.errors import UsageError, VolumeError
from volume.training_settings import OptimSettings


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names_in(path: Path) -> set[str]:
    with safe_open(str(path), "pt") as file:
        assert file.metadata() == {"format": "pt"}
        return set(file.keys())


def test_weights_are_cut_into_files_of_at_most_so_many_bytes_in_their_order() -> None:
    weights = {name: torch.zeros(size, dtype=torch.bfloat16) for name, size in (("a", 3), ("b", 2), ("c", 9), ("d", 1), ("e", 4))}  # 6, 4, 18, 2, 8 bytes
    assert plan_shards(weights, 38) == {"model.safetensors": ["a", "b", "c", "d", "e"]}
    assert plan_shards(weights, 10) == {
        "model-00001-of-00003.safetensors": ["a", "b"],
        "model-00002-of-00003.safetensors": ["c"],  # alone, though it is larger than a file should be
        "model-00003-of-00003.safetensors": ["d", "e"],
    }


def test_an_export_in_shards_loads_as_the_one_in_one_file(start: Path, tmp_path: Path) -> None:
    weights = {name: parameter.detach() for name, parameter in load_model(start).named_parameters()}
    write_export(tmp_path / "whole", files_to_copy(start), weights)
    written = write_export(tmp_path / "shards", files_to_copy(start), weights, shard_bytes=4000)
    shards = [path for path in written if path.suffix == ".safetensors"]
    assert len(shards) > 2 and all(path.stat().st_size < 4000 + 2000 for path in shards)  # a header each
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in weights.values())
    assert set(index["weight_map"]) == set(weights)
    for path in shards:
        assert names_in(path) == {name for name, place in index["weight_map"].items() if place == path.name}
    whole, loaded = load_model(tmp_path / "whole"), load_model(tmp_path / "shards")
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), loaded.parameters(), strict=True))


def test_configuration_and_tokenizer_are_the_bases_own_bytes_and_neither_weights_nor_an_index_are_copied(start: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name, data in contents(start).items():
        (base / name).write_bytes(data)
    (base / "config.json").write_bytes((start / "config.json").read_bytes() + b"\n \n")
    for name in ("generation_config.json", "merges.txt", "tokenizer.model", "chat_template.jinja"):
        (base / name).write_bytes(b"{}\r\n")
    for name in ("pytorch_model.bin.index.json", "model.safetensors.index.json", "pytorch_model.bin", "optimizer.pt", ".hidden.json"):
        (base / name).write_bytes(b"{}")
    write_export(tmp_path / "export", files_to_copy(base), {"w": torch.ones(2)})
    exported = contents(tmp_path / "export")
    assert exported.pop("model.safetensors")
    kept = {"pytorch_model.bin.index.json", "model.safetensors.index.json", "pytorch_model.bin", "optimizer.pt", ".hidden.json", "model.safetensors"}
    assert exported == {name: data for name, data in contents(base).items() if name not in kept}


def test_an_export_in_one_file_replaces_one_in_shards_whole(start: Path, tmp_path: Path) -> None:
    target, weights = tmp_path / "export", {"a": torch.ones(4), "b": torch.ones(4)}
    write_export(target, files_to_copy(start), weights, shard_bytes=16)
    assert (target / "model-00002-of-00002.safetensors").exists()
    written = write_export(target, files_to_copy(start), weights)
    assert {path.name for path in written} == {*files_to_copy(start), "model.safetensors"} == set(contents(target))


def test_a_disk_that_fills_up_leaves_the_export_that_was_there_and_no_other_trace(start: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk."""
    target = tmp_path / "export"
    write_export(target, files_to_copy(start), {"w": torch.ones(2)})
    before = contents(target)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(VolumeError, match=r"cannot write .*/export: .*Free some space and run the same command again"):
            write_export(target, files_to_copy(start), {"w": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_weights_get_the_names_of_the_base_models_own_files(tmp_path: Path) -> None:
    """Transformers 5 calls GPT-NeoX's head lm_head; files and older versions call it embed_out."""
    import transformers

    config = transformers.GPTNeoXConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False
    )
    config.save_pretrained(tmp_path)
    model = transformers.GPTNeoXForCausalLM(config)
    gathered = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    weights = export_weights(model, gathered, OptimSettings())
    assert "embed_out.weight" in weights and "lm_head.weight" not in weights and len(weights) == len(gathered)
    assert weights["embed_out.weight"].data_ptr() == model.get_output_embeddings().weight.data_ptr()  # renamed, not copied
    write_export(tmp_path / "export", {"config.json": tmp_path / "config.json"}, weights)
    loaded = load_model(tmp_path / "export")
    assert torch.equal(loaded.get_output_embeddings().weight, model.get_output_embeddings().weight)
    again = export_weights(loaded, {f"model.{name}": parameter.detach() for name, parameter in loaded.named_parameters()}, OptimSettings())
    assert set(again) == set(weights)  # a policy that starts from an export is exported alike


def test_a_model_folder_that_is_not_there_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent has no model\. Run the stage that makes it first"):
        files_to_copy(tmp_path / "absent")
