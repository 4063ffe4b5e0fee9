"""The trained policy as a Hugging Face folder that old and new Transformers load.

Weights as model.safetensors, from 5 GB on in shards with an index; config and tokenizer files are the base model's own, byte
for byte, since a newer Transformers writes configurations that the older one does not understand. The config's torch_dtype
may therefore name another type than the weights have: whoever loads them says which type it wants.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dpo.lora import merge_adapters, transposed_layers
from dpo.models import own_names
from volume.errors import UsageError, VolumeError
from volume.training_settings import OptimSettings

_COPIED = {".json", ".model", ".txt", ".jinja", ".tiktoken"}
_SHARD_BYTES = 5 * 10**9


def files_to_copy(folder: Path) -> dict[str, Path]:
    """Return {name: path} of a model folder's configuration and tokenizer files.

    Raises:
        UsageError: There is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} has no model. Run the stage that makes it first (`make plan` says which).")
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in _COPIED and not path.name.endswith(".index.json") and not path.name.startswith(".")
    }


def export_weights(model: Any, gathered: Mapping[str, Tensor], settings: OptimSettings) -> dict[str, Tensor]:
    """Return what an export holds, from a policy's gathered parameters: adapters merged, names as in the base model's own files.

    Args:
        model: The causal language model inside the policy.
        gathered: {name: parameter} of the `Policy` around it, whole and on the CPU.
        settings: For the adapters, if there are any.
    """
    weights = {name.removeprefix("model."): value for name, value in gathered.items()}
    if settings.lora_rank:
        weights = merge_adapters(weights, settings.lora_alpha, settings.lora_rank, transposed_layers(model))
    return own_names(model, weights)


def write_export(target: Path, files: Mapping[str, Path], weights: Mapping[str, Tensor], shard_bytes: int = _SHARD_BYTES) -> list[Path]:
    """Write a model folder under a temporary name and put it in place of an older one; return its files.

    Weights go to the disk from where they are, without a copy in memory.

    Args:
        target: The folder.
        files: {name in the folder: file to copy}.
        weights: From `export_weights`: on the CPU, contiguous; tied ones once.
        shard_bytes: Weights that take more are written in files of at most so many bytes each (or one parameter).

    Raises:
        VolumeError: The disk is full or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, source in files.items():
            shutil.copyfile(source, partial / name)
        shards = plan_shards(weights, shard_bytes)
        for file_name, names in shards.items():
            # The metadata is what 4.29 asks for.
            save_file({name: weights[name] for name in names}, str(partial / file_name), metadata={"format": "pt"})
            os.chmod(partial / file_name, 0o644)
        if len(shards) > 1:
            places = {name: file_name for file_name, names in shards.items() for name in names}
            index = {"metadata": {"total_size": sum(_size(value) for value in weights.values())}, "weight_map": places}
            (partial / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise VolumeError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}. Free some space and run the same command again.") from error
    return sorted(target.iterdir())


def plan_shards(weights: Mapping[str, Tensor], shard_bytes: int) -> dict[str, list[str]]:
    """Return {file name: its parameters}: in their order, as many in each file as fit; the names are those that Transformers looks for."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, value in weights.items():
        if shards[-1] and _size(value) > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= _size(value)
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    return {f"model-{number:05d}-of-{len(shards):05d}.safetensors": names for number, names in enumerate(shards, start=1)}


def _size(value: Tensor) -> int:
    return int(value.nbytes)
