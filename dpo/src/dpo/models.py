"""Models and tokenizers by way of Transformers; what differs between its versions belongs here."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpo.seeding import derive_seed
from volume.errors import UsageError, VolumeError


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder.

    Raises:
        UsageError: There is none.
    """
    transformers = _transformers()
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise UsageError(f"{folder} has no tokenizer.json or tokenizer.model. Run the stage that makes the model first.")
    return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def load_model(folder: Path) -> Any:
    """Load a causal language model in float32, ready to train.

    Raises:
        UsageError: There is none.
        VolumeError: Its weights are incomplete.
    """
    transformers = _transformers()
    if not (folder / "config.json").exists():
        raise UsageError(f"{folder} has no model. Run the stage that makes it first (`make plan` says which).")
    with contextlib.redirect_stderr(io.StringIO()):  # loading bars
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True, attn_implementation="sdpa", output_loading_info=True
        )
    if report["missing_keys"]:
        raise VolumeError(f"{folder} lacks weights: {sorted(report['missing_keys'])[:5]}. Make or download the model again.")
    return model.train()


def new_model(config_file: Path, seed: int) -> Any:
    """Build a causal language model from its configuration with weights drawn from ``seed`` alone.

    Matrices are normal with the configuration's ``initializer_range``, gains are one, biases zero.
    """
    transformers = _transformers()
    values = json.loads(config_file.read_text(encoding="utf-8"))
    config = transformers.AutoConfig.for_model(**values)
    with torch.random.fork_rng(devices=[]):  # the constructor draws from the global generator
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    generator = torch.Generator().manual_seed(derive_seed(seed, "weights"))
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2:
            nn.init.normal_(parameter, std=config.initializer_range, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)
    return model.train()


def _transformers() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # the ids do not depend on it
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
