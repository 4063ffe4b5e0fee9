"""Which process of a launch this one is, whoever launched it, and what the ranks of a launch find out from each other's locks."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from rank_stage import make_volume, outputs, run, start, told

from volume.cards import choose_card
from volume.context import Context
from volume.ranks import Rank, StepHold, this_rank
from volume.stage import run_topics


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing has launched this process yet."""
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"]
    for name in [*names, *(name for name in os.environ if name.startswith("SLURM_"))]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_each_launcher_s_variables_say_the_same(launcher: pytest.MonkeyPatch) -> None:
    def told_by(**variables: str) -> Rank:
        with launcher.context() as context:
            for name, value in variables.items():
                context.setenv(name, value)
            return this_rank()

    torchrun = told_by(RANK="3", WORLD_SIZE="4", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", MASTER_ADDR="a", MASTER_PORT="5", TORCHELASTIC_RUN_ID="x")
    assert torchrun == Rank(3, 4, "x/a/5", os.getppid(), local=1, one_host=False)
    deepspeed = told_by(RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", LOCAL_SIZE="2", MASTER_ADDR="a", MASTER_PORT="5")
    assert deepspeed == Rank(1, 2, "/a/5", local=1, one_host=True)
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
    assert told_by(**step) == Rank(3, 4, "7/1/", local=1, one_host=False)
    assert told_by(**step, RANK="0", WORLD_SIZE="1") == Rank()  # torchrun inside a job step: its word counts


def test_a_process_that_srun_did_not_start_is_alone_even_in_a_job_of_many_tasks(launcher: pytest.MonkeyPatch) -> None:
    """As in a batch script, where Slurm sets the job's number of tasks, and 0 for the one process that there is."""
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}.items():
        launcher.setenv(name, value)
    assert this_rank() == Rank()
    launcher.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert this_rank() == Rank()


def test_tasks_of_srun_share_the_topics_out_as_ranks_of_torchrun_do(tmp_path: Path) -> None:
    alone, volume = make_volume(tmp_path / "alone"), make_volume(tmp_path / "tasks")
    assert run(alone) == [0]
    processes = [
        start(volume, SLURM_JOB_ID="7", SLURM_STEP_ID="0", SLURM_PROCID=f"{task}", SLURM_LOCALID=f"{task}", SLURM_STEP_NUM_TASKS="2") for task in range(2)
    ]
    assert [process.communicate() and process.returncode for process in processes] == [0, 0]
    assert outputs(volume) == outputs(alone) and told(volume) == told(alone)


def test_what_the_first_rank_says_of_the_step_counts_until_the_launch_has_ended(tmp_path: Path) -> None:
    first, second = (StepHold(tmp_path, "step", Rank(number, 2, "a")) for number in range(2))
    with first, second:
        assert second.agrees("these inputs") and first.agrees("these inputs") and not first.agrees("others")
    with StepHold(tmp_path, "step", Rank(1, 2, "a")) as again:
        assert again.agrees("others")


def test_while_one_rank_has_its_turn_the_next_one_waits(tmp_path: Path) -> None:
    first, second = (StepHold(tmp_path, "step", Rank(number, 2, "a")) for number in range(2))
    order: list[str] = []

    def take_turn() -> None:
        with second.in_turn():
            order.append("second")

    with first, second:
        thread = threading.Thread(target=take_turn)
        with first.in_turn():
            thread.start()
            thread.join(0.1)
            order.append("first")
        thread.join()
    assert order == ["first", "second"]


def test_a_task_of_srun_takes_the_card_of_its_number_on_the_host(launcher: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "8", "LOCAL_RANK": ""}.items():
        launcher.setenv(name, value)  # the last one so that it is put back
    launcher.delenv("LOCAL_RANK")
    cards: list[int] = []

    def prepare(_context: Context) -> Any:
        cards.append(choose_card(4))
        return lambda topics: {topic["topic"]: [[]] for topic in topics}

    argv = ["--dataset", "synth", "--data-dir", str(make_volume(tmp_path)), "--split", "train"]
    assert run_topics("questions", prepare, argv=argv) == 0 and cards == [1]
