"""Definitions that extend a packaged one, and where they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from volume.command import place_definition
from volume.datasets import as_json, load_definition
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.steps import RUNS_MODEL, build_steps
from volume.topics import find_list


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_what_is_said_replaces_the_packaged_value_and_the_rest_stays(tmp_path: Path) -> None:
    differs = 'name = "mine"\nsplits = ["test", "train", "dpoval", "val"]\n[dpo]\nlr = 1e-5\n[runs.sft]\nlabel = "Supervised"\n'
    mine = load_definition(write(tmp_path, f'extends = "synth"\n{differs}'))
    synth = load_definition("synth")
    assert mine.name == "mine" and mine.splits == ("test", "train", "dpoval", "val")
    assert mine.dpo and synth.dpo and mine.dpo.lr == 1e-5 and mine.dpo.beta == synth.dpo.beta and mine.dpo.order == "shuffled"
    assert mine.runs["sft"].label == "Supervised" and mine.runs["sft"].kind == "sft" and list(mine.runs) == list(synth.runs)


def test_synth_portable_is_synth_but_for_its_name_and_device() -> None:
    portable, synth = as_json(load_definition("synth-portable")), as_json(load_definition("synth"))
    assert {key for key in synth if portable[key] != synth[key]} == {"name", "description", "device"}
    assert portable["device"] == "portable" and synth["device"] == "cpu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "sinth"\n', "Did you mean 'synth'"),
        ('extends = "synth-portable"\nname = "mine"\n', "Extend 'synth'"),
        ('extends = "other.toml"\n', "expected a dataset of this project"),
        ("extends = 3\n", "expected a dataset of this project"),
        ('extends = "synth"\ndevice = "tpu"\n', "device = 'tpu': unknown"),
        ('extends = "synth"\ndevice = "portable"\n[dpo]\noptimizer = "rmsprop"\n', "dpo.optimizer = 'rmsprop': its square roots"),
        ('extends = "synth"\n[dpo]\nlearning_rate = 1\n', "dpo.learning_rate: unknown key"),
    ],
)
def test_what_cannot_be_extended_is_refused_with_the_choices(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=".*") as refused:
        load_definition(write(tmp_path, text))
    assert message in str(refused.value)


def test_where_a_model_runs_is_part_of_what_decides_a_step_s_bytes(tmp_path: Path) -> None:
    for name, expected in (("synth", True), ("bio", False)):
        definition = load_definition(name)
        paths = DatasetPaths(tmp_path / "dataset")
        for step in build_steps(definition, paths, tmp_path).values():
            assert ("device" in step.settings) == (expected and step.module in RUNS_MODEL), step.id


@pytest.mark.parametrize(("header", "base", "n"), [("topic,pronoun", "bio", 10), ("topic,lower_case", "medqa", 6)])
def test_a_list_of_topics_is_a_dataset(tmp_path: Path, header: str, base: str, n: int) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"\ufeff{header}\nAda Albane,\n", encoding="utf-8")
    found, packaged = load_definition(str(path)), load_definition(base)
    assert found.name == "mine" and found.topics and found.topics.path == "mine.csv" and found.topics.splits == {}
    assert packaged.topics and packaged.topics.splits and found.topics.prompt == packaged.topics.prompt
    assert found.responses == packaged.responses and found.responses and found.responses.n == n and found.runs == packaged.runs


def test_a_list_and_its_definition_are_laid_on_the_volume_and_read_there(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("topic\nAda Albane\n")
    (tmp_path / "own.toml").write_text('extends = "bio"\nname = "own"\n[topics]\npath = "mine.csv"\n')
    for dataset in ("own.toml", "mine.csv"):
        volume = tmp_path / dataset.partition(".")[2]
        definition = load_definition(str(tmp_path / dataset))
        place_definition(str(tmp_path / dataset), volume, definition)
        assert {path.name for path in (volume / "definitions").iterdir()} == {dataset, "mine.csv"}
        assert find_list(definition, volume) == volume / "definitions" / "mine.csv"
        assert load_definition(str(volume / "definitions" / dataset)) == definition
