"""A model built from its published difference, against a recovery of the whole model at once, on tiny Llamas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import make_llama

from factscoring.compat import load_causal_lm
from factscoring.recover_model import recover
from volume.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/ and difference/, as the real ones are: float16 safetensors with a fast tokenizer; float32 pickles in shards, a <pad> more and no fast tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    made = make_llama(folder / "made")
    base = transformers.AutoModelForCausalLM.from_pretrained(made).half()
    base.save_pretrained(folder / "base", max_shard_size="40KB", safe_serialization=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(made / name, folder / "base" / name)
    tuned = transformers.AutoModelForCausalLM.from_pretrained(made, torch_dtype=torch.float32)
    tuned.resize_token_embeddings(tuned.config.vocab_size + 1)
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in tuned.state_dict().values():
            tensor.copy_(0.01 * torch.randn_like(tensor))
    tuned.save_pretrained(folder / "difference", max_shard_size="60KB", safe_serialization=False)
    rows = tuned.config.vocab_size
    (folder / "difference" / "added_tokens.json").write_text(json.dumps({"<pad>": rows - 1}))
    (folder / "difference" / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}))
    older = json.loads((made / "tokenizer_config.json").read_text())
    del older["added_tokens_decoder"]  # not known to the version that saved the real one
    (folder / "difference" / "tokenizer_config.json").write_text(json.dumps(older))
    (folder / "difference" / "README.md").write_text("ours")
    return folder


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    for name in ("base", "difference"):
        shutil.copytree(models / name, tmp_path / name)
    return tmp_path


def whole(folder: Path) -> dict[str, torch.Tensor]:
    """FActScore's recovery: both models in memory, the base's embeddings given a mean row."""
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", torch_dtype=torch.float32)
    difference = transformers.AutoModelForCausalLM.from_pretrained(folder / "difference", torch_dtype=torch.float32)
    base.resize_token_embeddings(difference.config.vocab_size)
    for embeddings in (base.get_input_embeddings(), base.get_output_embeddings()):
        embeddings.weight.data[-1:] = embeddings.weight.data[:-1].mean(dim=0, keepdim=True)
    ours = base.state_dict()
    return {name: (tensor + ours[name]).half() for name, tensor in difference.state_dict().items() if not name.endswith("inv_freq")}


@pytest.mark.parametrize("shard", [1, 50_000, 2**31])
def test_the_sum_is_that_of_whole_models_whatever_the_shards(models: Path, tmp_path: Path, shard: int) -> None:
    recover(models / "base", models / "difference", tmp_path / "out", shard)
    expected = whole(models)
    found: dict[str, torch.Tensor] = {}
    for path in (tmp_path / "out").glob("*.safetensors"):
        found |= load_file(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == expected.keys()
    assert index["metadata"]["total_size"] == 2 * sum(tensor.numel() for tensor in expected.values())
    assert len(set(index["weight_map"].values())) == (len(expected) if shard == 1 else 1 if shard == 2**31 else len(set(index["weight_map"].values())))


def test_the_result_loads_with_the_added_token(models: Path, tmp_path: Path) -> None:
    recover(models / "base", models / "difference", tmp_path / "out")
    tokenizer, model = load_causal_lm(tmp_path / "out", "float32")
    rows = model.get_input_embeddings().weight.shape[0]
    assert tokenizer.convert_tokens_to_ids("<pad>") == rows - 1 == tokenizer.pad_token_id and len(tokenizer) == rows
    plain = transformers.AutoTokenizer.from_pretrained(models / "base")
    assert tokenizer("Ada Albane lives.")["input_ids"] == plain("Ada Albane lives.")["input_ids"]
    assert torch.isfinite(model(**tokenizer("Ada", return_tensors="pt").to(model.device)).logits).all()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float16"


def test_safetensors_in_one_file_and_old_frequencies_are_read_too(copy: Path) -> None:
    expected = whole(copy)
    for name in ("base", "difference"):
        tensors: dict[str, torch.Tensor] = {}
        for path in [*(copy / name).glob("*.bin"), *(copy / name).glob("*.safetensors")]:
            tensors |= torch.load(path) if path.suffix == ".bin" else load_file(path)
            path.unlink()
        for path in (copy / name).glob("*.index.json"):
            path.unlink()
        if name == "base":
            tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, copy / name / "model.safetensors", metadata={"format": "pt"})
    assert recover(copy / "base", copy / "difference", copy / "out") == len(expected)
    found = load_file(copy / "out" / "model-00001-of-00001.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def change(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    """Replace a tensor of the difference, or take it out."""
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    file = index["weight_map"][name]
    tensors = torch.load(folder / file)
    if tensor is None:
        del tensors[name], index["weight_map"][name]
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        tensors[name] = tensor
    torch.save(tensors, folder / file)


def test_tensors_of_other_shapes_or_missing_ones_are_named(copy: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    change(copy / "difference", name, torch.zeros(3, 5))
    with pytest.raises(UsageError, match=rf"{name}: the base has the shape .*, the difference \[3, 5\]"):
        recover(copy / "base", copy / "difference", copy / "out")
    change(copy / "difference", name, None)
    with pytest.raises(UsageError, match=f"lacks 1 tensors that the other has, first {name}"):
        recover(copy / "base", copy / "difference", copy / "out")
    assert {path.name for path in copy.iterdir()} == {"base", "difference"}


def test_a_sum_beyond_float16_is_an_error(copy: Path) -> None:
    change(copy / "difference", "model.norm.weight", torch.full((32,), 1e6))
    with pytest.raises(UsageError, match="model.norm.weight: sums are not finite"):
        recover(copy / "base", copy / "difference", copy / "out")


def test_more_rows_elsewhere_than_in_the_embeddings_are_no_padding(copy: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    change(copy / "difference", name, torch.zeros(65, 32))
    with pytest.raises(UsageError, match="belongs to another base"):
        recover(copy / "base", copy / "difference", copy / "out")


def test_a_file_cut_short_is_named(copy: Path) -> None:
    victim = sorted((copy / "difference").glob("*.bin"))[0]
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(UsageError, match=f"{victim.name} cannot be read as weights"):
        recover(copy / "base", copy / "difference", copy / "out")
    victim.unlink()
    with pytest.raises(UsageError, match=f"lacks {victim.name}"):
        recover(copy / "base", copy / "difference", copy / "out")


def test_a_full_disk_is_told_before_and_leaves_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="Free some space"):
        recover(copy / "base", copy / "difference", copy / "out")
    assert {path.name for path in copy.iterdir()} == {"base", "difference"}


def test_the_command_builds_and_refuses_to_write_over(models: Path, tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    arguments = ["-m", "factscoring.recover_model", "--base", str(models / "base"), "--difference", str(models / "difference"), "--output", str(tmp_path / "out")]
    done = run_python(*arguments)
    assert done.returncode == 0 and "tensors" in done.stdout, done.stderr
    done = run_python(*arguments)
    assert done.returncode == 2 and "exists already" in done.stderr and "Traceback" not in done.stderr


def test_make_assets_builds_it_from_the_hubs_files(models: Path, tmp_path: Path) -> None:
    if not (Path(sys.prefix) / ".complete").exists():
        pytest.skip("not in an environment of the engine's")
    from file_server import FileServer

    with FileServer() as hub:
        for name, model in (("base", "huggyllama/llama-7b"), ("difference", "kalpeshk2011/instruct-llama-7b-wdiff")):
            hub.publish(model, name[0] * 40, {path.name: path.read_bytes() for path in (models / name).iterdir()})
        (tmp_path / "list.toml").write_text(
            '[base]\nkind = "hub"\nsource = "huggyllama/llama-7b"\ndest = "models/llama-7b"\n'
            '[wdiff]\nkind = "hub"\nsource = "kalpeshk2011/instruct-llama-7b-wdiff"\ndest = "models/wdiff"\n'
            '[inst]\nkind = "difference"\nbase = "base"\ndifference = "wdiff"\ndest = "models/inst-llama-7b"\n'
        )
        envs = str(Path(sys.prefix).resolve().parent)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "volume" / "src"), "HF_ENDPOINT": hub.address, "ENGINE": "venv", "ENVS": envs}
        places = ["--data-dir", str(tmp_path / "data"), "--list", str(tmp_path / "list.toml")]
        code = (
            "import sys; from volume import assets; from volume.asset_list import find_wanted;"
            "keep = ('base', 'wdiff', 'inst');"
            "assets.find_wanted = lambda *given: [asset for asset in find_wanted(*given) if asset.name in keep];"
            "sys.exit(assets.main(['--dataset', 'bio', '--pause', '0.01', *sys.argv[1:]]))"
        )
        done = subprocess.run([sys.executable, "-c", code, *places], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "models/inst-llama-7b is built" in done.stdout
        lock = json.loads((tmp_path / "data" / "assets.lock.json").read_text())
        assert "model-00001-of-00001.safetensors" in lock["models/inst-llama-7b"]["files"]
        shutil.rmtree(tmp_path / "data" / "models" / "wdiff")
        asked = len(hub.requests)
        done = subprocess.run([sys.executable, "-c", code, *places], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "Nothing to do." in done.stdout and len(hub.requests) == asked, done.stdout
    load_causal_lm(tmp_path / "data" / "models" / "inst-llama-7b", "float32")
