"""Attention heads (ITI, Li et al. 2023, arXiv 2306.03341): their outputs, and shifts, a constant that is added to them at every position.

The outputs of a layer's heads, one after another, are the input of its output projection, and W (x + s) = W x + W s: so a shift is
a bias of that projection, and sampling takes no longer than without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from confscoring.compat import count_positions, find_parts
from volume.errors import RecordError, UsageError
from volume.files import write_bytes

FILE = "shifts.safetensors"
_ROWS = 64  # texts at once; fixed, so that the numbers do not depend on a setting of the sampler


def write_shifts(folder: Path, shifts: Mapping[int, Tensor]) -> Path:
    """Write {layer, from 0: shift of its heads' outputs}; return the file.

    Args:
        shifts: Shape (heads * size of a head,) each, float32; layers without a shift are left out.
    """
    from safetensors.torch import save

    path = folder / FILE
    write_bytes(path, save({f"layers.{layer}": shift.contiguous() for layer, shift in sorted(shifts.items())}))
    return path


def read_shifts(folder: Path, run: str) -> dict[int, Tensor]:
    """Return the shifts of a run.

    Raises:
        UsageError: There are none yet.
        RecordError: The file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing: run '{run}' shifts attention heads, and its stage `probes` says where to. Run `make train`, which runs it.") from error
    try:
        return {int(name.removeprefix("layers.")): shift for name, shift in load(data).items()}
    except (SafetensorError, ValueError) as error:
        raise RecordError(f"{path} holds no shifts: {error}. Delete it and run `make train` again.") from error


def apply_shifts(model: Any, shifts: Mapping[int, Tensor]) -> None:
    """Add shifts to a model, as biases of its output projections.

    Raises:
        UsageError: The parts of a model of this kind are not known, or the shifts are those of another model.
    """
    import torch

    parts = find_parts(model, "ITI")
    for layer, shift in shifts.items():
        if layer >= len(parts.projections) or shift.numel() != projection_inputs(parts.projections[layer]):
            raise UsageError(
                f"a shift of {shift.numel()} numbers for layer {layer} does not fit the model: it belongs to another one. Run the stage `probes` of this run again."
            )
        projection = parts.projections[layer]
        weight = projection.weight
        matrix = weight.detach().double() if is_transposed(projection) else weight.detach().double().T
        bias = shift.to(weight.device).double() @ matrix
        if projection.bias is not None:
            bias = bias + projection.bias.detach().double()
        projection.bias = torch.nn.Parameter(bias.to(weight.dtype), requires_grad=False)


def read_heads(model: Any, texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Return the outputs of all attention heads at the last token of each text: per layer (heads, texts, size), float32, on the CPU.

    Args:
        texts: Tokens.

    Raises:
        UsageError: The parts of a model of this kind are not known, or a text is too long for it.
    """
    import torch

    parts, positions = find_parts(model, "ITI"), count_positions(model)
    longest = max(map(len, texts))
    if positions is not None and longest > positions:
        raise UsageError(f"a prompt and a fact have {longest} tokens together, and the model takes {positions}. Shorten responses.prompt, or take another model.")
    heads = int(model.config.num_attention_heads)
    found = [torch.empty(len(texts), projection_inputs(projection)) for projection in parts.projections]
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        return lambda _module, inputs: seen.update({layer: inputs[0][:, -1].float().cpu()})

    hooks = [projection.register_forward_pre_hook(keep(layer)) for layer, projection in enumerate(parts.projections)]
    device = model.get_input_embeddings().weight.device
    with torch.inference_mode():
        for places in group_equal(map(len, texts)):
            model.base_model(input_ids=torch.tensor([texts[place] for place in places], device=device), use_cache=False)
            for layer, rows in seen.items():
                found[layer][places] = rows
    for hook in hooks:
        hook.remove()
    return [rows.view(len(texts), heads, -1).transpose(0, 1) for rows in found]


def group_equal(lengths: Iterable[int]) -> list[list[int]]:
    """Return places of equal lengths together, in groups that fit a batch."""
    by_length: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        by_length.setdefault(length, []).append(place)
    return [places[start : start + _ROWS] for _, places in sorted(by_length.items()) for start in range(0, len(places), _ROWS)]


def projection_inputs(projection: Any) -> int:
    """Return how many numbers a projection takes."""
    return int(projection.weight.shape[0 if is_transposed(projection) else 1])


def is_transposed(projection: Any) -> bool:
    """Return whether a projection keeps its weights as (inputs, outputs), as GPT-2's Conv1D does; a Linear has (outputs, inputs)."""
    return type(projection).__name__ == "Conv1D"
