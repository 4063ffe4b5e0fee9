"""One real calculation per device, in each environment's own PyTorch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from volume import probe

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docker"))

torch = pytest.importorskip("torch")


def with_card(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """Let PyTorch tell of a card of this capability; that it cannot calculate on it stays true on a host without one."""
    told: dict[str, Any] = {"is_available": True, "device_count": 1, "get_device_name": "NVIDIA Card", "get_device_capability": capability}
    for name, value in {**told, "get_arch_list": ["sm_80", "sm_86"]}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_card_it_calculates_on_the_cpu_and_says_so(no_card: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([]) == 0
    told = json.loads(capsys.readouterr().out)
    (device,) = told["devices"]
    assert told["cards"] == 0 and told["torch"] == torch.__version__
    assert device["device"] == "cpu" and device["fault"] == "" and device["done"]["float32"] == device["done"]["adamw"] == "ok"
    assert device["done"]["float16"] == "ok" or "not on the CPU" in device["done"]["float16"]


def test_a_card_without_code_is_refused_with_status_2_and_nothing_is_run_on_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_card(monkeypatch, (9, 0))
    assert probe.main([]) == 2
    said = capsys.readouterr()
    (device,) = json.loads(said.out)["devices"]
    assert device["done"] == {} and device["capability"] == [9, 0]
    assert all(part in said.err for part in ("SM 9.0", "sm_80, sm_86", "STACK=current", "CUDA_VISIBLE_DEVICES="))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card, which calculates")
def test_a_card_on_which_no_kernel_starts_is_a_fault_that_names_what_was_tried(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_card(monkeypatch, (8, 0))
    assert probe.main([]) == 2
    said = capsys.readouterr().err
    assert all(f"NVIDIA Card (cuda:0) cannot calculate ({what})" in said for what in ("float32", "float16", "adamw"))


def test_a_kernel_that_runs_and_is_wrong_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.matmul

    def matmul(left: Any, other: Any) -> Any:
        return right(left, other) if left.dtype == torch.float64 else torch.full_like(left, float("nan"))

    monkeypatch.setattr(torch, "matmul", matmul)
    with pytest.raises(RuntimeError, match="differs from the CPU's by nan"):
        probe.multiply(torch, "cpu", "float32")
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    with pytest.raises(RuntimeError, match="differs from the formula by 0.1"):
        probe.step(torch, "cpu")


def test_an_environment_without_pytorch_says_where_to_run_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert probe.main([]) == 2
    assert "docker/engine.py run csenv" in capsys.readouterr().err


@pytest.mark.skipif("FACTTUNE_ENV" not in os.environ, reason="not run by the engine, which says which environment this is")
def test_the_list_of_capabilities_that_the_host_goes_by_is_that_of_the_wheel() -> None:
    from stacks import sm_list

    built = [f"sm_{sm.replace('.', '')}" for sm in sm_list(os.environ["FACTTUNE_ENV"], os.environ["FACTTUNE_STACK"])]
    assert probe.built_for(torch) == built


def test_a_list_of_architectures_is_known_where_no_card_is_seen() -> None:
    fake = SimpleNamespace(_C=SimpleNamespace(_cuda_getArchFlags=lambda: "sm_70 sm_80"), cuda=SimpleNamespace(get_arch_list=lambda: []))
    assert probe.built_for(fake) == ["sm_70", "sm_80"]
    assert probe.built_for(SimpleNamespace(_C=SimpleNamespace(), cuda=SimpleNamespace(get_arch_list=lambda: []))) == []
