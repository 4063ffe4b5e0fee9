"""Candidates along the way: the steps that choose between them, which command line names which step, what a definition must have."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from volume.choosing import choose_steps
from volume.context import open_context
from volume.datasets import load_definition
from volume.definition_faults import find_faults
from volume.errors import UsageError
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.policy_steps import count_candidates
from volume.settings import Definition
from volume.step import Step
from volume.steps import build_steps

PATHS = DatasetPaths(Path("/v/dataset_synth"))


def with_candidates(number: int, **of_eval: Any) -> Definition:
    definition = load_definition("synth")
    assert definition.dpo is not None
    return dataclasses.replace(
        definition, dpo=dataclasses.replace(definition.dpo, candidates=number), eval=dataclasses.replace(definition.eval, **of_eval)
    )  # fmt: skip


def steps_of(definition: Definition) -> dict[str, Step]:
    return build_steps(definition, PATHS, Path("/v"))


def test_without_candidates_no_step_knows_of_a_choice() -> None:
    steps = steps_of(with_candidates(0))
    assert not [name for name in steps if name.startswith(("choose", "candidate", "select"))]
    assert steps["eval-responses-factscore"].needs == ("world", "pretrain", "train-factscore")
    assert PATHS.choice("factscore") not in steps["report"].inputs()


def test_every_candidate_and_sft_are_sampled_and_scored_on_val_before_the_choice() -> None:
    definition = with_candidates(2)
    steps = steps_of(definition)
    assert [count_candidates(definition, run) for run in ("base", "sft", "factscore")] == [0, 0, 2]
    assert steps["choose-factscore"].needs == (
        "train-factscore", "select-factscore-sft", "candidate-1-factscore-factscore", "candidate-2-factscore-factscore",
    )  # fmt: skip
    assert not [name for name in steps if name in ("choose-sft", "choose-base", "select-responses-factscore")]
    sampled, scored = steps["candidate-2-responses-random"], steps["candidate-2-factscore-random"]
    assert sampled.args == scored.args == ("--run", "random", "--split", "val", "--candidate", "2") and sampled.split == "val"
    assert sampled.needs == ("world", "pretrain", "train-random") and scored.needs == ("world", "candidate-2-responses-random")
    path = Path("/v/dataset_synth/eval/random/candidates/2")
    assert sampled.item_outputs("Ada") == scored.item_inputs("Ada") == [path / "responses" / "Ada_generations.json"]
    assert scored.item_outputs("Ada") == [path / "factscore_outputs" / "Ada_fs_out.json"]
    assert steps["select-responses-sft"].item_outputs("Ada") == [Path("/v/dataset_synth/eval/sft/val/responses/Ada_generations.json")]
    assert PATHS.choice("random") in steps["report"].inputs()
    seen: set[str] = set()
    for step in steps.values():
        assert set(step.needs) <= seen, step.id
        seen.add(step.id)


def test_what_reads_a_run_s_policy_waits_for_the_choice_and_other_steps_are_as_they_were() -> None:
    plain, chosen = steps_of(with_candidates(0)), steps_of(with_candidates(3))
    changed = {name for name, step in plain.items() if (step.args, step.needs, step.settings) != (chosen[name].args, chosen[name].needs, chosen[name].settings)}
    tuned = ("factscore", "max_conf", "exp_conf", "samp_conf", "random", "detail", "flip05", "flip10", "flip20", "factscore_dola")
    assert changed == {f"{step}-{run}" for step in ("eval-responses", "closed-book") for run in tuned}
    assert all(chosen[name].needs == ("world", "pretrain", f"choose-{name.rpartition('-')[2].removesuffix('_dola')}") for name in changed)


def test_evaluating_one_run_brings_its_own_choice_and_no_other() -> None:
    definition = with_candidates(2)
    wanted = choose_steps(steps_of(definition), definition, "eval", "factscore")
    assert "choose-factscore" in wanted and "select-factscore-sft" in wanted and "train-sft" in wanted
    assert not [name for name in wanted if name.endswith(("-random", "-max_conf")) or name == "eval-sft"]
    trained = choose_steps(steps_of(definition), definition, "train", "factscore")
    assert not [name for name in trained if name.startswith(("choose", "candidate", "select"))]


def test_the_models_of_candidates_decide_the_choice_with_their_scores(tmp_path: Path) -> None:
    paths = DatasetPaths(tmp_path / "dataset_synth")
    files = [
        paths.candidates("random"), paths.candidate("random", 1) / "model.safetensors", paths.candidate("random", 2) / "model.safetensors",
        paths.responses("Ada", "sft", "val"), paths.factscore("Ada", "sft", "val"), paths.responses("Ada", "random", "candidates/2"),
        paths.factscore("Ada", "random", "candidates/1"), paths.factscore("Ada", "random", "candidates/2"),
    ]  # fmt: skip
    other = [paths.factscore("Ada", "sft"), paths.factscore("Ada", "random"), paths.candidate("random", 3) / "model.safetensors"]
    for path in (*files, *other):
        write_json(path, {})
    assert set(build_steps(with_candidates(2), paths, tmp_path)["choose-random"].inputs()) == {paths.questions("val"), *files}


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (("responses", "--run", "sft"), "eval-responses-sft"),
        (("responses", "--run", "sft", "--split", "test"), "eval-responses-sft"),
        (("responses", "--run", "sft", "--split", "val"), "select-responses-sft"),
        (("factscore", "--run", "factscore", "--split", "val", "--candidate", "2"), "candidate-2-factscore-factscore"),
        (("responses", "--run", "factscore", "--candidate", "1"), "candidate-1-responses-factscore"),
        (("responses", "--run", "factscore"), "eval-responses-factscore"),
        (("choose", "--run", "factscore"), "choose-factscore"),
        (("evaluate", "--run", "factscore"), "eval-factscore"),
        (("factscore", "--split", "train"), "factscore-train"),
    ],
)
def test_a_command_line_names_one_step(tmp_path: Path, arguments: tuple[str, ...], step: str) -> None:
    ctx = open_stage(tmp_path, *arguments)
    assert ctx.step.id == step
    assert ctx.candidate == (int(arguments[-1]) if "--candidate" in arguments else None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("responses", "--run", "factscore", "--split", "val"), ("responses", "--run", "factscore", "--candidate", "3"), ("responses", "--candidate", "1"),
        ("responses", "--run", "sft", "--split", "val", "--candidate", "1"), ("responses", "--run", "factscore", "--candidate", "1", "--split", "test"),
        ("choose", "--run", "sft"), ("factscore", "--run", "sft", "--split", "train"),
    ],
)  # fmt: skip
def test_a_command_line_that_names_no_step_is_told_what_there_is(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="takes one of: .*--run factscore"):
        open_stage(tmp_path, *arguments)


def open_stage(folder: Path, stage: str, *arguments: str) -> Any:
    """Return the context of a stage of `synth` with two candidates."""
    source = (Path(load_definition.__code__.co_filename).parent / "datasets" / "synth.toml").read_text()
    (folder / "synth.toml").write_text(source.replace("[dpo]\n", "[dpo]\ncandidates = 2\n"))
    for split in ("train", "val", "test"):
        write_json(DatasetPaths(folder / "dataset_synth").questions(split), [])
    return open_context(stage, ["--dataset", str(folder / "synth.toml"), "--data-dir", str(folder), *arguments])


@pytest.mark.parametrize(
    ("number", "of_eval", "fault"),
    [
        (1, {}, "dpo.candidates = 1: expected 2 or more"),
        (-2, {}, "dpo.candidates = -2: expected 2 or more"),
        (2, {"select": "vall"}, "eval.select = 'vall': dpo.candidates = 2 needs it"),
        (2, {"select": "test"}, "eval.select = 'test': it is eval.split"),
        (2, {"select": "train"}, "eval.select = 'train': policies were trained on it"),
        (2, {"keep_correct": 90.0}, "eval.keep_correct = 90: expected a share from 0 to 1"),
        (2, {"more_empty": -1.0}, "eval.more_empty = -1: expected 0 or more"),
    ],
)
def test_a_choice_that_cannot_be_made_is_a_fault_of_the_definition(number: int, of_eval: dict[str, Any], fault: str) -> None:
    (found,) = find_faults(with_candidates(number, **of_eval))
    assert found.startswith(fault)


def test_a_choice_needs_sft_and_without_a_choice_its_settings_are_nobody_s_fault() -> None:
    definition = with_candidates(2)
    alone = dataclasses.replace(definition, runs={name: run for name, run in definition.runs.items() if run.kind in ("base", "dpo")})
    alone = dataclasses.replace(alone, eval=dataclasses.replace(alone.eval, calibrated=()))
    (found,) = find_faults(alone)
    assert "needs a run of kind 'sft'" in found
    assert find_faults(with_candidates(0, select="nowhere")) == find_faults(definition) == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"dtype": "float16"}, "sft.dtype = 'float16': unknown"),
        ({"dtype": "bfloat16"}, "sft.dtype = 'bfloat16': needs sft.zero_stage of 1 to 3, not 0"),
        ({"offload": "disk"}, "sft.offload = 'disk': unknown"),
        ({"offload": "optimizer"}, "sft.offload = 'optimizer': needs sft.zero_stage of 1 to 3, not 0"),
        ({"offload": "parameters", "zero_stage": 2}, "sft.offload = 'parameters': needs sft.zero_stage = 3, not 2"),
        ({"zero_stage": 4}, "sft.zero_stage = 4: expected 0, 1, 2 or 3"),
        ({"lora_rank": -1}, "sft.lora_rank = -1: expected 0"),
        ({"tokens_at_once": 0}, "sft.tokens_at_once = 0: expected 1 or more"),
    ],
)
def test_settings_of_training_that_contradict_each_other_are_faults(settings: dict[str, Any], fault: str) -> None:
    definition = load_definition("synth")
    assert definition.sft is not None
    (found,) = find_faults(dataclasses.replace(definition, sft=dataclasses.replace(definition.sft, **settings)))
    assert found.startswith(fault)


@pytest.mark.parametrize("settings", [{"offload": "optimizer", "zero_stage": 1}, {"offload": "parameters", "zero_stage": 3}, {"dtype": "bfloat16", "zero_stage": 1}])
def test_settings_of_training_that_go_together_are_none(settings: dict[str, Any]) -> None:
    definition = load_definition("synth")
    assert definition.sft is not None
    assert find_faults(dataclasses.replace(definition, sft=dataclasses.replace(definition.sft, **settings))) == []
