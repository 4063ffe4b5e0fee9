"""What the report calls a dataset's topics: people where all of them are, else topics; one of them in the singular."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from choice_volume import read_choice, run_choose, write_volume
from fake_volume import make_volume

from confscoring.choose import describe
from confscoring.report_page import render
from confscoring.report_words import are_people
from volume.datasets import load_definition
from volume.paths import DatasetPaths
from volume.records import Topic
from volume.steps import build_steps

# No text of the page has these words where the topics are no people, in whatever element or attribute.
OF_PEOPLE = re.compile(r"\b(people|persons?|whom|somebody|body else)\b", re.IGNORECASE)
OFF_TOPIC = {"atom": "Lead is heavy.", "status": "off_topic", "verdict": ""}


def topic(pronoun: str | None) -> Topic:
    entry: Topic = {"topic": "x", "topic_id": 0, "questions": ["?"]}
    return entry if pronoun is None else {**entry, "pronoun": pronoun}


def report_on(data_dir: Path, pronouns: dict[str, str | None]) -> tuple[dict[str, Any], str]:
    """Return summary.json and the page of a dataset without a world, whose topics of each split have that pronoun."""
    definition = data_dir / "mine.toml"
    definition.write_text(
        'description = "a few"\nsplits = ["train", "test"]\n[runs.sft]\nkind = "sft"\nlabel = "SFT"\n'
        '[runs.factscore]\nlabel = "FactTune-FS"\nreward = "factscore_avg"\n[eval]\nbootstrap = 100\n'
    )
    source = make_volume(data_dir, people=8, policies=("sft", "factscore"), n=2)
    root = data_dir / "dataset_mine"
    for run in ("sft", "factscore"):
        shutil.copytree(source.eval(run), root / "eval" / run, ignore=shutil.ignore_patterns("closed_book.json"))
    shutil.copytree(source.root / "rewards", root / "rewards")
    for split, pronoun in pronouns.items():
        rows = [{key: value for key, value in row.items() if key != "pronoun"} for row in json.loads(source.questions(split).read_text())]
        (root / source.questions(split).name).write_text(json.dumps([row if pronoun is None else {**row, "pronoun": pronoun} for row in rows]))
    for name, arguments in (("evaluate", ["--run", "sft"]), ("evaluate", ["--run", "factscore"]), ("report", [])):
        command = [sys.executable, "-m", f"confscoring.{name}", "--dataset", str(definition), "--data-dir", str(data_dir), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return json.loads((root / "report" / "summary.json").read_text()), (root / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The numbers of a report on topics without pronouns, with all that a page may have to say: choices, failures, text about others."""
    found, _ = report_on(tmp_path_factory.mktemp("data"), {"train": None, "test": None})
    paths = write_volume(tmp_path_factory.mktemp("choice"), {"Ada": [(2, 2)], "Bo": [(2, 2)]}, [{"Ada": [(2, 1)], "Bo": [(2, 1)]}] * 2)
    assert run_choose(paths) == 0
    found["choices"] = {"factscore": {**read_choice(paths), "missing": ["Cy"]}}
    found["confidence"]["left_out"] = {"off_topic": 3}
    found["runs"][0]["missing"] = ["Cy"]
    for marked in found["examples"]["sft"]:
        marked["facts"].append(OFF_TOPIC)
    return found


def test_topics_are_people_where_each_has_a_persons_pronoun() -> None:
    assert are_people([topic("she"), topic("her"), topic("they")])
    assert not are_people([topic("she"), topic(None)]) and not are_people([topic("she"), topic("")])
    assert not are_people([topic("it")]) and not are_people([])


@pytest.mark.parametrize(("train", "test", "people"), [("her", "him", True), (None, None, False), ("it", "it", False), (None, "her", False)])
def test_the_pronouns_of_all_splits_decide_and_only_topics_are_noted(tmp_path: Path, train: str | None, test: str | None, people: bool) -> None:
    found, page = report_on(tmp_path, {"train": train, "test": test})
    assert found.get("about_people", "not noted") == ("not noted" if people else False)
    assert (" people of the split “test”" in page) == people == bool(OF_PEOPLE.search(page))


def test_a_page_on_topics_speaks_of_people_nowhere(numbers: dict[str, Any]) -> None:
    page = render(numbers)
    assert OF_PEOPLE.findall(page) == []
    assert f"{numbers['people']} topics of the split “test”" in page and "On 2 topics of the split “val”, none of which the results" in page
    assert "3 that are about something else" in page and "about some-<br>thing else" in page and "about something else, counts as incorrect" in page
    assert "Topics without scored responses, left out: SFT 1" in page and "; topics without scored responses, left out: 1" in page
    assert page.count("intervals over topics") == 2 and "95 % interval over topics" in page and " per question <small>" in page


def test_the_same_page_on_people_speaks_of_people(numbers: dict[str, Any]) -> None:
    page = render({key: value for key, value in numbers.items() if key != "about_people"})
    assert f"{numbers['people']} people of the split “test”" in page and "On 2 people of the split “val”, none of whom the results" in page
    assert "3 that are about somebody else" in page and "about some-<br>body else" in page and "about somebody else, counts as incorrect" in page
    assert "People without scored responses, left out: SFT 1" in page and "other person" in page and "per person" in page


def test_a_single_topic_or_person_is_said_in_the_singular(numbers: dict[str, Any], tmp_path: Path) -> None:
    alone = copy.deepcopy(numbers)
    alone["people"] = 1
    alone["choices"]["factscore"]["people"] = 1
    alone["examples"] = {run: marked[:1] for run, marked in alone["examples"].items()}
    page = render(alone)
    assert "1 topic of the split “test”, judged" in page and "On 1 topic of the split “val”, which the results above are not about, sampled" in page
    assert "1 topic, seed" in page and "about the first topic of the split:" in page and not re.search(r"\b1 (topics|people)\b", page)
    page = render({**alone, "about_people": True})
    assert "1 person of the split “test”, judged" in page and "On 1 person of the split “val”, whom the results above are not about, sampled" in page
    assert "on 1 topic of 'val';" in describe(alone["choices"]["factscore"])[0]


def test_a_report_is_made_again_when_the_pronouns_change_and_a_world_needs_none(tmp_path: Path) -> None:
    for name, splits in (("medqa", {"train", "dpoval", "val", "test"}), ("synth", set())):
        paths = DatasetPaths(tmp_path / f"dataset_{name}")
        inputs = build_steps(load_definition(name), paths, tmp_path)["report"].inputs()
        assert splits == {split for split in ("train", "dpoval", "val", "test") if paths.questions(split) in inputs}
