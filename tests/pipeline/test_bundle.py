"""Bundles made in one folder and rerun in another, with the service stopped and no key: a generated world, and a dataset of one's own.

The latter has a local model, a chat model as its verifier and a reward of its own. One rerun has all of it, the other takes what
the model wrote as given.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import ROOT, TOY, environment, run

sys.path.insert(0, str(ROOT / "tests"))
from scripted_service import Body, ScriptedService, prompt_of  # noqa: E402

MODULE = "def supported_facts(response, settings):\n    return float(sum(fact.supported for fact in response.facts))\n"
SAME = "verdict: SAME. All {} files that were made again are the same, byte for byte."


def bundle(volume: Path, file: Path, *extra: str, dataset: Path = TOY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "volume.bundle", "--dataset", str(dataset), "--data-dir", str(volume), "--file", str(file), *extra]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def rerun_command(file: Path, into: Path) -> list[str]:
    return [sys.executable, "-m", "volume.rerun", str(file), "--data-dir", str(into)]


def rerun(file: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """Rerun with a key in the environment, which nothing may pass on."""
    return subprocess.run(rerun_command(file, into), env={**environment(), "OPENAI_API_KEY": "sk-planted"}, capture_output=True, text=True, check=False)


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {entry.name.partition("/")[2]: tar.extractfile(entry).read() for entry in tar.getmembers()}  # type: ignore[union-attr]


def with_change(file: Path, target: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """Write a bundle with other contents, or another index; what the index says of changed members is made to fit."""
    members = contents(file)
    index = json.loads(members.pop("index.json"))
    change(members, index)
    for name, content in members.items():
        index["members"][name] |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    with tarfile.open(target, "w:gz") as tar:
        for name, content in {"index.json": (json.dumps(index, ensure_ascii=False, indent=1) + "\n").encode(), **members}.items():
            entry = tarfile.TarInfo(f"bundle/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target


def test_a_generated_world_is_made_again_from_its_definition_alone(finished: Path, tmp_path: Path) -> None:
    made = bundle(finished, tmp_path / "toy.tar.gz")
    assert made.returncode == 0, made.stderr
    assert "recorded calls" not in made.stdout and "models" not in made.stdout and "results to compare with" in made.stdout
    again = bundle(finished, tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == (tmp_path / "toy.tar.gz").read_bytes(), again.stderr
    assert not [name for name in contents(tmp_path / "toy.tar.gz") if name.startswith("volume/")]
    done = rerun(tmp_path / "toy.tar.gz", tmp_path / "other folder")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert SAME.format(168) in done.stdout and "Code, locks and definition are the bundle's." in done.stdout
    rewards = "dataset_toy/rewards/rewards_train_25.json"
    assert (tmp_path / "other folder" / rewards).read_bytes() == (finished / rewards).read_bytes()


def test_a_report_is_bundled_without_anything_that_its_steps_make(finished: Path, tmp_path: Path) -> None:
    made = bundle(finished, tmp_path / "toy.tar.gz", "--goal", "report")
    assert made.returncode == 0, made.stderr
    names = contents(tmp_path / "toy.tar.gz")
    assert not [name for name in names if name.startswith("volume/")] and "results/dataset_toy/report/summary.json" in names


def answer(body: Body) -> str:
    """The verifier's verdict: by the claim alone, the same for everyone who asks."""
    return str(hashlib.sha256(prompt_of(body).encode()).digest()[0] < 128)


