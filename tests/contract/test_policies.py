"""Policies of a definition: what each descends from, what makes it, which are run unasked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from volume.choosing import choose_runs, choose_steps
from volume.datasets import known_datasets, load_definition
from volume.definition_faults import find_faults
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.policy_steps import is_tuned, policy_folder, run_model, start_run, supervised_run
from volume.requirements import missing_requirements
from volume.settings import DecoderSettings, Definition, RunSettings
from volume.steps import build_steps

DATA = Path("/volume")
PATHS = DatasetPaths(DATA / "dataset_bio")


def with_run(name: str, **settings: object) -> Definition:
    definition = load_definition("bio")
    return dataclasses.replace(definition, runs={**definition.runs, name: RunSettings(label="x", **settings)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "start", "supervised", "model"),
    [
        ("base", "", "sft", "llama1"),
        ("factscore", "sft", "sft", "llama1"),
        ("factscore_dola", "factscore", "sft", "llama1"),
        ("llama2_sft", "", "llama2_sft", "llama2"),
        ("llama2_factscore", "llama2_sft", "llama2_sft", "llama2"),
        ("llama2_factscore_dola", "llama2_factscore", "llama2_sft", "llama2"),
        ("chat", "", "chat_sft", "llama2-chat"),
        ("chat_dola", "chat", "chat_sft", "llama2-chat"),
        ("chat_max_conf", "chat_sft", "chat_sft", "llama2-chat"),
    ],
)
def test_a_policy_descends_from_its_start_and_is_compared_with_the_supervised_run_of_its_model(run: str, start: str, supervised: str, model: str) -> None:
    definition = load_definition("bio")
    assert (start_run(definition, run), supervised_run(definition, run), run_model(definition, run)) == (start, supervised, model)


def test_a_decoded_policy_is_its_start_s_and_a_model_as_it_is_lies_where_it_was_put() -> None:
    definition = load_definition("bio")
    folders = {run: policy_folder(definition, PATHS, DATA, run) for run in ("factscore_dola", "dola", "chat", "chat_dola", "base")}
    assert folders["factscore_dola"] == PATHS.export("factscore") and folders["dola"] == PATHS.export("sft")
    assert folders["chat"] == folders["chat_dola"] == DATA / "models/llama-2-7b-chat" and folders["base"] == DATA / "models/llama-7b"
    assert not is_tuned(definition, "chat_dola") and is_tuned(definition, "dola")


def test_the_steps_of_a_policy_wait_for_what_makes_it() -> None:
    definition = load_definition("bio")
    steps = build_steps(definition, PATHS, DATA)
    assert "train-dola" not in steps and "train-chat" not in steps
    assert steps["eval-responses-factscore_dola"].needs == ("train-factscore",)
    assert steps["probes-iti"].needs == ("factscore-train", "train-sft") and steps["eval-responses-iti"].needs == ("train-sft", "probes-iti")
    assert "train-llama2_sft" in steps["train-llama2_factscore"].needs and "decoders.iti" in steps["eval-responses-iti"].settings
    assert steps["eval-responses-chat"].needs == () and "decoders.dola" in steps["eval-responses-chat_dola"].settings


def test_extra_policies_are_run_where_they_are_named_only() -> None:
    definition = load_definition("bio")
    assert choose_runs(definition) == {"base", "sft", "factscore", "max_conf", "exp_conf"}
    assert choose_runs(definition, runs="llama2_dola") == {"llama2_dola"} and choose_runs(definition, runs="all") == set(definition.runs)
    assert choose_runs(definition, reward="aq_max_conf_avg") == {"max_conf", "llama2_max_conf", "chat_max_conf"}
    steps = build_steps(definition, PATHS, DATA)
    chosen = choose_steps(steps, definition, "eval", "llama2_dola")
    assert "train-llama2_sft" in chosen and "train-sft" not in chosen and "train-llama2_factscore" not in chosen
    assert "eval-llama2_dola" not in choose_steps(steps, definition, "report")


def test_only_the_models_of_the_policies_that_are_asked_for_are_needed(tmp_path: Path) -> None:
    definition, paths = load_definition("bio"), DatasetPaths(tmp_path / "dataset_bio")
    steps = build_steps(definition, paths, tmp_path)

    def needed(runs: str) -> str:
        chosen = choose_steps(steps, definition, "eval", runs)
        return " ".join(item.what for item in missing_requirements(definition, paths, tmp_path, list(chosen.values())))

    assert "llama-2" not in needed("sft") and "models/llama-2-7b " in needed("llama2_sft") and "models/llama-2-7b-chat" not in needed("llama2_sft")
    assert "models/llama-2-7b-chat" in needed("chat")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"kind": "decode", "start": "sft"}, "runs.new.decoder: missing"),
        ({"kind": "decode", "start": "sft", "decoder": "dolla"}, "runs.new.decoder = 'dolla': not under [decoders]. Did you mean 'dola'?"),
        ({"kind": "decode", "start": "later", "decoder": "dola"}, "runs.new.start = 'later': no run of that name stands above it"),
        ({"kind": "decode", "start": "dola", "decoder": "iti"}, "runs.new.start = 'dola': is decoded by a decoder itself"),
        ({"kind": "sft", "start": "sft"}, "runs.new.start = 'sft': a run of kind 'sft' starts from a model"),
        ({"kind": "dpo", "start": "sft", "model": "llama2", "reward": "random"}, "runs.new: start and model are both given"),
        ({"kind": "base", "decoder": "dola"}, "runs.new.decoder = 'dola': give it to a run of kind 'decode'"),
        ({"kind": "sft", "reward": "random"}, "runs.new.reward = 'random': only a run of kind 'dpo'"),
        ({"kind": "base", "model": "llama3"}, "runs.new.model = 'llama3': not under [models]"),
        ({"kind": "ppo"}, "runs.new.kind = 'ppo': expected base, sft, dpo or decode"),
    ],
)
def test_what_does_not_go_together_in_a_policy_is_a_fault(settings: dict[str, object], fault: str) -> None:
    (found,) = find_faults(with_run("new", **settings))
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("decoder", "fault"),
    [
        (DecoderSettings("dora"), "kind = 'dora': expected dola or iti"),
        (DecoderSettings("dola", layers="middle"), "layers = 'middle': expected low, high, or numbers"),
        (DecoderSettings("dola", alpha=0.0), "alpha = 0: expected a share"),
        (DecoderSettings("dola", repetition_penalty=0.5), "repetition_penalty = 0.5: expected 1 (none) or more"),
        (DecoderSettings("iti", heads=0), "heads = 0: expected 1 or more"),
    ],
)
def test_a_decoder_s_faults_are_named(decoder: DecoderSettings, fault: str) -> None:
    definition = load_definition("bio")
    (found,) = find_faults(dataclasses.replace(definition, decoders={**definition.decoders, "mine": decoder}))
    assert found.startswith(f"decoders.mine.{fault}")
    assert find_faults(dataclasses.replace(definition, decoders={**definition.decoders, "mine": DecoderSettings("dola", layers="0, 2,4")})) == []


def test_an_unknown_run_is_refused_with_the_near_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'llama2_sft'"):
        choose_runs(load_definition("bio"), runs="lama2_sft")


@pytest.mark.parametrize("name", [name for name in known_datasets() if name.startswith(("bio", "medqa"))])
def test_the_papers_datasets_judge_what_they_evaluate_by_a_second_verifier(name: str) -> None:
    definition = load_definition(name)
    assert definition.verifier and {judge.backend for judge in definition.judges.values()} - {definition.verifier.backend}
    assert (definition.relevance is not None) == name.startswith("medqa")
