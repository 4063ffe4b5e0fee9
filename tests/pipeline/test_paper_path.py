"""The paper's path at toy size with real parts, through make: from a list of six people to a row of Table 2.

Real are: FActScore's format of the knowledge base, models in folders (a Llama that is sampled and tuned, another that judges, the
dense retriever), and an OpenAI-compatible service over HTTP that writes facts and questions and gives a
second opinion. It is killed twice on the way, in the scoring and in the training.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy import ROOT, environment

sys.path.insert(0, str(ROOT / "tests"))
from scripted_service import Body, ScriptedService, prompt_of  # noqa: E402
from tiny_models import make_encoder, make_llama  # noqa: E402

BORN = {"Ada Albane": "Kelford", "Oskar Venn": "Tarwick", "Rut Holm": "Ostrel", "Pim Krey": "Lindholm", "Una Sand": "Askby", "Jon Ferre": "Marvia"}
VERBS = ("was born", "lives", "taught", "studied", "married", "died")  # said of everybody, each with a place by chance
SPLITS = ("train", "train", "train", "dpoval", "test", "test")
SEPARATOR = "####SPECIAL####SEPARATOR####"  # FActScore's, between the passages of a page
TRAINING = """optimizer = "adamw"
lr = 1e-3
warmup_steps = 0
batch_size = 4
dtype = "float32"
zero_stage = 0
activation_checkpointing = false
checkpoint_every = 1
"""
DEFINITION = """
extends = "bio"
name = "small"
splits = ["train", "dpoval", "test"]
[topics]
path = "people.csv"
[models.llama1]
path = "models/tiny"
source = ""
dtype = "float32"
gib = 0
[models.inst-llama]
path = "models/judge"
source = ""
dtype = "float32"
gib = 0
[knowledge]
path = "knowledge/small.db"
gib = 0
[llm]
base_url = "{url}"
in_flight = 1
backoff_s = 0.001
[responses]
n = 6
max_new_tokens = 16
[retrieval]
k = 2
[verifier]
npm = false                # a random one finds no word with a probability above 0.3: nothing would be supported
[answers]
n = 4
temperature = 0.3
max_new_tokens = 2
[sft]
{training}[dpo]
{training}[decoders.iti]
heads = 2
strength = 2.0
[eval]
n = 2
bootstrap = 200
"""


def chance(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(words).encode()).digest()[:4], "big")


def answer(body: Body) -> str:
    """Return what the service says: six facts of a sentence, right or wrong by chance, a question about a fact, or a verdict by the truth."""
    asked = prompt_of(body)
    if found := re.search(r"Subject: (.+?)\nSentence: (.+)", asked, re.DOTALL):
        places = list(BORN.values())
        return "\n".join(f"- {found[1]} {verb} in {places[chance(found[2], verb) % len(places)]}." for verb in VERBS)
    if found := re.search(r"Claim about (.+?): .+ was born in (\w+)\.\nTrue or False\?", asked):
        return str(BORN[found[1]] == found[2])
    if "True or False?" in asked:
        return "False"
    statement = re.search(rf"Statement: (.+?) ({'|'.join(VERBS)}) in (\w+)\.", asked)
    assert statement, asked
    return f"Question: Of which place is it said that {statement[1]} {statement[2]} there?\nAnswer: {statement[3]}"


@dataclass
class Way:
    """What the way left: the volume, what each command said, what the service was asked."""

    volume: Path
    said: dict[str, str]
    service: ScriptedService


def make(*words: str) -> list[str]:
    return ["make", "-C", str(ROOT), "--no-print-directory", f"PYTHON={sys.executable}", "ENGINE=venv", *words]


def kill_when(command: list[str], reached: Callable[[], bool], variables: dict[str, str]) -> str:
    """Run a command until something is reached, then kill it and all that it started; return what it said."""
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while process.poll() is None and not reached() and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    said = process.communicate()[0]
    assert alive, said[-4000:]
    return said


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder = tmp_path_factory.mktemp("paper")
    volume = folder / "volume"
    (volume / "knowledge").mkdir(parents=True)
    with sqlite3.connect(volume / "knowledge" / "small.db") as db:
        db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
        pages = [(name, f"<s>{name} was born in {place}.{SEPARATOR}{name} taught in Ostrel.{SEPARATOR}The town has a harbour.</s>") for name, place in BORN.items()]
        db.executemany("INSERT INTO documents VALUES (?, ?)", pages)
    make_llama(volume / "models" / "tiny", positions=4096, kv_heads=4)
    make_llama(volume / "models" / "judge", positions=4096, kv_heads=4, seed=3)
    make_encoder(volume / "models" / "gtr-t5-large")
    with (folder / "people.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("topic", "pronoun", "split"), *((name, "she", split) for name, split in zip(BORN, SPLITS, strict=True))])
    kept = {name: value for name, value in environment().items() if not name.startswith(("FACTTUNE_", "MAKE", "MFLAGS"))}
    variables = {**kept, "OPENAI_API_KEY": "sk-planted", "OMP_NUM_THREADS": "1"}
    with ScriptedService(answer) as service:
        definition = folder / "small.toml"
        definition.write_text(DEFINITION.format(url=service.url, training=TRAINING))
        where = [f"DATASET={definition}", f"DATA={volume}"]
        root, said = volume / "dataset_small", {}
        checked = subprocess.run(make("data", "CHECK=1", *where), env=variables, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        said["check"] = checked.stdout
        paper = make("paper", "TABLE=2", "ROWS=llama1", "SEEDS=1", *where)
        said["first"] = kill_when(paper, lambda: len(service.calls) > 5, variables)
        said["second"] = kill_when(paper, lambda: (root / "runs" / "factscore" / "dpo" / "metrics.jsonl").exists(), variables)
        done = subprocess.run(paper, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        said["third"] = done.stdout
        again = subprocess.run(paper, env=variables, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stdout[-6000:] + again.stderr[-3000:]
        said["again"] = again.stdout
        yield Way(volume, said, service)


def test_a_call_that_was_paid_for_is_never_made_again(way: Way) -> None:
    twice = Counter({body: times for body, times in way.service.answered.items() if times > 1})
    assert sum(times - 1 for times in twice.values()) <= 2, twice  # at most the one that was under way when it was killed
    assert len(way.service.answered) > 50


def test_all_six_people_are_where_their_list_puts_them(way: Way) -> None:
    root = way.volume / "dataset_small"
    for split in ("train", "dpoval", "test"):
        topics = json.loads((root / f"questions_per_topic_{split}.json").read_text())
        assert [topic["topic"] for topic in topics] == [name for name, own in zip(BORN, SPLITS, strict=True) if own == split]
        assert all(topic["questions"] == [f"Write a short biography of {topic['topic']}."] and topic["pronoun"] == "her" for topic in topics)
    assert "6 topics" in way.said["check"]


def counts(root: Path, run: str) -> tuple[float, float]:
    """Return correct and incorrect facts per sampled response, counted by hand from the scored responses."""
    right = wrong = responses = 0
    for path in sorted((root / "eval" / run / "factscore_outputs").glob("*.json")):
        generations = json.loads((root / "eval" / run / "responses" / path.name.replace("_fs_out", "_generations")).read_text())
        decoding = [kind for generation in generations.values() for kind in generation["decoding"]]
        for kind, row in zip(decoding, json.loads(path.read_text()), strict=True):
            if kind == "sample":
                responses += 1
                verdicts = [decision["is_supported"] for group in row["decisions"] for decision in group or []]
                right, wrong = right + sum(verdicts), wrong + len(verdicts) - sum(verdicts)
    return right / responses, wrong / responses


def test_the_table_sets_ours_beside_what_the_paper_printed(way: Way) -> None:
    rows: list[dict[str, Any]] = json.loads((way.volume / "paper" / "table2.json").read_text())["rows"]
    ours = {row["name"]: row for row in rows if row["dataset"] == "bio"}
    for name, run, printed in (("llama1-sft", "sft", 0.568), ("llama1-fs", "factscore", 0.812), ("llama1-dola", "dola", 0.754), ("llama1-iti", "iti", 0.669)):
        row, figures = ours[name], ours[name]["ours"]["figures"]["verifier"]
        right, wrong = counts(way.volume / "dataset_small", run)
        assert row["paper"]["share"] == printed
        assert figures["correct"]["value"] == pytest.approx(right) and figures["incorrect"]["value"] == pytest.approx(wrong)
        assert figures["correct"]["low"] <= right <= figures["correct"]["high"]
        assert row["verdict"].startswith("deviated")
    line = next(line for line in way.said["third"].splitlines() if line.startswith("| llama1-fs "))
    assert "81.2 macro" in line and f"{counts(way.volume / 'dataset_small', 'factscore')[0]:.2f}" in line and "deviated" in line


def test_when_all_is_there_nothing_is_run_and_nothing_asked(way: Way) -> None:
    assert "steps to run" in way.said["third"] and "steps to run" not in way.said["again"]
    table = way.said["third"][way.said["third"].index("FactTune against") :]
    assert table.splitlines()[:8] == way.said["again"][way.said["again"].index("FactTune against") :].splitlines()[:8]


def test_a_title_that_is_no_page_is_listed_with_the_nearest(way: Way, tmp_path: Path) -> None:
    listed = tmp_path / "wrong.csv"
    listed.write_text("topic,pronoun\nAda Alban,she\nRut Holm,she\n")
    definition = tmp_path / "wrong.toml"
    definition.write_text(DEFINITION.format(url=way.service.url, training=TRAINING).replace('"people.csv"', '"wrong.csv"').replace('"small"', '"wrong"'))
    done = subprocess.run(make("data", "CHECK=1", f"DATASET={definition}", f"DATA={way.volume}"), env=environment(), capture_output=True, text=True, check=False)
    assert "'Ada Alban'" in done.stdout or "Ada Alban" in done.stdout
    assert "Ada Albane" in done.stdout and "Rut Holm" not in done.stdout and done.returncode != 0
