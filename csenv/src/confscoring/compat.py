"""What differs between the Transformers versions of the two stacks (4.29 and 5): loading, and the key-value cache."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from volume.errors import UsageError


def load_model(folder: Path, dtype: str) -> tuple[Any, Any]:
    """Load a tokenizer and a causal language model from a local folder, on the GPU where there is one.

    Raises:
        UsageError: The folder holds no model, or one that cannot be read.
    """
    if not (folder / "config.json").exists():
        raise UsageError(f"{folder} holds no model (no config.json). Run the stage that makes it (`make plan`), or put the model there.")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # loading bars
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"{folder} cannot be loaded as a model: {type(error).__name__}: {error}") from error
    model.eval()
    return tokenizer, model.to("cuda" if torch.cuda.is_available() else "cpu")


def repeat_rows(cache: Any, times: int) -> Any:
    """Return a key-value cache in which every row stands ``times`` times in a row."""
    if isinstance(cache, tuple):
        return tuple(tuple(part.repeat_interleave(times, dim=0) for part in layer) for layer in cache)
    cache.batch_repeat_interleave(times)
    return cache


def select_rows(cache: Any, rows: Any) -> Any:
    """Return a key-value cache with the given rows only; ``rows`` is an int64 tensor of shape (kept,)."""
    if isinstance(cache, tuple):
        return tuple(tuple(part.index_select(0, rows) for part in layer) for layer in cache)
    cache.batch_select_indices(rows)
    return cache
