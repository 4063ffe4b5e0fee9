"""Dataset definitions: all faults at once, near names, another seed is another dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import volume.datasets
from volume.choosing import choose_steps
from volume.datasets import as_json, known_datasets, load_definition, main, show_settings
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.requirements import missing_requirements
from volume.steps import asks_service, build_steps


@pytest.mark.parametrize("name", known_datasets())
def test_every_packaged_definition_is_valid(name: str) -> None:
    definition = load_definition(name)
    assert definition.name == name
    assert build_steps(definition, DatasetPaths(Path("/v")), Path("/v"))


@pytest.mark.parametrize(("name", "number", "spans"), [("bio", 11, "entities"), ("medqa", 7, "noun_chunks")])
def test_the_papers_datasets_ask_after_examples_of_one_line_each(name: str, number: int, spans: str) -> None:
    definition = load_definition(name)
    answers = definition.answers
    assert answers is not None
    lines = answers.prefix.split("\n")
    assert lines.pop() == "" and len(lines) == len(set(lines)) == number
    for line in lines:  # the form in which a question is asked, then the answer, shorter than what is sampled
        question, answer = line.split("? ")
        assert question and 0 < len(answer.split()) <= 10 < answers.max_new_tokens and not answer.endswith(".")
    assert (answers.prompt, answers.stop, answers.n, answers.temperature, answers.top_p, answers.top_k) == ("{question}", ("\n",), 20, 1.0, 0.9, 50)
    entities = definition.entities
    assert (entities.enabled, entities.backend, entities.spans, entities.n, entities.top_p, entities.top_k) == (False, "spacy", spans, 20, 0.9, 50)


def test_an_unknown_dataset_lists_near_names() -> None:
    with pytest.raises(UsageError, match="Did you mean 'synth'"):
        load_definition("sinth")
    with pytest.raises(UsageError, match="no such file"):
        load_definition("missing.toml")


def test_all_faults_of_a_definition_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "x"\nsplits = ["train", "test"]\n[facts]\nbackendd = "grammar"\n[answers]\nmodel = "nobody"\nn = "20"\nmax_new_tokens = 5\n'
    )
    with pytest.raises(UsageError) as caught:
        load_definition(str(path))
    message = str(caught.value)
    assert "facts.backendd: unknown key. Did you mean 'backend'?" in message
    assert "facts.backend: missing" in message
    assert "answers.n = '20': expected int" in message


def test_values_that_contradict_each_other_are_faults(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "x"\nsplits = ["train"]\n[answers]\nmodel = "nobody"\nn = 20\nmax_new_tokens = 5\n'
        '[rewards]\nmodule = "/mine.py"\n[entities]\nmodel = "../en"\n[models.m]\npath = "m"\ndevice_map = "all"\n'
        '[facts]\nbackend = "magic"\n[runs.a]\nlabel = "A"\n[runs."a.b"]\nlabel = "B"\nreward = "random"\n[eval]\nsplit = "test"\n'
    )
    with pytest.raises(UsageError) as caught:
        load_definition(str(path))
    for part in ("answers.model = 'nobody'", "facts.backend = 'magic'", "runs.a.reward: missing", "runs.a.b: expected letters", "eval.split = 'test'",
                 "rewards.module = '/mine.py'", "entities.model = '../en'", "models.m.device_map = 'all'"):  # fmt: skip
        assert part in str(caught.value)


def test_a_broken_toml_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(UsageError, match="bad.toml is not valid TOML"):
        load_definition(str(tmp_path / "bad.toml"))


def test_another_seed_or_scale_is_another_dataset_with_a_folder_of_its_own() -> None:
    assert load_definition("synth", seed=0).name == "synth"
    assert load_definition("synth", seed=3).name == "synth-seed3"
    assert load_definition("synth", seed=3, scale=0.1).name == "synth-scale0.1-seed3"
    with pytest.raises(UsageError, match="SCALE=0"):
        load_definition("synth", scale=0)
    with pytest.raises(UsageError, match="SCALE=2"):
        load_definition("bio", scale=2)


def test_steps_come_after_what_they_need() -> None:
    steps = build_steps(load_definition("synth"), DatasetPaths(Path("/v")), Path("/v"))
    seen: set[str] = set()
    for step in steps.values():
        assert set(step.needs) <= seen, step.id
        seen.add(step.id)


def test_a_goal_brings_what_it_needs_and_no_more() -> None:
    definition = load_definition("synth")
    steps = build_steps(definition, DatasetPaths(Path("/v")), Path("/v"))
    assert list(choose_steps(steps, definition, "factscore")) == [
        "world", "pretrain", "responses-train", "factscore-train", "responses-dpoval", "factscore-dpoval",
    ]  # fmt: skip
    trained = choose_steps(steps, definition, "train", "factscore")
    assert [name for name in trained if name.startswith("train-")] == ["train-sft", "train-factscore"]
    with pytest.raises(UsageError, match="RUNS=factscor.*Did you mean 'factscore'"):
        choose_steps(steps, definition, "train", "factscor")
    with pytest.raises(UsageError, match="no stage 'entities'"):
        choose_steps(steps, definition, "entities")


def test_bio_says_what_it_needs_and_synth_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    paths = DatasetPaths(tmp_path / "dataset_x")

    def missing(name: str) -> list[str]:
        definition = load_definition(name)
        steps = choose_steps(build_steps(definition, paths, tmp_path), definition, "rewards")
        return [item.what for item in missing_requirements(definition, paths, tmp_path, list(steps.values()))]

    assert missing("synth") == []
    found = " | ".join(missing("bio"))
    for part in (
        "models/llama-7b", "models/inst-llama-7b", "models/npm-single", "models/gtr-t5-large",
        "enwiki-20230401.db", "OPENAI_API_KEY", "an NVIDIA GPU",
    ):  # fmt: skip
        assert part in found
    assert "llama-2" not in found  # defined, but nothing that runs loads it
    assert "questions_per_topic" not in found  # made from the list


def test_a_sampler_behind_a_server_needs_no_weights_and_its_step_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    bio = Path(volume.datasets.__file__).parent / "datasets" / "bio.toml"
    given = bio.read_text().replace("[answers]\n", '[answers]\nbackend = "openai"\n').replace('calibrated = ["sft", "factscore"]', "")
    given = given.replace("[questions]\n", '[questions]\nexamples = "prompts/mine.json"\n')
    given += '[completions]\nbase_url = "http://127.0.0.1:9/v1"\n[rewards]\nmodule = "mine.py"\n'
    (tmp_path / "served.toml").write_text(given)
    definition = load_definition(str(tmp_path / "served.toml"))
    paths = DatasetPaths(tmp_path / "dataset_bio")
    steps = build_steps(definition, paths, tmp_path)
    names = ("answers-train", "questions-train", "responses-train", "rewards-train")
    wanted = {name: [item.what for item in missing_requirements(definition, paths, tmp_path, [steps[name]])] for name in names}
    assert not any("llama" in what or "OPENAI_API_KEY" in what for what in wanted["answers-train"])
    assert any("models/llama-7b" in what for what in wanted["responses-train"])
    assert "rewards of one's own mine.py" in wanted["rewards-train"] and "examples of questions prompts/mine.json" in wanted["questions-train"]
    assert {name for name, step in steps.items() if asks_service(step, definition)} >= {"questions-train", "answers-train"}
    assert not asks_service(steps["responses-train"], definition) and not asks_service(steps["rewards-train"], definition)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"topic": "Ada"', "is not valid JSON"),
        ('[{"topic": "Ada", "topic_id": 0}]', "$[0] lacks the field 'questions'"),
        ('[{"topic": "Ada", "topic_id": 0, "questions": ["Q?"]}, {"topic": "Ada", "topic_id": 1, "questions": ["Q?"]}]', "topic 'Ada' comes twice"),
    ],
)
def test_a_users_own_questions_file_is_checked_before_anything_starts(tmp_path: Path, text: str, fault: str) -> None:
    paths = DatasetPaths(tmp_path / "dataset_bio")
    listed = load_definition("bio")
    for definition, place, step in (
        (dataclasses.replace(listed, topics=None), paths.questions("train"), "responses-train"),
        (listed, paths.given / "questions_per_topic_train.json", "topics"),
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        found = [item.what for item in missing_requirements(definition, paths, tmp_path, [build_steps(definition, paths, tmp_path)[step]])]
        assert any(what.startswith(f"questions file {place.relative_to(tmp_path)}") and fault in what for what in found)


def test_a_questions_file_that_was_not_made_here_is_never_written_over(tmp_path: Path) -> None:
    definition, paths = load_definition("bio"), DatasetPaths(tmp_path / "dataset_bio")
    paths.root.mkdir()
    paths.questions("test").write_text('[{"topic": "Ada", "topic_id": 0, "questions": ["Q?"]}]')
    step = build_steps(definition, paths, tmp_path)["topics"]
    found = {item.what: item.remedy for item in missing_requirements(definition, paths, tmp_path, [step])}
    assert "given/questions_per_topic_test.json" in found["another place for dataset_bio/questions_per_topic_test.json, which was not made here"]


def test_settings_become_plain_json_values() -> None:
    value = as_json(load_definition("synth"))
    assert value["answers"]["stop"] == ["."] and value["runs"]["sft"]["kind"] == "sft"


def test_settings_are_shown_in_one_line_without_their_defaults() -> None:
    definition = load_definition("synth", seed=4)
    shown = show_settings(definition, ("sft", "world", "runs.random.reward", "seed"))
    assert shown == "sft(lr=0.0001, batch_size=32, optimizer='adamw', warmup_steps=0) world() runs.random.reward='random' seed=4"
    assert show_settings(definition, ("models",)) == "models{base (path='models/base')}"
    assert "stop=['.']" in show_settings(definition, ("answers",))


def test_the_folder_of_a_dataset_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`make clean` deletes what this prints: never the folder of another seed."""
    assert main(["--dataset", "synth", "--seed", "3", "--scale", "2"]) == 0
    assert capsys.readouterr().out == "dataset_synth-scale2-seed3\n"
    assert main(["--dataset", "sinth"]) == 2
    assert capsys.readouterr().out == ""
