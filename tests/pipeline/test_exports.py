"""What the trainer exports is what the evaluating stages load, whichever of the two Transformers versions they have.

The tests run in one environment; what they check runs in others, as `test_exports.py make|load FOLDER`: the trainer's writes
the exports, each evaluating one loads them with its own function and answers with tokens and logits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"word{index}" for index in range(29))]
TEXT, IDS = "word3 word1 word28 word17 word9 unheard word2", [7, 5, 32, 21, 13, 3, 6]
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "initializer_range": 0.3,
    "tie_word_embeddings": False, "torch_dtype": "float16", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT2 = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": len(WORDS), "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "activation_function": "gelu_new", "initializer_range": 0.3, "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
NEOX = {
    "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 40,
    "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "gelu", "max_position_embeddings": 64, "rotary_pct": 0.5, "rotary_emb_base": 10000,
    "initializer_range": 0.3, "tie_word_embeddings": False, "use_parallel_residual": True, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama tied": LLAMA | {"tie_word_embeddings": True},
    "llama bfloat16": LLAMA,
    "llama in shards": LLAMA,
    "gpt2": GPT2,
    "gpt_neox": NEOX,
    "llama grouped": LLAMA | {"num_key_value_heads": 2},
    "mistral": LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_key_value_heads": 2, "sliding_window": None},
    "qwen2": LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_key_value_heads": 2},
}
TOO_NEW = {"llama grouped", "mistral", "qwen2"}  # for Transformers 4.29


def make(root: Path) -> None:
    """In the trainer's environment: draw weights for every base, export them, load the exports and answer."""
    from dpo.export import export_weights, files_to_copy, write_export
    from dpo.models import load_model, load_tokenizer, new_model
    from volume.training_settings import OptimSettings

    for seed, case in enumerate(CASES):
        base, export = root / "base" / case, root / "export" / case
        model = new_model(base / "config.json", seed)
        weights = {f"model.{name}": parameter.detach().to(_dtype(case)) for name, parameter in model.named_parameters()}
        plain = export_weights(model, weights, OptimSettings())
        written = write_export(export, files_to_copy(base), plain, 10_000 if case == "llama in shards" else 10**9)
        assert len([path for path in written if path.suffix == ".safetensors"]) == (3 if case == "llama in shards" else 1)
    _answer(root, lambda folder: (load_tokenizer(folder), load_model(folder)))


def load(root: Path) -> None:
    """In an evaluating environment: load every export as `make eval` does and answer."""
    from confscoring.compat import load_model

    _answer(root, lambda folder: load_model(folder, "float32"))


def _dtype(case: str) -> Any:
    import torch

    return torch.bfloat16 if case == "llama bfloat16" else torch.float32


def _answer(root: Path, loader: Any) -> None:
    """Print {case: {"ids": tokens of the text, "logits": after the last of them}} as JSON, or {"error": why it was not loaded}."""
    import torch

    from volume.errors import UsageError

    answers: dict[str, Any] = {}
    for case in CASES:
        try:
            tokenizer, model = loader(root / "export" / case)
        except UsageError as error:
            answers[case] = {"error": str(error)}
            continue
        with torch.no_grad():
            answers[case] = {"ids": tokenizer(TEXT)["input_ids"], "logits": model.eval()(torch.tensor([IDS])).logits[0, -1].tolist()}
    print(json.dumps(answers))


def write_base(folder: Path, config: dict[str, Any]) -> None:
    """Write a base model's files by hand, in the form that both versions read."""
    folder.mkdir(parents=True)
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), WORDS, strict=False))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = [{"id": index, "content": word, **plain} for index, word in enumerate(WORDS[:4])]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: index for index, word in enumerate(WORDS)}, "unk_token": "<unk>"},
    }  # fmt: skip
    contents = {
        "config.json": config, "tokenizer.json": tokenizer, "special_tokens_map.json": names, "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **names},
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=3) + "\n\n")  # as no library would write it


def python_of(env: str, stack: str) -> str | None:
    """Return the Python of a virtual environment, None where it is not made."""
    command = [sys.executable, str(ROOT / "docker" / "engine.py"), "describe", env]
    done = subprocess.run(command, env={**os.environ, "ENGINE": "venv", "STACK": stack}, capture_output=True, text=True, check=True)
    python: str | None = json.loads(done.stdout)["python"]
    return python


def run_in(env: str, python: str, what: str, root: Path) -> dict[str, Any]:
    """Run this file in another environment and return its answers."""
    path = os.pathsep.join(str(ROOT / name / "src") for name in ("volume", env))
    variables = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, __file__, what, str(root)], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(tmp_path_factory.mktemp("exports"))
    for case, config in CASES.items():
        write_base(folder / "base" / case, config)
    return folder


@pytest.fixture(scope="module")
def trained(root: Path) -> dict[str, Any]:
    python = python_of("dpo", "paper")
    assert python is not None, "the trainer's environment is not made: python3 docker/engine.py prepare dpo"
    return run_in("dpo", python, "make", root)


@pytest.mark.parametrize("stack", ["paper", "current"])
def test_an_export_has_the_same_tokens_and_logits_where_it_is_evaluated(root: Path, trained: dict[str, Any], stack: str) -> None:
    python = python_of("csenv", stack) or pytest.skip(f"csenv of the {stack} stack is not made")
    loaded = run_in("csenv", python, "load", root)
    for case in CASES:
        if stack == "paper" and case in TOO_NEW:
            assert "cannot be loaded as a model" in loaded[case]["error"], case  # never random weights and on
            continue
        assert loaded[case]["ids"] == trained[case]["ids"] == (IDS if case != "qwen2" else []), case  # version 5 reads Qwen's as byte pairs, whatever it is
        assert loaded[case]["logits"] == pytest.approx(trained[case]["logits"], abs=1e-4), case
        assert max(trained[case]["logits"]) - min(trained[case]["logits"]) > 0.1, case


def test_an_export_holds_the_base_models_files_byte_for_byte(root: Path, trained: dict[str, Any]) -> None:
    assert set(trained) == set(CASES)
    for case in CASES:
        export = root / "export" / case
        for path in (root / "base" / case).iterdir():
            assert (export / path.name).read_bytes() == path.read_bytes(), path
        weights = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)] + ["model.safetensors.index.json"]
        expected = weights if case == "llama in shards" else ["model.safetensors"]
        assert {path.name for path in export.iterdir()} == {path.name for path in (root / "base" / case).iterdir()} | set(expected)


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](Path(sys.argv[2]))