@pytest.fixture(scope="module")
def mine(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A volume of one's own with its rewards, and its definition; the service that it was made with has stopped."""
    volume, toy = tmp_path_factory.mktemp("mine") / "volume", finished / "dataset_toy"
    (volume / "dataset_mine").mkdir(parents=True)
    for split, number in (("train", 3), ("dpoval", 1)):
        topics = json.loads((toy / f"questions_per_topic_{split}.json").read_text())[:number]
        (volume / "dataset_mine" / f"questions_per_topic_{split}.json").write_text(json.dumps(topics))
    shutil.copytree(toy / "world", volume / "dataset_mine" / "world")
    shutil.copytree(toy / "models" / "base", volume / "models" / "mine")
    (volume / "knowledge").mkdir()
    shutil.copy(toy / "knowledge.db", volume / "knowledge" / "mine.db")
    (volume / "own.py").write_text(MODULE)
    with ScriptedService(answer) as service:
        text = TOY.read_text().replace('name = "toy"', 'name = "mine"').replace('path = "models/base"', 'path = "models/mine"')
        text = text.replace('path = "knowledge.db"', 'path = "knowledge/mine.db"').replace("[world]\npeople = 60\n", "").replace("enabled = true", "enabled = false")
        text = re.sub(r"\[pretrain\].*?(?=\n\[responses\])", "", text, flags=re.S).replace('backend = "lexical"', 'backend = "llm"\nmodel = "scripted"')
        definition = volume.parent / "mine.toml"
        definition.write_text(text.replace("[rewards]\n", '[rewards]\nmodule = "own.py"\n') + f'[llm]\nbase_url = "{service.url}"\n')
        done = run("rewards", volume, dataset=definition, OPENAI_API_KEY="sk-planted")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert service.calls
    return volume, definition


@pytest.fixture(scope="module")
def whole(mine: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bundle with everything, and what was said."""
    file = tmp_path_factory.mktemp("whole") / "mine.tar.gz"
    made = bundle(mine[0], file, dataset=mine[1])
    assert made.returncode == 0, made.stderr
    return file, made.stdout


@pytest.fixture(scope="module")
def slim(mine: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The bundle without models, the folder where it was rerun, and what was said of both."""
    folder = tmp_path_factory.mktemp("slim")
    made = bundle(mine[0], folder / "mine.tar.gz", "--without", "models", dataset=mine[1])
    assert made.returncode == 0, made.stderr
    done = rerun(folder / "mine.tar.gz", folder / "rerun")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return folder / "mine.tar.gz", folder / "rerun", made.stdout + done.stdout


def test_a_bundle_holds_what_no_step_makes_and_says_how_much_of_each_kind(mine: tuple[Path, Path], whole: tuple[Path, str]) -> None:
    names = contents(whole[0])
    given = {name.removeprefix("volume/") for name in names if name.startswith("volume/")}
    assert given >= {"dataset_mine/questions_per_topic_train.json", "knowledge/mine.db", "models/mine/config.json", "own.py", "dataset_mine/world/grammar.json"}
    assert not [name for name in given if "responses/" in name or "rewards/" in name or "cache" in name or "sqlite" in name]
    assert {"mine.toml", "definition.json", "calls.jsonl.gz", "manifests/rewards-train.json", "locks/csenv-paper.txt"} <= set(names)
    for kind in ("models", "knowledge", "questions", "recorded calls", "in all"):
        assert re.search(rf"^  {kind} .* (files?|calls) .*B$", whole[1], flags=re.M), whole[1]
    assert not any(b"sk-planted" in content or b"sk-planted" in (gzip.decompress(content) if name.endswith("gz") else b"") for name, content in names.items())
    assert os.listdir(whole[0].parent) == ["mine.tar.gz"]


def test_a_killed_rerun_goes_on_and_ends_with_the_same_bytes_and_no_service(mine: tuple[Path, Path], whole: tuple[Path, str], tmp_path: Path) -> None:
    into = tmp_path / "rerun"
    command = rerun_command(whole[0], into)
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "[responses-" in line and " done " in line:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = rerun(whole[0], into)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "verdict: SAME." in done.stdout and "unpacked" not in done.stdout
    theirs = {path.relative_to(mine[0]): path.read_bytes() for path in (mine[0] / "dataset_mine" / "rewards").iterdir()}
    assert {path.relative_to(into): path.read_bytes() for path in (into / "dataset_mine" / "rewards").iterdir()} == theirs
    assert json.loads(next(into.glob("dataset_mine/rewards/rewards_train_*")).read_text()).popitem()[1].popitem()[1]["supported_facts"]
    assert not [path for path in into.rglob("*") if path.is_file() and b"sk-planted" in path.read_bytes()]


def test_without_models_what_they_wrote_is_given_and_the_rest_is_made_again(slim: tuple[Path, Path, str]) -> None:
    file, into, said = slim
    index = json.loads(contents(file)["index.json"])
    assert set(index["given"]) == {f"{stage}-{split}" for stage in ("responses", "answers") for split in ("train", "dpoval")}
    assert not (into / "models").exists() and not [name for name in contents(file) if name.startswith("volume/models")]
    started = set(re.findall(r"^\[(\S+)\] starts", said, flags=re.M))
    assert started == set(index["steps"]) - set(index["given"])
    assert "answers-dpoval: taken from the bundle; what they read (models) is not in it" in said
    assert "verdict: SAME." in said and "4 of the 10 steps were taken as given." in said
    manifest = json.loads((into / "dataset_mine" / "manifests" / "responses-train.json").read_text())
    assert manifest["given"]["left_out"] == sorted(index["left_out"]) and all(path.startswith("models/mine/") for path in index["left_out"])


def test_what_came_with_a_bundle_is_up_to_date_where_it_lies_and_is_not_bundled_as_ones_own(slim: tuple[Path, Path, str], tmp_path: Path) -> None:
    definition = slim[1] / "definitions" / "mine.toml"
    done = run("rewards", slim[1], dataset=definition)
    assert done.returncode == 0 and "up to date, nothing to do" in done.stdout, done.stdout + done.stderr
    refused = bundle(slim[1], tmp_path / "x.tar.gz", dataset=definition)
    assert refused.returncode == 2 and "came with a bundle" in refused.stderr and list(tmp_path.iterdir()) == []


def test_other_code_and_other_figures_are_named_in_the_verdict(slim: tuple[Path, Path, str], tmp_path: Path) -> None:
    """As if the bundle came from another checkout, whose rewards differed in one number by a quarter."""

    def change(members: dict[str, bytes], index: dict[str, Any]) -> None:
        index["steps"]["questions-train"]["code"] = "0" * 64
        name = next(name for name in members if "results/" in name and "rewards_train" in name)
        rewards = json.loads(members[name])
        next(iter(next(iter(rewards.values())).values()))["factscore_avg"][0] += 0.25
        members[name] = json.dumps(rewards).encode()
        index["steps"]["rewards-train"]["outputs"][name.removeprefix("results/")] = hashlib.sha256(members[name]).hexdigest()

    changed = with_change(slim[0], tmp_path / "changed.tar.gz", change)
    shutil.copytree(slim[1], tmp_path / "rerun")
    other = rerun(changed, tmp_path / "rerun")
    assert other.returncode == 2 and "holds the rerun of another bundle" in other.stderr
    shutil.rmtree(tmp_path / "rerun" / "bundle")  # what has been made again need not be made once more for the comparison
    (tmp_path / "rerun" / "bundle").mkdir()
    (tmp_path / "rerun" / "bundle" / "index.json").write_bytes(contents(changed)["index.json"])
    done = rerun(changed, tmp_path / "rerun")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"rewards-train +\d+ files same; 1 differ: rewards_train_3.json", done.stdout)
    assert re.search(r"rewards_train_3.json: 1 of \d+ numbers differ, by at most 0.25 \(at .*factscore_avg\[0\]\); 0 of \d+ texts differ", done.stdout)
    assert re.search(r"verdict: DIFFERENT\. 1 of \d+ files are not the same \(rewards-train 1\).*What differs from the bundle: code of questions-train", done.stdout)


def test_a_call_that_is_not_in_the_bundle_is_named(slim: tuple[Path, Path, str], tmp_path: Path) -> None:
    lost: list[str] = []

    def change(members: dict[str, bytes], index: dict[str, Any]) -> None:
        lines = gzip.decompress(members["calls.jsonl.gz"]).splitlines(keepends=True)
        lost.append(json.loads(lines.pop(0))["key"][:12])
        members["calls.jsonl.gz"] = gzip.compress(b"".join(lines))

    done = rerun(with_change(slim[0], tmp_path / "changed.tar.gz", change), tmp_path / "rerun")
    assert done.returncode == 1 and f"first: scripted, key {lost[0]}" in done.stdout, done.stdout + done.stderr
    assert "nothing is compared" in done.stderr and "verdict" not in done.stdout


def test_a_changed_byte_of_an_input_is_refused_before_anything_runs(whole: tuple[Path, str], tmp_path: Path) -> None:
    members = contents(whole[0])
    with tarfile.open(tmp_path / "changed.tar.gz", "w:gz") as tar:
        for name, content in members.items():
            content = content.replace(b"supported", b"supporter") if name == "volume/own.py" else content
            entry = tarfile.TarInfo(f"bundle/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    done = rerun(tmp_path / "changed.tar.gz", tmp_path / "rerun")
    assert done.returncode == 1 and "volume/own.py is not what the index says" in done.stderr, done.stdout + done.stderr
    assert "starts" not in done.stdout and not (tmp_path / "rerun" / "own.py").exists()


def test_what_cannot_be_bundled_or_rerun_is_refused_in_one_message(mine: tuple[Path, Path], whole: tuple[Path, str], tmp_path: Path) -> None:
    volume, definition = mine
    for words, extra in (
        ("report of 'mine' is not up to date", ("--goal", "report")), ("rewards of 'mine' is not up to date", ("--limit", "2")),
        ("'weights' cannot be left out", ("--without", "weights")),
    ):  # fmt: skip
        made = bundle(volume, tmp_path / "x.tar.gz", *extra, dataset=definition)
        assert made.returncode == 2 and words in made.stderr and "Traceback" not in made.stderr, made.stderr
    assert list(tmp_path.iterdir()) == []
    for words, file, into in (
        ("there is no such file", tmp_path / "none.tar.gz", tmp_path / "new"), ("holds other things", whole[0], volume),
        ("is a file; expected a folder", whole[0], definition),
    ):  # fmt: skip
        done = rerun(file, into)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    (tmp_path / "text.tar.gz").write_text("text")
    done = rerun(tmp_path / "text.tar.gz", tmp_path / "new")
    assert done.returncode == 1 and "is no bundle" in done.stderr and not (tmp_path / "new").exists()

    def outside(members: dict[str, bytes], index: dict[str, Any]) -> None:
        index["dataset"] = "../elsewhere"

    done = rerun(with_change(whole[0], tmp_path / "outside.tar.gz", outside), tmp_path / "new")
    assert done.returncode == 1 and "dataset in its index" in done.stderr and not (tmp_path / "new").exists()


def test_a_killed_bundling_leaves_nothing_behind_once_it_is_run_again(mine: tuple[Path, Path], whole: tuple[Path, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "volume.bundle", "--dataset", str(mine[1]), "--data-dir", str(mine[0]), "--file", str(tmp_path / "mine.tar.gz")]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(tmp_path.iterdir()):
            time.sleep(0.001)
        process.kill()
    assert not (tmp_path / "mine.tar.gz").exists() or process.returncode == 0
    assert bundle(mine[0], tmp_path / "mine.tar.gz", dataset=mine[1]).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tar.gz"]
    assert (tmp_path / "mine.tar.gz").read_bytes() == whole[0].read_bytes()
