"""Training for real, on a model of a few thousand parameters: gradients, kills, ZeRO stages, export."""

from __future__ import annotations

import hashlib
import json
import math
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import run_workers, weights_of

from dpo.batches import stack
from dpo.deepspeed_engine import Processes, deepspeed_config
from dpo.logprobs import Policy, response_logps
from dpo.losses import preference_loss, sequence_logps
from dpo.models import load_model, new_model
from dpo.objectives import PairData, PreferenceOptimisation
from dpo.tokenise import TokenSequence
from dpo.tuning import Place, tune_on_responses
from volume.errors import UsageError, VolumeError
from volume.settings import DpoSettings, OptimSettings

CPU = Processes(0, 1, torch.device("cpu"))


def random_sequences(count: int, seed: int = 0) -> list[TokenSequence]:
    draw = np.random.default_rng(seed)
    return [TokenSequence(draw.integers(4, 20, int(draw.integers(6, 14))).astype(np.int32), 3) for _ in range(count)]


def files_of(folder: Path) -> dict[str, str]:
    """Return {relative path: hash} of everything below a folder."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log" / "metrics.jsonl").read_text().splitlines()]


def assert_same_training(expected: Path, got: Path) -> None:
    """Losses to 1e-5; what Adam's division by tiny second moments magnifies, to 1e-3."""
    for one, other in zip(lines_of(expected), lines_of(got), strict=True):
        assert one.pop("split", None) == other.pop("split", None)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)


# Log-probabilities and gradients


def test_selected_positions_give_the_log_probabilities_of_whole_logits(start: Path) -> None:
    policy, sequences = Policy(load_model(start).double()), random_sequences(5)
    labels = stack(sequences).input_ids.clone()
    for row, item in enumerate(sequences):
        labels[row, : item.prompt_length] = -100
        labels[row, len(item.ids) :] = -100
    with torch.no_grad():
        expected = sequence_logps(policy.model(input_ids=stack(sequences).input_ids).logits, labels)
    values = response_logps(policy, sequences, CPU.device, tokens=25)  # float32 after the head, and other batches
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-5)


def test_each_distinct_sequence_once_gives_the_loss_and_gradient_of_running_both_sides_of_every_pair(start: Path) -> None:
    policy, sequences = Policy(load_model(start)), random_sequences(5)
    pairs = [(0, 1), (0, 2), (3, 0), (1, 2), (3, 1), (3, 2), (4, 0)]
    reference = response_logps(policy, sequences, CPU.device) - np.linspace(-1, 1, 5)
    settings = DpoSettings(lr=1e-3, beta=0.3)
    result = PreferenceOptimisation(PairData(sequences, reference), [pairs], settings).loss(policy, 0, CPU)
    result.loss.backward()
    shared = torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])

    policy.zero_grad()
    losses = []
    for chosen, rejected in pairs:
        both = [sequences[chosen], sequences[rejected]]
        labels = stack(both).input_ids.clone()
        for row, item in enumerate(both):
            labels[row, : item.prompt_length] = -100
            labels[row, len(item.ids) :] = -100
        logps = sequence_logps(policy.model(input_ids=stack(both).input_ids).logits, labels)
        one, other = (torch.tensor([reference[index]]) for index in (chosen, rejected))
        losses.append(preference_loss(logps[:1], logps[1:], one, other, beta=0.3).losses)
    naive = torch.cat(losses).mean()
    naive.backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])
    assert result.loss.item() == pytest.approx(naive.item(), rel=1e-6)
    assert ((shared - expected).norm() / expected.norm()).item() < 1e-5


