"""The trained policy as a Hugging Face folder that old and new Transformers load.

Weights as model.safetensors; config and tokenizer files are the base model's own, byte for byte, since a newer
Transformers writes configurations that the older one does not understand.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from torch import Tensor

from volume.errors import UsageError, VolumeError

_COPIED = {".json", ".model", ".txt", ".jinja", ".tiktoken"}


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


def write_export(target: Path, files: dict[str, Path], weights: dict[str, Tensor]) -> list[Path]:
    """Write a model folder under a temporary name and put it in place of an older one; return its files.

    Args:
        target: The folder.
        files: {name in the folder: file to copy}.
        weights: The model's parameters; tied ones once.

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
        save_file(weights, str(partial / "model.safetensors"), metadata={"format": "pt"})  # the metadata is what 4.29 asks for
        os.chmod(partial / "model.safetensors", 0o644)
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise VolumeError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}. Free some space and run the same command again.") from error
    return sorted(target.iterdir())
