"""What the wheels of a stack can run on: compute capabilities and the oldest driver."""

from __future__ import annotations

# Compute capabilities that PyTorch was compiled for. None of these wheels holds PTX, so that a card of a later major
# capability finds no kernel, while `torch.cuda.is_available()` is True on it all the same.
_CUDA_11_7 = ("3.7", "5.0", "6.0", "7.0", "7.5", "8.0", "8.6")
_CUDA_12_8 = ("7.0", "7.5", "8.0", "8.6", "9.0", "10.0", "12.0")
_OLD = {("fsenv", "paper"), ("csenv", "paper")}

# The oldest driver that runs a CUDA major version (NVIDIA, "CUDA compatibility", minor-version compatibility).
_DRIVER_11 = (450, 80, 2)
_DRIVER_12 = (525, 60, 13)


def sm_list(env: str, stack: str) -> tuple[str, ...]:
    """Return the compute capabilities that an environment's PyTorch has code for, as "8.6"."""
    return _CUDA_11_7 if (env, stack) in _OLD else _CUDA_12_8


def oldest_driver(env: str, stack: str) -> tuple[int, int, int]:
    """Return the oldest NVIDIA driver on which an environment's CUDA runs."""
    return _DRIVER_11 if (env, stack) in _OLD else _DRIVER_12
