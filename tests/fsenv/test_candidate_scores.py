"""Scores of a run's candidate, and of SFT on the split that decides between candidates: read and written in folders of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from own_volume import PEOPLE, write_definition, write_volume

from factscoring.factscore import prepare, topics_at_once
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.stage import run_topics

CHOICE = """[dpo]
candidates = 2
[runs.sft]
kind = "sft"
label = "SFT"
[runs.fs]
label = "FactTune-FS"
reward = "factscore_avg"
"""


def test_each_policy_s_own_responses_are_scored(tmp_path: Path) -> None:
    name = PEOPLE[0]
    paths = DatasetPaths(write_volume(tmp_path, people=PEOPLE[:1]) / "dataset_mine")
    definition = write_definition(tmp_path, facts='backend = "rules"', verifier='backend = "lexical"')
    definition.write_text(definition.read_text().replace('"train", "test"', '"train", "val", "test"') + CHOICE)
    paths.questions("train").rename(paths.questions("val"))
    said = {
        ("sft", "val"): f"{name} was born in Kelford.", ("fs", "candidates/1"): f"{name} was born in Ostrel.", ("fs", "candidates/2"): f"{name} worked as a surveyor.",
    }  # fmt: skip
    for (run, part), text in said.items():
        write_json(paths.responses(name, run, part), {f"Write a biography of {name}.": {"responses": [text]}})
    found: dict[tuple[str, str], Any] = {}
    for run, part in said:
        arguments = ["--dataset", str(definition), "--data-dir", str(tmp_path), "--run", run, "--split", "val"]
        arguments += ["--candidate", part.rpartition("/")[2]] if run == "fs" else []
        assert run_topics("factscore", prepare, group=topics_at_once, fixed=True, argv=arguments) == 0
        (scored,) = json.loads(paths.factscore(name, run, part).read_text())
        found[run, part] = scored["generation"], [decision["is_supported"] for decision in scored["decisions"][0]]
    assert found == {("sft", "val"): (said["sft", "val"], [True]), ("fs", "candidates/1"): (said["fs", "candidates/1"], [False]),
                     ("fs", "candidates/2"): (said["fs", "candidates/2"], [True])}  # fmt: skip
    assert not paths.factscore(name, "fs").exists() and not paths.factscore(name).exists()
