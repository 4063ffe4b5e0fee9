"""The disk that a run needs: known beforehand, and held to the files that DeepSpeed really writes."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dpo.disk import check_space, checkpoint_bytes, export_bytes, run_bytes
from volume.errors import VolumeError
from volume.training_settings import OptimSettings

LLAMA_7B = 6_738_415_616
CASES: dict[int, list[dict[str, Any]]] = {  # by number of processes
    1: [{"zero_stage": 0}, {"zero_stage": 1, "optimizer": "adamw"}, {"zero_stage": 3, "dtype": "bfloat16", "lora_rank": 8}],
    2: [
        {"zero_stage": 0, "optimizer": "adamw", "lora_rank": 8},
        {"zero_stage": 1, "dtype": "bfloat16"},
        {"zero_stage": 2, "dtype": "bfloat16", "optimizer": "adamw", "lora_rank": 8},
        {"zero_stage": 3, "optimizer": "adamw"},
    ],
}


def write_checkpoints(out: Path, rank: int, world: int, port: int) -> None:
    """Write DeepSpeed's checkpoint of a model of about a million parameters for every case, after one step; note its parameters beside it."""
    if world > 1:
        os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{world}", "LOCAL_WORLD_SIZE": f"{world}",
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}  # fmt: skip
    import torch
    import transformers

    from dpo.deepspeed_engine import cast_parameters, open_engine, step
    from dpo.logprobs import Policy
    from dpo.lora import add_adapters
    from dpo.processes import start_processes

    processes = start_processes()
    config = transformers.LlamaConfig(
        vocab_size=1000, hidden_size=128, intermediate_size=344, num_hidden_layers=4, num_attention_heads=4, tie_word_embeddings=True
    )
    for number, values in enumerate(CASES[world]):
        settings = OptimSettings(**values)
        torch.manual_seed(0)
        model = add_adapters(transformers.LlamaForCausalLM(config), settings, seed=0)
        cast_parameters(model, settings.dtype)
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
        engine = open_engine(Policy(model), settings, processes)
        ids = torch.arange(16).view(2, 8)
        engine.backward(engine.module.model(input_ids=ids, labels=ids).loss)
        step(engine, 1.0)
        engine.save_checkpoint(str(out / f"case_{number}"), tag="files")
        processes.barrier()
        if processes.first:
            (out / f"case_{number}.txt").write_text(f"{sum(size for size, _ in sizes)} {sum(size for size, trained in sizes if trained)}")


@pytest.mark.parametrize("world", CASES)
def test_the_size_of_a_checkpoint_is_that_of_deepspeeds_files_within_ten_per_cent(tmp_path: Path, world: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["worker"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = [context.Process(target=write_checkpoints, args=(tmp_path, rank, world, port)) for rank in range(world)]
    for process in group:
        process.start()
    for process in group:
        process.join(240)
        assert process.exitcode == 0
    for number, values in enumerate(CASES[world]):
        parameters, trainable = map(int, (tmp_path / f"case_{number}.txt").read_text().split())
        written = sum(path.stat().st_size for path in (tmp_path / f"case_{number}").rglob("*") if path.is_file())
        assert (trainable < parameters) == ("lora_rank" in values)
        assert checkpoint_bytes(parameters, trainable, OptimSettings(**values)) == pytest.approx(written, rel=0.1), values


def test_seven_billion_parameters_in_bfloat16_with_rmsprop_take_ten_bytes_each() -> None:
    settings = OptimSettings(dtype="bfloat16", zero_stage=2)
    assert checkpoint_bytes(LLAMA_7B, LLAMA_7B, settings) == 10 * LLAMA_7B  # 2 for the weight, 4 for its master, 4 for its mean square
    assert export_bytes(LLAMA_7B, settings) == 2 * LLAMA_7B
    assert run_bytes(LLAMA_7B, LLAMA_7B, settings) == 20 * LLAMA_7B  # one checkpoint replaces the other
    assert run_bytes(LLAMA_7B, LLAMA_7B, settings, candidates=3) == 26 * LLAMA_7B


def test_with_adapters_a_checkpoint_is_hardly_larger_than_the_model() -> None:
    settings = OptimSettings(dtype="bfloat16", zero_stage=3, optimizer="adamw", lora_rank=8)
    assert checkpoint_bytes(1000 + 10, 10, settings) == 1000 * 2 + 10 * (4 + 8)
    assert run_bytes(1000 + 10, 10, settings) == 2 * (2000 + 120)


def test_a_disk_without_room_is_told_with_needed_and_free_space_and_what_helps(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "dpo"  # not made yet
    with pytest.raises(VolumeError) as caught:
        check_space(folder, 2**60, "training dpo")
    message = str(caught.value)
    assert f"training dpo needs 1073741824.0 GiB in {folder}, " in message and "GiB are free" in message
    assert "lora_rank" in message and "fewer candidates" in message and "DATA=" in message
    assert not folder.exists()
    check_space(folder, 1000, "training dpo")


def test_what_an_earlier_attempt_wrote_is_not_needed_again(tmp_path: Path) -> None:
    kept = tmp_path / "checkpoints" / "step_4"
    kept.mkdir(parents=True)
    with (kept / "weights.pt").open("wb") as file:
        file.truncate(2**42)  # a sparse file: its size, not its blocks
    check_space(tmp_path, 2**42 + 1000, "training dpo", already=[tmp_path / "checkpoints", tmp_path / "absent"])
    with pytest.raises(VolumeError):
        check_space(tmp_path, 2**42 + 1000, "training dpo")
