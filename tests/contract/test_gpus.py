"""GPUS=4: which steps are started by torchrun, with what command, and which card each process takes."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from volume.cards import can_run, check_card, choose_card
from volume.command import count_processes, stage_command
from volume.datasets import load_definition
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.steps import build_steps


def test_each_process_takes_the_card_of_its_rank_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_card(2) == 1
    with pytest.raises(UsageError, match=r"LOCAL_RANK=1.* 1 visible"):
        choose_card(1)
    monkeypatch.delenv("LOCAL_RANK")
    assert choose_card(1) == 0


def commands(gpus: int, **sections: Any) -> dict[str, list[str]]:
    """Return the command of every step of `bio`, some of its sections replaced."""
    definition = dataclasses.replace(load_definition("bio"), **sections)
    given = argparse.Namespace(dataset="bio", gpus=gpus, seed=None, scale=None, limit=7, llm_mode="record", max_cost=None)
    steps = build_steps(definition, DatasetPaths(Path("data/dataset_bio")), Path("data"))
    return {step.id: stage_command(step, definition, given) for step in steps.values()}


def test_steps_that_run_or_train_a_model_are_started_once_for_each_gpu() -> None:
    one, four = commands(1), commands(4)
    assert all(command[:2] == ["python", "-m"] and not {"torch.distributed.run", "dpo.torchrun"} & {*command} for command in one.values())
    shared = {name for name, command in four.items() if "torch.distributed.run" in command}
    assert {name.rpartition("-")[0] for name in shared} >= {"responses", "factscore", "answers", "eval-responses", "eval-factscore"}
    trained = {name for name, command in four.items() if "dpo.torchrun" in command}
    assert trained == {name for name in four if name.startswith("train-")} and "train-sft" in trained
    for name in shared | trained:
        end = four[name].index("--nproc_per_node")
        assert four[name][end + 1 : end + 4] == ["4", "-m", "--"] and four[name][end + 4 :] == one[name][2:]  # what follows is the step's own command
    alone = four.keys() - shared - trained
    assert {name: four[name] for name in alone} == {name: one[name] for name in alone}
    assert {name.partition("-")[0] for name in alone} >= {"questions", "rewards", "report"}


def test_the_base_model_of_a_world_is_trained_by_one_process_so_that_all_that_is_sampled_from_it_is_the_same() -> None:
    definition = load_definition("synth")
    given = argparse.Namespace(dataset="synth", gpus=4, seed=None, scale=None, limit=None, llm_mode="record", max_cost=None)
    steps = build_steps(definition, DatasetPaths(Path("data/dataset_synth")), Path("data"))
    assert stage_command(steps["pretrain"], definition, given)[:3] == ["python", "-m", "dpo.pretrain"]
    assert count_processes(steps["train-sft"], definition, 4) == 4


def test_a_step_that_only_asks_a_service_is_started_once() -> None:
    bio = load_definition("bio")
    assert bio.verifier and bio.retrieval and bio.answers
    asking = {"verifier": dataclasses.replace(bio.verifier, backend="llm", npm=False), "retrieval": dataclasses.replace(bio.retrieval, backend="bm25")}
    asking["answers"] = dataclasses.replace(bio.answers, backend="openai")
    found = commands(4, **asking)
    assert [name for name in found if name.startswith(("factscore-", "answers-")) and "torch.distributed.run" in found[name]] == []
    assert "torch.distributed.run" in found["responses-train"]


def test_an_estimate_is_one_process_whatever_the_step() -> None:
    definition = load_definition("bio")
    given = argparse.Namespace(dataset="bio", gpus=4, seed=None, scale=None, limit=None, llm_mode="record", max_cost=None)
    step = build_steps(definition, DatasetPaths(Path("data/dataset_bio")), Path("data"))["factscore-train"]
    assert stage_command(step, definition, given, "factscoring.estimate")[:3] == ["python", "-m", "factscoring.estimate"]


@pytest.mark.parametrize(
    ("capability", "built", "expected"),
    [
        ((9, 0), ["sm_37", "sm_80", "sm_86"], False),  # the paper stack's torch on Hopper
        ((8, 9), ["sm_80", "sm_86"], True),  # the same major, a lower minor
        ((8, 0), ["sm_86"], False),  # a higher minor
        ((9, 0), ["sm_86", "compute_86"], True),  # PTX is compiled for later cards
        ((8, 0), ["compute_86"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_90a", "sm_100"], True),
        ((10, 3), ["sm_100a"], False),  # code of that card alone
        ((8, 0), [], False),
    ],
)
def test_code_runs_on_its_own_major_capability_and_ptx_on_every_later_one(capability: tuple[int, int], built: list[str], expected: bool) -> None:
    assert can_run(capability, built) is expected


def test_the_message_of_a_card_without_code_names_the_card_its_capability_and_the_stack() -> None:
    with pytest.raises(UsageError) as caught:
        check_card("NVIDIA H100", (9, 0), ["sm_80", "sm_86"], "1.13.1")
    assert all(part in str(caught.value) for part in ("NVIDIA H100", "SM 9.0", "sm_80, sm_86", "STACK=current"))
