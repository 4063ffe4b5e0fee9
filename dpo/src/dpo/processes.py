"""The processes that train together: which of them this one is, how they meet, and what they agree on."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch

from volume.cards import choose_device
from volume.errors import UsageError, VolumeError
from volume.ranks import this_rank

# For all to come, and for whatever the first does alone while the others wait, such as writing a policy over a network.
_PATIENCE = timedelta(minutes=60)


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

    def most(self, number: int) -> int:
        """Return the greatest of the processes' numbers."""
        if self.world == 1:
            return number
        value = torch.tensor(number, device=self.device)
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
        return int(value.item())


def is_first_process() -> bool:
    """Return whether this process is the one that talks and writes; known before the group is joined."""
    return this_rank().number == 0


def start_processes() -> Processes:
    """Join the process group: gloo on CPUs, NCCL on GPUs; by itself where no launcher started several.

    One process keeps its rendezvous in memory: no port, no file, no network.

    Raises:
        UsageError: Nothing says where the processes meet, or this one has no GPU of its own.
        VolumeError: The others did not come.
    """
    rank = this_rank()
    if not (rank.alone or os.environ.get("MASTER_ADDR")):
        raise UsageError(
            f"{rank}: the processes do not know where to meet. Set MASTER_ADDR to the name of the host that has rank 0, and "
            "MASTER_PORT to a free port there (29500 if not set), for all of them; or start them with torchrun, which does. See docs/clusters.md."
        )
    os.environ["LOCAL_RANK"] = f"{rank.local}"  # DeepSpeed insists on it
    device = torch.device(choose_device(torch))
    gpu = device.type == "cuda"
    if gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with the next line: sums in the same order from run to run, where kernels can
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"
    if torch.distributed.is_initialized():
        return Processes(rank.number, rank.of, device)
    backend = "nccl" if gpu else "gloo"
    if rank.alone:
        with silent_output():
            torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    else:
        os.environ.setdefault("MASTER_PORT", "29500")
        os.environ |= {"RANK": f"{rank.number}", "WORLD_SIZE": f"{rank.of}"}  # torchrun's names, which DeepSpeed reads
        if rank.one_host:  # which may have no network at all
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        try:
            with _signals_end_it(), silent_output():
                torch.distributed.init_process_group(backend, timeout=_PATIENCE, device_id=device if gpu else None)
        except RuntimeError as error:
            raise VolumeError(
                f"{rank}: the {rank.of} processes cannot meet at {os.environ['MASTER_ADDR']}, port {os.environ['MASTER_PORT']}: {str(error).splitlines()[0]}. "
                "All must be started, and on several hosts each must reach that address; GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME may have to "
                "name the network interface to use. See docs/clusters.md."
            ) from error
    atexit.register(_leave)
    return Processes(rank.number, rank.of, device)


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the process at once: while it waits in C++ for others Python's handlers do not run, and there is nothing to save."""
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def silent_output() -> Iterator[None]:
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
