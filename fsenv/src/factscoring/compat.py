"""What differs between the Transformers versions of the two stacks (4.38 and 5): loading, and the key-value cache.

A cache is what a forward pass returns as ``past_key_values``: in 4.38 a tuple of (keys, values) per layer, which a later
pass leaves as it is; in 5 a DynamicCache, into which a later pass writes. Keys and values are [rows, heads, tokens, head size].
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import pickle
from pathlib import Path
from typing import Any

from volume.cards import choose_device
from volume.errors import UsageError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "sentencepiece.bpe.model")
_WEIGHTS = ("*.safetensors", "*.bin")


def load_causal_lm(folder: Path, dtype: str) -> tuple[Any, Any]:
    """Load a tokenizer and a causal language model from a local folder, on the GPU where there is one.

    Raises:
        UsageError: The folder holds no model or one that cannot be read, or this environment cannot use the GPU.
    """
    return _load(folder, dtype, "AutoModelForCausalLM")


def load_masked_lm(folder: Path, dtype: str) -> tuple[Any, Any]:
    """Load a tokenizer and a masked language model; as ``load_causal_lm``."""
    return _load(folder, dtype, "AutoModelForMaskedLM")


def _load(folder: Path, dtype: str, kind: str) -> tuple[Any, Any]:
    check_folder(folder)
    import torch
    import transformers
    from safetensors import SafetensorError

    device = choose_device(torch, dtype)
    transformers.logging.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # loading bars
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            loader = getattr(transformers, kind)
            model, found = loader.from_pretrained(folder, torch_dtype=getattr(torch, dtype), output_loading_info=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise UsageError(
            f"{folder} cannot be loaded as a model: {type(error).__name__}: {error}. Put its files there once more; the usual cause is a copy cut short."
        ) from error
    # Transformers would fill them with random numbers and go on. A masked model's head is not used here, and checkpoints may lack it.
    missing = sorted(name for name in found["missing_keys"] if kind == "AutoModelForCausalLM" or not name.startswith(("lm_head", "cls")))
    if missing:
        raise UsageError(f"{folder} lacks weights of its architecture ({len(missing)}, first {missing[0]}): it holds another kind of model.")
    model.eval()
    return tokenizer, model.to(device)


def check_folder(folder: Path) -> None:
    """Check that a folder holds what every model has.

    Raises:
        UsageError: There is no config.json, no tokenizer or no weights.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no model (no config.json). Put the model there, or mend its path under [models] of the dataset's definition.")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UsageError(f"{folder} holds no tokenizer (none of {', '.join(_TOKENIZERS)}). Put the tokenizer's files beside the model's.")
    if not any(path.is_file() for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise UsageError(f"{folder} holds no weights (no {' or '.join(_WEIGHTS)}). Put them beside its config.json.")


def count_positions(model: Any) -> int | None:
    """Return how many tokens a model can take; None where its configuration does not say."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    # RoBERTa's first token has position padding_idx + 1; the positions below are never used.
    offset = int(model.config.pad_token_id) + 1 if "roberta" in model.config.model_type else 0
    return int(positions) - offset


def size_mask(model: Any, tokens: int) -> None:
    """Cut the causal mask that 4.38 keeps for Llama down to ``tokens``.

    It is int64, of all of the model's positions squared, and copied for every row of every pass: 2 GiB a pass at 16 rows
    and 4096 positions, of which the prompt needs a hundredth.
    """
    import torch

    base = model.base_model
    if isinstance(getattr(base, "causal_mask", None), torch.Tensor):
        ones = torch.ones(tokens, tokens, dtype=base.causal_mask.dtype, device=base.causal_mask.device)
        base.causal_mask = torch.triu(ones, diagonal=1)


def branch_cache(cache: Any, rows: int = 1) -> Any:
    """Return a cache of one row for ``rows`` rows, to be written into while the given one stays as it is.

    Nothing is copied here: the rows are views, and a forward pass joins new keys and values to them in new tensors.

    Args:
        cache: None at the beginning of a prompt.
    """
    if cache is None:
        return None
    if isinstance(cache, tuple):
        return tuple(tuple(part.expand(rows, -1, -1, -1) for part in layer) for layer in cache)
    branch = copy.copy(cache)
    branch.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in branch.layers:
        if layer.keys is not None:
            layer.keys, layer.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    return branch


def logits_at(model: Any, ids: Any, cache: Any, ends: Any) -> Any:
    """Return the logits at one position of each row, without those of all others: a vocabulary of floats for every token.

    Args:
        ids: Token ids, padded on the right: attention is causal, so no real token sees the padding. Shape: [rows, width].
        cache: What stands before them, for as many rows; it is written into.
        ends: Positions within ``ids``. Shape: [rows].

    Returns:
        Shape: [rows, vocabulary].
    """
    import torch

    rows = torch.arange(len(ids), device=ids.device)
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        kept, column = torch.unique(ends, return_inverse=True)
        return model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=kept).logits[rows, column]
    hidden = model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    return model.get_output_embeddings()(hidden[rows, ends])
