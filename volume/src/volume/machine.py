"""What a step ran on: the environment, its packages, and the hardware. It is told in manifests and decides nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from volume.step import Step

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "deepspeed", "sentence-transformers", "spacy", "nltk", "aiohttp")

# They choose the kernels that a library takes, and with them the last bits of a sum.
_KERNELS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "CUBLAS_WORKSPACE_CONFIG")


def describe_environment(step: Step) -> dict[str, Any]:
    """Return what this process runs in and on, as JSON values."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "env": step.env,
        "engine": os.environ.get("FACTTUNE_ENGINE", ""),
        "stack": os.environ.get("FACTTUNE_STACK", ""),
        "image": os.environ.get("FACTTUNE_IMAGE", ""),
        "git_commit": os.environ.get("FACTTUNE_GIT_COMMIT", ""),
        "python": platform.python_version(),
        "packages": versions,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        **_gpus(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "kernels": {name: os.environ[name] for name in _KERNELS if name in os.environ},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _gpus() -> dict[str, Any]:
    torch = sys.modules.get("torch")  # a stage that computes has loaded it; one that has not needs no GPU
    if torch is None or not torch.cuda.is_available():
        return {"gpus": []}
    return {"gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())], "cuda": torch.version.cuda}
