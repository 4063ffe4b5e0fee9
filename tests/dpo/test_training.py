"""Training for real, on a model of a few thousand parameters: whole runs, kills, faults, export."""

from __future__ import annotations

import json
import math
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy import files_of, lines_of, run_workers, weights_of

from dpo.job import candidate_steps
from dpo.models import load_model, new_model
from dpo.tuning import Place, tune_on_responses
from volume.errors import UsageError, VolumeError
from volume.training_settings import OptimSettings


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


def test_dpo_starts_at_ln_2_and_learns_the_training_pairs(runs: Callable[..., Path]) -> None:
    lines = lines_of(runs("dpo"))
    training = [line for line in lines if "split" not in line]
    held_out = [line for line in lines if "split" in line]
    assert training[0]["step"] == 1
    assert training[0]["loss"] == round(math.log(2), 9)
    assert training[0]["chosen_reward"] == training[0]["rejected_reward"] == 0.0
    assert training[-1]["loss"] < 0.65
    assert list(training[0]) == [
        "step", "examples", "loss", "lr", "chosen_reward", "rejected_reward", "margin", "accuracy", "chosen_logp", "rejected_logp", "grad_norm",
    ]  # fmt: skip
    assert [line["step"] for line in training] == [1, 3, 6, 9, 12]
    assert [line["step"] for line in held_out] == [0, 5, 10, 12]
    assert held_out[0]["loss"] == round(math.log(2), 9)
    assert held_out[0]["kl"] == 0.0 < held_out[-1]["kl"]
    assert all(0 <= line["sampled_empty"] <= 1 and 0 < line["sampled_tokens"] < 40 for line in held_out)
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


def test_a_start_that_was_never_made_is_named_with_its_remedy(world: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "runs" / "sft" / "export", tmp_path / "log", tmp_path / "export", seed=0)
    with pytest.raises(UsageError, match=r"runs/sft/export has no model\. Run the stage that makes it first"):
        tune_on_responses(place, OptimSettings(lr=1e-3), world / "rewards_train_6.json")


def test_candidates_are_kept_at_even_steps_in_place_of_the_export_and_outlive_a_kill(
    runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path
) -> None:
    out = runs("dpo", "candidates=3")
    assert not (out / "export").exists()
    assert json.loads((out / "candidates" / "candidates.json").read_text()) == {"steps": [4, 8, 12]}
    kept = [weights_of(out / "candidates" / str(number)) for number in (1, 2, 3)]
    final = weights_of(runs("dpo") / "export")
    assert all(torch.equal(kept[2][name], value) for name, value in final.items())
    assert not any(torch.equal(kept[one][name], kept[other][name]) for one, other in ((0, 1), (1, 2)) for name in ("model.embed_tokens.weight",))
    assert (out / "candidates" / "1" / "tokenizer.json").read_bytes() == (start / "tokenizer.json").read_bytes()
    for steps in (6, 5):
        assert run_workers("dpo", str(world), str(start), str(tmp_path), "candidates=3", f"kill_at={steps}") == [-signal.SIGKILL]
    assert run_workers("dpo", str(world), str(start), str(tmp_path), "candidates=3") == [0]
    assert files_of(tmp_path) == files_of(out)


def test_candidates_are_no_more_than_steps() -> None:
    assert candidate_steps(4, 202) == [50, 101, 152, 202]
    assert candidate_steps(3, 3) == [1, 2, 3]
    assert candidate_steps(0, 10) == []
    with pytest.raises(UsageError, match=r"dpo\.candidates = 5, but the run takes 3 step"):
        candidate_steps(5, 3)


def test_runs_from_one_model_share_its_reference_and_a_deleted_one_is_computed_again_by_the_reference(
    runs: Callable[..., Path], world: Path, start: Path, tmp_path: Path
) -> None:
    assert run_workers("dpo", str(world), str(start), str(tmp_path), "kill_at=6") == [-signal.SIGKILL]
    (kept,) = (tmp_path / "references").glob("*.json")
    before = kept.read_bytes()
    kept.unlink()  # the policy has been trained since: only the start's weights may answer
    assert run_workers("dpo", str(world), str(start), str(tmp_path)) == [0]
    assert kept.read_bytes() == before
    assert files_of(tmp_path) == files_of(runs("dpo"))


def test_adapters_alone_are_trained_and_the_export_is_a_whole_model(runs: Callable[..., Path], start: Path) -> None:
    out = runs("dpo", "lora_rank=2", "lr=0.05")
    lines = [line for line in lines_of(out) if "split" not in line]
    assert lines[0]["loss"] == round(math.log(2), 9) and lines[-1]["loss"] < 0.69
    facts = json.loads((out / "log" / "training.json").read_text())["facts"]
    assert 0 < facts["trained_parameters"] < facts["parameters"]
    before, after = weights_of(start), weights_of(out / "export")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj." in name}
    load_model(out / "export")
