"""DeepSpeed's ZeRO stages, offload and batches in pieces, in one process and in two, against one process without any of them."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import worker
from toy import files_of, lines_of, run_workers, weights_of

from dpo.deepspeed_engine import deepspeed_config
from volume.errors import UsageError
from volume.training_settings import OptimSettings

WHOLE, PIECES = 16384, 30  # tokens of a forward: all of a batch, or two to four pieces of it
BF16 = ("dtype=bfloat16", "optimizer=rmsprop", "lr=0.001")


def assert_same_training(expected: Path, got: Path) -> None:
    """Losses to 1e-5; what Adam's division by tiny second moments magnifies, to 1e-3."""
    for one, other in zip(lines_of(expected), lines_of(got), strict=True):
        assert one.pop("split", None) == other.pop("split", None)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("stage", "offload", "processes", "tokens"), [
    (0, "none", 1, PIECES), (0, "none", 2, WHOLE), (0, "none", 2, PIECES),
    (1, "none", 1, WHOLE), (1, "none", 2, PIECES), (1, "optimizer", 2, PIECES),
    (2, "none", 2, WHOLE), (2, "none", 2, PIECES), (2, "optimizer", 1, PIECES),
    (3, "none", 2, WHOLE), (3, "none", 2, PIECES), (3, "optimizer", 1, PIECES), (3, "parameters", 2, PIECES),
])  # fmt: skip
def test_every_stage_trains_as_one_process_in_float32_does(runs: Callable[..., Path], stage: int, offload: str, processes: int, tokens: int) -> None:
    arguments = [f"zero_stage={stage}", f"offload={offload}", f"tokens_at_once={tokens}"]
    assert_same_training(runs("dpo"), runs("dpo", *arguments, processes=processes))


def test_supervised_tuning_in_pieces_on_two_processes_trains_as_one_does(runs: Callable[..., Path]) -> None:
    assert_same_training(runs("sft"), runs("sft", "zero_stage=2", f"tokens_at_once={PIECES}", processes=2))


def test_a_model_that_cannot_be_packed_trains_as_one_that_is(runs: Callable[..., Path]) -> None:
    assert_same_training(runs("dpo"), runs("dpo", "share_prompts=False", f"tokens_at_once={2 * PIECES}"))


def test_activation_checkpointing_changes_no_byte(runs: Callable[..., Path]) -> None:
    assert files_of(runs("dpo") / "export") == files_of(runs("dpo", "activation_checkpointing=True") / "export")


@pytest.mark.parametrize(("settings", "processes"), [
    (("zero_stage=3",), 2), (("zero_stage=1", *BF16, f"tokens_at_once={PIECES}"), 1), (("zero_stage=2", *BF16, "offload=optimizer"), 2),
    (("zero_stage=3", *BF16, f"tokens_at_once={PIECES}"), 2),
])  # fmt: skip
def test_killed_and_resumed_it_ends_with_the_same_bytes(
    runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path, settings: tuple[str, ...], processes: int
) -> None:
    arguments = ("dpo", str(world), str(start), str(tmp_path), *settings)
    assert run_workers(*arguments, "kill_at=6", processes=processes) == [-signal.SIGKILL] * processes
    assert run_workers(*arguments, processes=processes) == [0] * processes
    assert files_of(tmp_path) == files_of(runs("dpo", *settings, processes=processes))


def test_a_checkpoint_of_another_number_of_processes_is_refused(world: Path, start: Path, tmp_path: Path) -> None:
    arguments = ("dpo", str(world), str(start), str(tmp_path), "zero_stage=3")
    assert run_workers(*arguments, "stop_at=6", processes=2) == [1, 1]
    with pytest.raises(UsageError, match="was written by 2 process.* Train with 2 again"):
        worker.train(list(arguments))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_bfloat16_starts_at_ln_2_to_the_bit_learns_and_exports_bfloat16(runs: Callable[..., Path], stage: int) -> None:
    out = runs("dpo", f"zero_stage={stage}", *BF16, f"tokens_at_once={PIECES}", processes=2)
    losses = [line["loss"] for line in lines_of(out) if "split" not in line]
    assert losses[0] == round(math.log(2), 9)
    assert losses[-1] < 0.69
    assert {value.dtype for value in weights_of(out / "export").values()} == {torch.bfloat16}


@pytest.mark.parametrize(("values", "message"), [
    ({"dtype": "bfloat16"}, "wrong first step"), ({"offload": "optimizer"}, "needs stage 1"), ({"offload": "parameters", "zero_stage": 2}, "parameters stage 3"),
    ({"zero_stage": 4}, "expected 0, 1, 2 or 3"), ({"dtype": "float16"}, "training knows"),
])  # fmt: skip
def test_settings_that_deepspeed_gets_wrong_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        deepspeed_config(OptimSettings(lr=1e-3, **values))
