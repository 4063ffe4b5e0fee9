"""A host made of small programs: its PATH holds an `nvidia-smi` and engines that answer, fail or hang as a test says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from engines import PLAIN_PYTHON, ROOT

# As nvidia-smi tells of them: name, compute capability, MiB.
CARDS = {
    "H100": ("NVIDIA H100 80GB HBM3", "9.0", 81559),
    "A100": ("NVIDIA A100-SXM4-80GB", "8.0", 81920),
    "L40S": ("NVIDIA L40S", "8.9", 46068),
    "V100": ("Tesla V100-SXM2-32GB", "7.0", 32768),
    "P100": ("Tesla P100-PCIE-16GB", "6.0", 16384),
    "5090": ("NVIDIA GeForce RTX 5090", "12.0", 32607),
}

_NVIDIA_SMI = """#!{python} -S
import sys
cards, unknown = {cards!r}, {unknown!r}
if sys.argv[1:] == ["-L"]:
    for card in cards:
        print(f"GPU {{card['index']}}: {{card['name']}} (UUID: {{card['uuid']}})")
elif sys.argv[1].startswith("--query-gpu=") and sys.argv[2:] == ["--format=csv,noheader,nounits"]:
    fields = sys.argv[1].partition("=")[2].split(",")
    wrong = [field for field in fields if field in unknown or any(field not in card for card in cards)]
    if wrong:
        print(f'Field "{{wrong[0]}}" is not a valid field to query.')
        sys.exit(2)
    for card in cards:
        print(", ".join(card[field] for field in fields))
else:
    sys.exit("unknown arguments")
"""

_HIDDEN = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "MASTER_PORT", "DOCKER_HOST")


class FakeHost:
    """A folder of programs, and the variables under which they are all that is found."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "programs"
        self.bin.mkdir()
        for name in ("git", "make"):
            (self.bin / name).symlink_to(shutil.which(name) or "/nonexistent")
        self.data = folder / "a volume"
        self.envs = folder / "environments"

    def program(self, name: str, text: str) -> None:
        """Put a program on the PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def cards(self, *names: str, driver: str = "535.129.03", unknown: tuple[str, ...] = (), **fields: str) -> None:
        """Put an nvidia-smi there that tells of these cards; ``unknown`` fields it does not know, as an old one."""
        told: list[dict[str, Any]] = [
            {
                "index": str(index), "uuid": f"GPU-{index}f1c7-{name}", "name": CARDS[name][0], "driver_version": driver, "compute_cap": CARDS[name][1],
                "memory.total": str(CARDS[name][2]), "memory.free": str(CARDS[name][2] - 500), "mig.mode.current": "Disabled", **fields,
            }
            for index, name in enumerate(names)
        ]  # fmt: skip
        self.program("nvidia-smi", _NVIDIA_SMI.format(python=PLAIN_PYTHON, cards=told, unknown=unknown))

    def variables(self, **more: str) -> dict[str, str]:
        """Return the variables of a process on this host."""
        kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
        return {**kept, "PATH": str(self.bin), "ENGINE": "auto", "STACK": "paper", "ENVS": str(self.envs), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def doctor(self, dataset: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the doctor as the Makefile does."""
        command = [sys.executable, str(ROOT / "docker" / "doctor.py"), "--dataset", dataset, "--data-dir", str(self.data), *arguments]
        return subprocess.run(command, env=self.variables(**variables), capture_output=True, text=True, check=False, timeout=120)


def docker_program(**fields: Any) -> str:
    """Return a docker that answers `info` as the real one does, and knows no image."""
    told = {"ServerVersion": "28.2.2", "DockerRootDir": "/", "Runtimes": {"runc": {}}, "SecurityOptions": ["name=seccomp"], **fields}
    return f'#!{PLAIN_PYTHON} -S\nimport sys\nsys.exit(1) if sys.argv[1] != "info" else print({json.dumps(told)!r})\n'
