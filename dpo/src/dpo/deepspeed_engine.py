"""DeepSpeed without its surprises: plain `deepspeed.initialize` around a PyTorch optimizer.

No launcher, no compiler and no network is needed for one process; under `torchrun` (or DeepSpeed's launcher) the usual
environment variables make it several. Traps that are closed here: on a CPU DeepSpeed compiles an extension at start-up;
stage 0 in bfloat16 gives Adam a wrong first step; offload silently swaps the optimizer.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from volume.errors import UsageError
from volume.settings import OptimSettings


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            torch.distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in some process: they stop together or not at all."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(value)
        return bool(value.item())


def is_first_process() -> bool:
    """Return whether this process is the one that talks and writes; known before the group is joined."""
    return int(os.environ.get("RANK", "0")) == 0


def start_processes() -> Processes:
    """Join the process group: gloo on CPUs, NCCL on GPUs; by itself when no launcher set WORLD_SIZE.

    One process keeps its rendezvous in memory: no port, no file, no network.
    """
    gpu = torch.cuda.is_available()
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.setdefault("LOCAL_RANK", "0"))  # DeepSpeed insists on it
    if gpu:
        torch.cuda.set_device(local)
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == world:  # all on this host, which may have no network at all
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if not torch.distributed.is_initialized():
        backend = "nccl" if gpu else "gloo"
        if world == 1:
            with _silent_output():
                torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
        else:
            torch.distributed.init_process_group(backend)
        atexit.register(_leave)
    return Processes(rank, world, torch.device("cuda", local) if gpu else torch.device("cpu"))


@contextlib.contextmanager
def _silent_output() -> Iterator[None]:
    """Hide what libraries print from C++ (gloo's greeting), which no logger can."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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
    """Return DeepSpeed's configuration. Batch sizes are ours to keep, so it is told 1.

    Raises:
        UsageError: A combination that DeepSpeed gets wrong.
    """
    bf16 = settings.dtype == "bfloat16"
    torch_dtype(settings.dtype)
    if settings.zero_stage not in (0, 1, 2, 3):
        raise UsageError(f"zero_stage = {settings.zero_stage}: expected 0, 1, 2 or 3")
    if bf16 and settings.zero_stage == 0:
        # Its first step is spent on zero gradients, so Adam's first update is 0.74 of the right one.
        raise UsageError("zero_stage = 0 with dtype = 'bfloat16': DeepSpeed takes a wrong first step there; set zero_stage = 1")
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.max_grad_norm if settings.zero_stage else 0.0,  # stage 0: see `step`
        "zero_optimization": {"stage": settings.zero_stage, "overlap_comm": False},  # overlap gives other losses from run to run
        "zero_allow_untested_optimizer": True,  # RMSprop
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": sys.maxsize,
        "wall_clock_breakdown": False,
    }
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
    with warnings.catch_warnings(), _silent_output():
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
