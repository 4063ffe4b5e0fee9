"""Models and tokenizers by way of Transformers; what differs between its versions belongs here."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpo.seeding import derive_seed
from volume.errors import UsageError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder.

    Raises:
        UsageError: There is none, or none that can be read.
    """
    transformers = _transformers()
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise UsageError(f"{folder} has no tokenizer (none of {', '.join(_TOKENIZERS)}). Run the stage that makes the model first.")
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise UsageError(
            f"the tokenizer in {folder} cannot be loaded: {_say(error)} Put its files there once more; tokenizer.json must be among them, "
            "since only that form is read without further packages."
        ) from error


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Load a causal language model, ready to train: safetensors or .bin, whole or in shards, without dropout.

    Weights from .bin files are read as weights only: no code in them is run. Dropout is off as in the public trainer: policy
    and reference must agree where their weights do, and a run must not depend on what was drawn before.

    Args:
        folder: A Hugging Face folder.
        dtype: Type of the parameters; buffers, such as rotary frequencies, stay in float32.

    Raises:
        UsageError: There is no model, one that cannot be read, or one whose weights are incomplete.
    """
    transformers = _transformers()
    from safetensors import SafetensorError

    if not (folder / "config.json").exists():
        raise UsageError(f"{folder} has no model. Run the stage that makes it first (`make plan` says which).")
    if (folder / "adapter_config.json").exists():
        raise UsageError(f"{folder} holds adapters beside a model (adapter_config.json). Merge them into its weights, or take that file away, first.")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # loading bars
            config = _without_dropout(transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True))
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                str(folder), config=config, dtype=dtype, local_files_only=True, attn_implementation="sdpa",
                output_loading_info=True, ignore_mismatched_sizes=True,  # told below, by name
            )  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise UsageError(
            f"{folder} cannot be loaded as a model: {_say(error)} The usual cause is a copy cut short: put its files there once more, "
            "or delete the folder if a stage made it, and run that stage again."
        ) from error
    # Transformers would fill these with random numbers and go on.
    absent = sorted({*report["missing_keys"], *(str(entry[0]) for entry in report["mismatched_keys"])})
    if absent:
        raise UsageError(
            f"{folder} lacks weights of its architecture, or has them in another shape ({len(absent)}, first {absent[0]}): it was copied in part, "
            "or its config.json belongs to another model. Put its files there once more, or run the stage that makes it again."
        )
    return model.train()


def own_names(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's weights under the names, and in the shapes, of the files of its kind.

    Transformers 5 renames and rearranges some models as it loads them (GPT-NeoX's head); what older versions are to load
    must have the old names.

    Args:
        model: The model, from `load_model` or `new_model`; only its kind and the way it was loaded count.
        weights: {name: parameter} by the names that it gives them itself.
    """
    from transformers.core_model_loading import revert_weight_conversion

    return dict(revert_weight_conversion(model, weights))


def _without_dropout(config: Any) -> Any:
    """Set every dropout rate of a configuration to zero, whatever its architecture calls it."""
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def _say(error: Exception) -> str:
    """Return the first line of a library's error, which may go on for a page, as a sentence."""
    text = next(iter(str(error).strip().splitlines()), "").split(". ")[0].rstrip(".:")
    return f"{type(error).__name__}{': ' if text else ''}{text}."


def new_model(config_file: Path, seed: int) -> Any:
    """Build a causal language model from its configuration with weights drawn from ``seed`` alone.

    Matrices are normal with the configuration's ``initializer_range``, gains are one, biases zero.
    """
    transformers = _transformers()
    values = json.loads(config_file.read_text(encoding="utf-8"))
    config = _without_dropout(transformers.AutoConfig.for_model(**values))
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
