"""A portable dataset has the same bytes on another processor: here on an emulated AMD one without AVX-512.

QEMU's user mode runs one program on a processor of another kind: other instructions, other vendor, other code paths of MKL, PyTorch
and the C library. It is some thirty times slower, so the world is tiny. CI installs it (Debian: qemu-user).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from toy import ROOT, TOY

ENVS = Path(os.environ.get("ENVS") or ROOT / ".envs")
EMULATOR = shutil.which("qemu-x86_64")
needs_emulator = pytest.mark.skipif(EMULATOR is None, reason="no qemu-x86_64 (Debian: apt-get install qemu-user)")

# Each runs or trains a model; together they use what the other stages use.
STAGES = {
    "world": ("csenv", "confscoring.world"),
    "pretrain": ("dpo", "dpo.pretrain"),
    "responses": ("csenv", "confscoring.responses", "--split", "train", "--limit", "2"),
}


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy world with a model that learns for two steps."""
    text = TOY.read_text()
    smaller = {
        'device = "cpu"': 'device = "portable"', "people = 60": "people = 16",
        "steps = 120": "steps = 2", "warmup_steps = 10": "warmup_steps = 1", "tokens_per_step = 1000": "tokens_per_step = 120",
        "epochs = 2": "epochs = 1", "max_new_tokens = 60": "max_new_tokens = 8",
    }  # fmt: skip
    for before, after in smaller.items():
        assert before in text
        text = text.replace(before, after)
    path = tmp_path_factory.mktemp("definition") / "tiny.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, definition: Path) -> dict[str, bytes]:
    """What this processor writes."""
    return run_stages(tmp_path_factory.mktemp("own"), definition, ENVS, STAGES, "--device", "portable")


def emulated(folder: Path, processor: str) -> Path:
    """Return a folder of environments whose Python runs on another processor."""
    for link in ENVS.glob("*-paper"):
        made = folder / link.resolve().name
        (made / "bin").mkdir(parents=True)
        (made / ".complete").write_text("")
        python = made / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {EMULATOR} -cpu {processor} "{link.resolve()}/bin/python" "$@"\n')
        python.chmod(0o755)
    return folder


def run_stages(volume: Path, definition: Path, envs: Path, stages: Iterable[str], *options: str) -> dict[str, bytes]:
    """Run the stages on an empty volume; return their outputs."""
    shutil.copy(definition, volume)
    for env, module, *arguments in (STAGES[name] for name in stages):
        done = subprocess.run(
            [sys.executable, str(ROOT / "docker" / "engine.py"), "run", env, *options, "--", "python", "-m", module,
             "--dataset", "@data/tiny.toml", "--data-dir", "@data", *arguments],
            env={**os.environ, "ENGINE": "venv", "STACK": "paper", "DATA": str(volume), "ENVS": str(envs)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    outputs = {str(path.relative_to(volume)): path.read_bytes() for path in sorted((volume / "dataset_toy").rglob("*")) if path.is_file()}
    return {name: content for name, content in outputs.items() if "/manifests/" not in name and not name.endswith("definition.json")}


@needs_emulator
def test_a_processor_of_another_vendor_without_avx_512_writes_the_same_bytes(tmp_path: Path, definition: Path, own: dict[str, bytes]) -> None:
    (tmp_path / "volume").mkdir()
    other = run_stages(tmp_path / "volume", definition, emulated(tmp_path / "envs", "EPYC-Rome"), STAGES, "--device", "portable")
    assert any(name.endswith(".safetensors") for name in own) and any("/responses/" in name for name in own)
    assert {name for name in {*own, *other} if own.get(name) != other.get(name)} == set()


def test_the_variables_of_portable_datasets_do_change_the_bytes(tmp_path: Path, definition: Path, own: dict[str, bytes]) -> None:
    """So the test above can fail: as it is, a processor with AVX-512 calculates in another order."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX-512, and may calculate so by itself")
    unbound = run_stages(tmp_path, definition, ENVS, ("world", "pretrain"))
    weights = next(name for name in unbound if name.endswith(".safetensors"))
    assert unbound[weights] != own[weights]
