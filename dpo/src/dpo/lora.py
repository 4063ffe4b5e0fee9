"""Low-rank adapters (LoRA, arXiv 2106.09685) by way of PEFT: a linear layer's W becomes W + alpha / rank * B A, and only A and B are trained.

They are put into the model in place, so it keeps its class, its `base_model` and its output head. The export holds plain
weights: the adapters are merged into the base model's own, under its own names, and no later stage knows of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dpo.seeding import derive_seed
from volume.errors import UsageError, suggest
from volume.training_settings import OptimSettings

_ADAPTER = "default"  # what PEFT calls an adapter that is given no name


def add_adapters(model: Any, settings: OptimSettings, seed: int) -> Any:
    """Give the linear layers adapters and freeze all else; return the same model. Without a rank it stays as it is.

    A is drawn as PEFT draws it, uniform by fan-in, but from a generator of its own for each layer: neither the order of
    layers nor what was drawn before decides. B is zero, so the first policy is the reference.

    Args:
        model: A causal language model with its weights; its parameters may have any type.
        settings: ``lora_rank``, ``lora_alpha``, ``lora_targets`` (names of linear layers; none: all but the output head).
        seed: Seed of the run.

    Raises:
        UsageError: Rank or alpha makes no sense, or the model has no layer of a given name.
    """
    if settings.lora_rank == 0:
        return model
    if settings.lora_rank < 0 or not settings.lora_alpha > 0:
        given = f"lora_rank = {settings.lora_rank}, lora_alpha = {settings.lora_alpha:g}"
        raise UsageError(f"{given}: expected a rank above 0 (0: no adapters) and an alpha above 0")
    chosen = _choose_layers(model, settings.lora_targets)
    import peft  # takes seconds, and most runs have no adapters

    config = peft.LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=0.0, bias="none",
        target_modules=chosen, init_lora_weights=False, fan_in_fan_out=bool(transposed_layers(model)),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # new layers draw from the global generator before we draw anew
        peft.inject_adapter_in_model(config, model)
    for name in chosen:
        layer = model.get_submodule(name)
        down, up = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        draw = torch.empty(down.shape, dtype=torch.float32)
        nn.init.kaiming_uniform_(draw, a=math.sqrt(5), generator=torch.Generator().manual_seed(derive_seed(seed, "lora", name)))
        with torch.no_grad():
            down.copy_(draw)
            up.zero_()
    return model


def merge_adapters(weights: Mapping[str, Tensor], alpha: float, rank: int, transposed: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the base model's parameters, under its own names, with W + alpha / rank * B A in the place of each adapted W.

    A pure function of the gathered parameters, so it serves every ZeRO stage. Computed in float32 and cast back. Parameters
    without adapters pass through as they are.

    Args:
        weights: {name: parameter} of the adapted model, as `named_parameters` gives them. A: (rank, in), B: (out, rank).
        alpha: ``lora_alpha``.
        rank: ``lora_rank``.
        transposed: From `transposed_layers`: layers whose W is (in, out).
    """
    merged: dict[str, Tensor] = {}
    for name, value in weights.items():
        if f".lora_A.{_ADAPTER}." in name or f".lora_B.{_ADAPTER}." in name:
            continue
        own = name.replace(".base_layer.", ".")
        layer, _, kind = own.rpartition(".")
        if own != name and kind == "weight":
            down, up = (weights[f"{layer}.{part}.{_ADAPTER}.weight"].float() for part in ("lora_A", "lora_B"))
            change = (up @ down) * (alpha / rank)
            value = (value.float() + (change.T if layer in transposed else change)).to(value.dtype).contiguous()
        merged[own] = value
    return merged


def transposed_layers(model: Any) -> frozenset[str]:
    """Return the names of the layers whose weight is (in, out), as GPT-2 has them."""
    from transformers.pytorch_utils import Conv1D

    return frozenset(name.removesuffix(".base_layer") for name, module in model.named_modules() if isinstance(module, Conv1D))


def _choose_layers(model: Any, targets: tuple[str, ...]) -> list[str]:
    """Return the full names of the layers to adapt.

    Raises:
        UsageError: A target names none.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D)) and module is not head]
    faults = []
    for target in targets:
        if any(_answers_to(name, target) for name in names):
            continue
        if any(_answers_to(name, target) for name, module in model.named_modules() if module is head):
            faults.append(f"'{target}' is the output head, which is not adapted (it may share its weights with the embedding).")
        else:
            faults.append(f"the model has no linear layer '{target}'.{suggest(target, {name.rpartition('.')[2] for name in names})}")
    if faults:
        raise UsageError("lora_targets: " + " ".join(faults))
    return [name for name in names if not targets or any(_answers_to(name, target) for target in targets)]


def _answers_to(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
