"""DeepSpeed without its surprises: plain `deepspeed.initialize` around a PyTorch optimizer.

No launcher, no compiler and no network is needed for one process; under `torchrun` (or DeepSpeed's launcher) the usual
environment variables make it several. Traps that are closed here: on a CPU DeepSpeed compiles an extension at start-up;
stage 0 in bfloat16 gives Adam a wrong first step; offload silently swaps the optimizer.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dpo.processes import Processes, silent_output
from volume.errors import UsageError
from volume.training_settings import OptimSettings


def _import_deepspeed() -> Any:
    """Import DeepSpeed, quiet and without its just-in-time compilation."""
    os.environ.setdefault("DS_LOG_LEVEL", "warning")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import deepspeed.ops
    # On a CPU `init_distributed` would compile this one with g++ (40 s, or a crash where there is none); it only serves inference.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    for name in ("DeepSpeed", "deepspeed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return deepspeed


def cast_parameters(model: nn.Module, dtype: str) -> None:
    """Cast the parameters, never the buffers: rotary frequencies in bfloat16 move the first DPO loss off ln 2."""
    kind = torch_dtype(dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(kind)


def torch_dtype(name: str) -> torch.dtype:
    """Return the PyTorch type of a settings name.

    Raises:
        UsageError: It is none that training knows.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in known:
        raise UsageError(f"dtype = {name!r}: training knows {', '.join(known)}")
    return known[name]


def build_optimizer(parameters: Iterable[nn.Parameter], settings: OptimSettings) -> torch.optim.Optimizer:
    """Return AdamW, or RMSprop with PyTorch's defaults (the public trainer's). Matrices decay, gains and biases do not."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, fused=True)
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=settings.lr, foreach=True)
    raise UsageError(f"optimizer = {settings.optimizer!r}: expected adamw or rmsprop")


def deepspeed_config(settings: OptimSettings) -> dict[str, Any]:
    """Return DeepSpeed's configuration. Batch sizes are ours to keep: when a batch ends is said before each backward pass.

    Raises:
        UsageError: A combination that DeepSpeed gets wrong.
    """
    bf16 = settings.dtype == "bfloat16"
    torch_dtype(settings.dtype)
    if settings.zero_stage not in (0, 1, 2, 3):
        raise UsageError(f"zero_stage = {settings.zero_stage}: expected 0, 1, 2 or 3")
    if settings.offload != "none" and settings.zero_stage < (3 if settings.offload == "parameters" else 1):
        raise UsageError(f"offload = {settings.offload!r} with zero_stage = {settings.zero_stage}: the optimizer needs stage 1 or more, parameters stage 3")
    if bf16 and settings.zero_stage == 0:
        # Its first step is spent on zero gradients, so Adam's first update is 0.74 of the right one.
        raise UsageError("zero_stage = 0 with dtype = 'bfloat16': DeepSpeed takes a wrong first step there; set zero_stage = 1")
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        # With offload it takes the norm of the last piece's gradient for the batch's, unless this says that there may be several.
        "gradient_accumulation_steps": 1 if settings.offload == "none" else 2,
        "gradient_clipping": settings.max_grad_norm if settings.zero_stage else 0.0,  # stage 0: see `step`
        "zero_optimization": {"stage": settings.zero_stage, "overlap_comm": False},  # overlap gives other losses from run to run
        "zero_allow_untested_optimizer": True,  # RMSprop
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": sys.maxsize,
        "wall_clock_breakdown": False,
    }
    pinned = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload != "none":
        config["zero_optimization"]["offload_optimizer"] = pinned
    if settings.offload == "parameters":
        config["zero_optimization"]["offload_param"] = pinned
    if bf16:
        config |= {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    return config


def open_engine(policy: nn.Module, settings: OptimSettings, processes: Processes) -> Any:
    """Return a DeepSpeed engine around the policy, ready to train."""
    deepspeed = _import_deepspeed()
    policy.to(processes.device)
    optimizer = build_optimizer(policy.parameters(), settings)
    if not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(dist_backend="nccl" if processes.device.type == "cuda" else "gloo", auto_mpi_discovery=False, verbose=False)
    with warnings.catch_warnings(), silent_output():
        warnings.simplefilter("ignore")
        engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=deepspeed_config(settings))
    return engine


def step(engine: Any, max_grad_norm: float) -> float:
    """Clip, take the optimizer step, and return the gradient's norm before clipping.

    At stage 0 the gradients are whole and already averaged, so PyTorch clips them: DeepSpeed's own way there costs
    several small operations per parameter and keeps the norm to itself.
    """
    if engine.zero_optimization_stage() == 0:
        limit = max_grad_norm if max_grad_norm > 0 else float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(engine.module.parameters(), limit, foreach=True))
        if math.isfinite(norm):  # else the caller stops; the weights stay good
            engine.step()
        return norm
    engine.step()
    return float(engine.get_global_grad_norm() or 0.0)


def gather_weights(engine: Any) -> dict[str, torch.Tensor] | None:
    """Return the policy's weights on the CPU in the first process (None in the others), gathered under ZeRO-3."""
    stage3 = engine.zero_optimization_stage() == 3
    deepspeed = sys.modules["deepspeed"]
    first = engine.global_rank == 0
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=stage3):
            if first:
                weights[name] = parameter.detach().to("cpu", copy=True).contiguous()
    return weights if first else None
