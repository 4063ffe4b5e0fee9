"""Responses that were made elsewhere are taken in place of sampling; and what the stop string cut off is kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sampling_volume import PEOPLE, stage_environment
from sampling_volume import write_definition as write_sampling
from sampling_volume import write_volume as write_sampling_volume

from confscoring.given import take_given
from volume.errors import ItemError
from volume.files import write_json
from volume.paths import DatasetPaths, encode_topic


def give_responses(volume: Path, name: str, n: int = 3, **change: Any) -> Path:
    """Put responses of the authors' shape into given/."""
    path = volume / "dataset_mine" / "given" / "responses" / f"{encode_topic(name)}_generations.json"
    rows = {question: {"responses": [f"{name}: {question} {place}" for place in range(n)]} for question in (f"Write about {name}.", f"Who is {name}?")}
    write_json(path, rows | change)
    return path


def sample(volume: Path, cut: str = "") -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the stage `responses`; return it and {file name: content} of what it wrote."""
    path = write_sampling(volume)
    path.write_text(path.read_text().replace("[responses]\n", f"[responses]\n{cut}\n"))
    command = [sys.executable, "-m", "confscoring.responses", "--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), "--split", "train"]
    done = subprocess.run(command, env=stage_environment(), capture_output=True, text=True, check=False)
    return done, {path.name: json.loads(path.read_text()) for path in (volume / "dataset_mine" / "responses").glob("*.json")}


def test_given_responses_are_taken_in_place_of_sampling_and_the_others_sampled_as_ever(tmp_path: Path) -> None:
    volume = write_sampling_volume(tmp_path)
    done, before = sample(volume)
    assert done.returncode == 0 and len(before) == len(PEOPLE), done.stderr
    assert not any("raw" in row for rows in before.values() for row in rows.values())
    give_responses(volume, PEOPLE[1])
    give_responses(volume, PEOPLE[4])
    give_responses(volume, PEOPLE[2], n=4)
    for path in (volume / "dataset_mine" / "responses").glob("*.json"):
        path.unlink()
    done, after = sample(volume)
    name = PEOPLE[1]
    assert done.returncode == 3 and f"{PEOPLE[2]}: " in done.stderr and "has 4 responses to" in done.stderr and "responses.n is 3" in done.stderr
    assert after[f"{name}_generations.json"][f"Who is {name}?"] == {"responses": [f"{name}: Who is {name}? {place}" for place in range(3)]}
    assert len(after) == len(PEOPLE) - 1
    texts = {file: [row["responses"] for row in rows.values()] for file, rows in after.items()}  # margins have the noise of other batches
    others = [f"{encode_topic(other)}_generations.json" for other in (PEOPLE[0], PEOPLE[3])]
    assert [texts[file] for file in others] == [[row["responses"] for row in before[file].values()] for file in others]


def test_where_all_responses_are_given_the_model_need_not_be_there(tmp_path: Path) -> None:
    volume = write_sampling_volume(tmp_path)
    for name in PEOPLE:
        give_responses(volume, name)
    for path in (volume / "models" / "tiny").iterdir():
        path.unlink()
    done, found = sample(volume)
    assert done.returncode == 0 and len(found) == len(PEOPLE), done.stderr
    counts = json.loads((volume / "dataset_mine" / "manifests" / "responses-train.json").read_text())["counts"]
    assert counts["given"] == counts["responses"] == 6 * len(PEOPLE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Who is Bo?": {"responses": ["a", "b", "c"]}}, "answers 'Who is Bo?', which is no question of 'Ada Venn'"),
        ({"Write about Ada Venn.": {"responses": ["a"]}}, "has 1 responses to 'Write about Ada Venn.', and responses.n is 3"),
        ({"Write about Ada Venn.": {"responses": "abc"}}, "expected a list"),
    ],
)
def test_given_responses_that_do_not_fit_fail_that_topic_and_name_the_file(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = give_responses(tmp_path, "Ada Venn", **change)
    topic: Any = {"topic": "Ada Venn", "topic_id": 0, "questions": ["Write about Ada Venn.", "Who is Ada Venn?"]}
    taken = take_given(DatasetPaths(tmp_path / "dataset_mine"), topic, 3)
    assert isinstance(taken, ItemError) and said in str(taken) and str(path) in str(taken)
    path.write_text("{")
    assert "is not valid JSON" in str(take_given(DatasetPaths(tmp_path / "dataset_mine"), topic, 3))
    os.remove(path)
    assert take_given(DatasetPaths(tmp_path / "dataset_mine"), topic, 3) is None
    short = give_responses(tmp_path, "Ada Venn")
    more: Any = topic | {"questions": [*topic["questions"], "Why?"]}
    assert f"{short} lacks the question 'Why?'" in str(take_given(DatasetPaths(tmp_path / "dataset_mine"), more, 3))


def test_what_was_cut_off_at_the_stop_string_is_kept_raw(tmp_path: Path) -> None:
    volume = write_sampling_volume(tmp_path, PEOPLE[:2])
    _, whole = sample(volume)
    letter = max("etaoinshr", key=json.dumps(whole).count)
    done, cut = sample(volume, f'stop = ["{letter}"]')
    assert done.returncode == 0, done.stderr
    pairs = [pair for rows in cut.values() for row in rows.values() for pair in zip(row["responses"], row["raw"], strict=True)]
    assert any(letter in raw for _, raw in pairs) and not any(letter in text for text, _ in pairs)
    assert all(raw.split(letter)[0].strip() == text for text, raw in pairs) and len(pairs) == 12
    assert not re.search('"raw"', json.dumps(whole))