def test_a_batch_runs_each_distinct_sequence_once() -> None:
    rows = []

    def counting(input_ids: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        rows.append(len(input_ids))
        return torch.zeros(len(targets), requires_grad=True)

    plan = [[(0, 1), (0, 2), (1, 2), (3, 0), (3, 1), (3, 2)]]
    PreferenceOptimisation(PairData(random_sequences(4), np.zeros(4)), plan, DpoSettings(lr=1e-3)).loss(counting, 0, CPU)
    assert rows == [4]


def test_first_weights_belong_to_the_seed_alone(world: Path) -> None:
    torch.manual_seed(1)
    one = new_model(world / "model_config.json", 5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two, other = new_model(world / "model_config.json", 5), new_model(world / "model_config.json", 6)
    assert torch.equal(state, torch.get_rng_state())
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(one.base_model.embed_tokens.weight, other.base_model.embed_tokens.weight)
    assert one.base_model.embed_tokens.weight.std().item() == pytest.approx(0.2, rel=0.1)  # the toy's initializer_range
    assert torch.equal(one.base_model.norm.weight, torch.ones(16))


# Whole runs


@pytest.fixture(scope="module")
def runs(world: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that runs a training in processes of its own and returns its folder; equal calls share one run."""
    done: dict[tuple[Any, ...], Path] = {}

    def run(kind: str, *arguments: str, processes: int = 1) -> Path:
        key = (kind, arguments, processes)
        if key not in done:
            out = tmp_path_factory.mktemp(kind)
            begin = world / "tokenizer" if kind == "pretrain" else start
            assert run_workers(kind, str(world), str(begin), str(out), *arguments, processes=processes) == [0] * processes
            done[key] = out
        return done[key]

    return run


def test_dpo_starts_at_ln_2_and_learns_the_training_pairs(runs: Callable[..., Path]) -> None:
    lines = lines_of(runs("dpo"))
    training = [line for line in lines if "split" not in line]
    held_out = [line for line in lines if "split" in line]
    assert training[0]["step"] == 1
    assert training[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert training[0]["chosen_reward"] == pytest.approx(0, abs=1e-5)
    assert training[-1]["loss"] < 0.65
    assert list(training[0]) == [
        "step", "examples", "loss", "lr", "chosen_reward", "rejected_reward", "margin", "accuracy", "chosen_logp", "rejected_logp", "grad_norm",
    ]  # fmt: skip
    assert [line["step"] for line in training] == [1, 3, 6, 9, 12]
    assert [line["step"] for line in held_out] == [0, 5, 10, 12]
    assert held_out[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for line in training:
        assert line["margin"] == pytest.approx(line["chosen_reward"] - line["rejected_reward"], abs=1e-6)


def test_pretraining_lowers_the_loss_and_exports_a_model_that_loads(runs: Callable[..., Path], world: Path) -> None:
    out = runs("pretrain")
    losses = [line["loss"] for line in lines_of(out)]
    assert losses[-1] < 0.7 * losses[0]
    model = load_model(out / "export")
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(value.numel() for value in weights_of(out / "export").values())
    assert torch.equal(model.get_output_embeddings().weight, model.base_model.embed_tokens.weight)


def test_the_export_keeps_the_base_files_byte_for_byte_and_the_tied_head_once(runs: Callable[..., Path], start: Path) -> None:
    from safetensors import safe_open

    export = runs("dpo") / "export"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (export / name).read_bytes() == (start / name).read_bytes()
    with safe_open(str(export / "model.safetensors"), "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  not a mapping
    assert not list(export.parent.rglob("step_*")) and not list(export.parent.rglob("*partial*"))


@pytest.mark.parametrize(("kind", "kills"), [("dpo", (3, 1, 4)), ("pretrain", (5,)), ("sft", (4,))])
def test_a_run_killed_and_resumed_ends_with_the_bytes_of_an_uninterrupted_one(
    runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path, kind: str, kills: tuple[int, ...]
) -> None:
    begin = world / "tokenizer" if kind == "pretrain" else start
    for steps in kills:  # kill_at counts the steps of its own process
        assert run_workers(kind, str(world), str(begin), str(tmp_path), f"kill_at={steps}") == [-signal.SIGKILL]
        assert not (tmp_path / "log" / "finished.json").exists()
    assert run_workers(kind, str(world), str(begin), str(tmp_path)) == [0]
    assert files_of(tmp_path) == files_of(runs(kind))


def test_asked_to_stop_it_saves_and_goes_on_from_that_very_step(runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path) -> None:
    assert run_workers("dpo", str(world), str(start), str(tmp_path), "stop_at=6") == [1]
    assert [path.name for path in (tmp_path / "log" / "checkpoints").iterdir()] == ["step_00000006"]
    assert run_workers("dpo", str(world), str(start), str(tmp_path)) == [0]
    assert files_of(tmp_path) == files_of(runs("dpo"))


def test_a_checkpoint_of_other_settings_is_not_resumed(runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path) -> None:
    assert run_workers("dpo", str(world), str(start), str(tmp_path), "stop_at=5", "lr=0.5") == [1]
    assert run_workers("dpo", str(world), str(start), str(tmp_path)) == [0]
    assert files_of(tmp_path) == files_of(runs("dpo"))


def test_a_finished_run_is_not_done_again(runs: Callable[..., Path], world: Path, start: Path) -> None:
    out = runs("sft")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run_workers("sft", str(world), str(start), str(out)) == [0]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_another_version_of_the_code_trains_anew_and_its_outputs_are_the_same(runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path) -> None:
    shutil.copytree(runs("sft"), tmp_path / "copy")
    (tmp_path / "copy" / "log" / "metrics.jsonl").write_text("")  # what was there before is not trusted
    assert run_workers("sft", str(world), str(start), str(tmp_path / "copy"), "code=other") == [0]
    before, after = files_of(runs("sft")), files_of(tmp_path / "copy")
    assert {name for name in before if before[name] != after[name]} == {"log/finished.json"}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_stages_agree_with_stage_0_in_float32(runs: Callable[..., Path], stage: int) -> None:
    assert_same_training(runs("dpo"), runs("dpo", f"zero_stage={stage}"))


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_processes_agree_with_one(runs: Callable[..., Path], stage: int) -> None:
    assert_same_training(runs("dpo"), runs("dpo", f"zero_stage={stage}", processes=2))


def test_two_processes_killed_and_resumed_under_zero_3_end_with_the_same_bytes(
    runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path
) -> None:
    arguments = ("dpo", str(world), str(start), str(tmp_path), "zero_stage=3")
    assert run_workers(*arguments, "kill_at=6", processes=2) == [-signal.SIGKILL] * 2
    assert run_workers(*arguments, processes=1) == [1]  # a checkpoint of two processes
    assert run_workers(*arguments, processes=2) == [0, 0]
    assert files_of(tmp_path) == files_of(runs("dpo", "zero_stage=3", processes=2))


def test_bfloat16_with_rmsprop_starts_at_ln_2_and_exports_bfloat16(runs: Callable[..., Path]) -> None:
    out = runs("dpo", "zero_stage=2", "dtype=bfloat16", "optimizer=rmsprop", "lr=0.001")
    first = next(line for line in lines_of(out) if "split" not in line)
    assert first["loss"] == pytest.approx(math.log(2), abs=2e-3)
    assert {value.dtype for value in weights_of(out / "export").values()} == {torch.bfloat16}


def test_torchrun_starts_two_processes(world: Path, start: Path, tmp_path: Path) -> None:
    worker = Path(__file__).with_name("worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(worker), "sft", str(world), str(start), str(tmp_path), "zero_stage=1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads((tmp_path / "log" / "training.json").read_text())["steps"] == 5


def test_a_loss_that_is_not_finite_stops_the_run_with_its_batch_written_out(world: Path, start: Path, tmp_path: Path) -> None:
    import worker

    (tmp_path / "broken").mkdir()
    for path in start.iterdir():
        (tmp_path / "broken" / path.name).write_bytes(path.read_bytes())
    from safetensors.torch import save_file

    weights = weights_of(start)
    weights["model.norm.weight"] = torch.full((16,), float("nan"))
    save_file(weights, str(tmp_path / "broken" / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(VolumeError, match="the loss of step 1 is nan"):
        worker.train(["sft", str(world), str(tmp_path / "broken"), str(tmp_path / "out")])
    record = json.loads((tmp_path / "out" / "log" / "nonfinite_batch.json").read_text())
    assert record["step"] == 1 and len(record["batch"]) == 5 and record["batch"][0]["ids"][0] == 1


def test_a_checkpoint_that_does_not_fit_the_disk_is_one_clear_error_and_the_run_goes_on_later(
    runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands in for the full disk."""
    import worker

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(VolumeError, match="cannot write a checkpoint below .*Free some space and run the same command again"):
            worker.train(["dpo", str(world), str(start), str(tmp_path)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "log" / "checkpoints").iterdir())
    assert run_workers("dpo", str(world), str(start), str(tmp_path)) == [0]
    assert files_of(tmp_path) == files_of(runs("dpo"))


@pytest.mark.parametrize(("values", "message"), [
    ({"dtype": "bfloat16"}, "wrong first step"), ({"zero_stage": 4}, "expected 0, 1, 2 or 3"), ({"dtype": "float16"}, "training knows"),
])  # fmt: skip
def test_settings_that_deepspeed_gets_wrong_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        deepspeed_config(OptimSettings(lr=1e-3, **values))


def test_a_start_that_was_never_made_is_named_with_its_remedy(world: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "runs" / "sft" / "export", tmp_path / "log", tmp_path / "export", seed=0)
    with pytest.raises(UsageError, match=r"runs/sft/export has no model\. Run the stage that makes it first"):
        tune_on_responses(place, OptimSettings(lr=1e-3), world / "rewards_train_6.json")
