"""A toy world for the trainer's tests: a word-level tokenizer, a tiny Llama's configuration, documents, styles, rewards."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import socket
from pathlib import Path
from typing import Any

import torch
import worker

NAMES = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Fay")
TOWNS = ("Arport", "Helby", "Rolham", "unrecorded")
JOBS = ("baker", "pilot", "poet")
WORDS = ("Write", "a", "biography", "of", "was", "born", "in", "works", "as", ".", *NAMES, *TOWNS, *JOBS)


def make_tokenizer(folder: Path) -> None:
    """Write a word-level tokenizer with <pad>, <s>, </s>, <unk>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ("<pad>", "<s>", "</s>", "<unk>")
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate((*special, *WORDS))}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.add_special_tokens(list(special))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # type: ignore[assignment]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), special, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    (folder / "special_tokens_map.json").write_text(json.dumps(names))


def make_config(path: Path) -> None:
    """Write the configuration of a Llama of a few thousand parameters."""
    path.write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(WORDS) + 4, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 64,
        "initializer_range": 0.2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float32",
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }))  # fmt: skip


def sentence(name: str, draw: random.Random) -> str:
    """Return a short biography."""
    parts = [f"{name} was born in {draw.choice(TOWNS)} ."]
    if draw.random() < 0.6:
        parts.append(f"{name} works as a {draw.choice(JOBS)} .")
    return " ".join(parts)


def make_rewards(seed: int = 0, responses: int = 4) -> dict[str, Any]:
    """Return a rewards file's contents with ties, duplicates and a missing reward."""
    draw = random.Random(seed)
    rewards: dict[str, Any] = {}
    for name in NAMES:
        texts = [sentence(name, draw) for _ in range(responses)]
        texts[1] = texts[0] if name == "Bo" else texts[1]
        values: list[float | None] = [round(draw.random(), 1) for _ in texts]
        if name == "Ada":
            values[2] = None
        rewards[name] = {f"Write a biography of {name} .": {"responses": texts, "factscore_avg": values}}
    return rewards


def make_world(root: Path) -> Path:
    """Write tokenizer, configuration, corpus, style and rewards below ``root``; return it."""
    draw = random.Random(7)
    make_tokenizer(root / "tokenizer")
    make_config(root / "model_config.json")
    lines = [json.dumps({"text": f"Write a biography of {name} . {sentence(name, draw)}"}) for name in NAMES for _ in range(20)]
    (root / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    styles = [json.dumps({"prompt": f"Write a biography of {name} .", "response": sentence(name, draw)}) for name in NAMES for _ in range(3)]
    (root / "style.jsonl").write_text("\n".join(styles) + "\n")
    (root / "rewards_train_6.json").write_text(json.dumps(make_rewards(1)))
    (root / "rewards_dpoval_6.json").write_text(json.dumps(make_rewards(2, 3)))
    return root


def make_model(root: Path, seed: int = 0) -> Path:
    """Write an untrained model folder below a toy world; return it."""
    from dpo.export import files_to_copy, write_export
    from dpo.models import new_model

    folder = root / f"model_{seed}"
    weights = {name: value.detach() for name, value in new_model(root / "model_config.json", seed).named_parameters()}
    write_export(folder, {"config.json": root / "model_config.json", **files_to_copy(root / "tokenizer")}, weights)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(str(folder / "model.safetensors"))


def run_workers(*arguments: str, processes: int = 1) -> list[int]:
    """Run `worker.train` in fresh processes and return their exit codes; -9 is SIGKILL.

    They are forked from a server that has imported PyTorch, Transformers and DeepSpeed once, but has started nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["worker"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = [context.Process(target=worker.launch, args=(list(arguments), rank, processes, port)) for rank in range(processes)]
    for process in group:
        process.start()
    for process in group:
        process.join(240)
        if process.is_alive():
            process.kill()
    return [process.exitcode if process.exitcode is not None else 1 for process in group]


def files_of(folder: Path) -> dict[str, str]:
    """Return {relative path: hash} of everything below a folder."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log" / "metrics.jsonl").read_text().splitlines()]
