"""A dataset of one's own, from questions to rewards, on backends that need neither weights nor the synthetic grammar.

Responses, answers and entities are sampled from a served model, questions and equivalence are a chat model's, facts and spans
come by rules, and a reward is one's own. The scripted service answers so that every reward can be reckoned by hand.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy import ROOT, run

sys.path.insert(0, str(ROOT / "tests"))
from scripted_service import Body, ScriptedService  # noqa: E402

BORN = {"Ada Albane": "Kelford", "Oskar Venn": "Tarwick", "Rut Holm": "Ostrel", "Pim Krey": "Lindholm"}
WRONG = "Marvia"
DEFINITION = """
name = "mine"
description = "four people"
splits = ["train", "dpoval", "test"]
[models.served]
path = "models/served"
[knowledge]
path = "knowledge/mine.db"
[llm]
base_url = "{url}"
backoff_s = 0.001
input_price = 0.5
output_price = 1.5
[completions]
base_url = "{url}"
backoff_s = 0.001
[responses]
backend = "openai"
model = "served"
n = 4
max_new_tokens = 20
samples_per_call = 2
[facts]
backend = "rules"
[retrieval]
backend = "bm25"
[verifier]
backend = "lexical"
[questions]
backend = "llm"
model = "chat"
[answers]
backend = "openai"
model = "served"
n = 8
max_new_tokens = 6
stop = ["\\n"]
prefix = "Where was Per Holt born? Askby\\n"
[entities]
enabled = true
backend = "spacy"
n = 4
[equivalence]
backend = "llm"
model = "chat"
[rewards]
module = "own.py"
"""


def answer(body: Body) -> str:
    """Return what the service says: a birthplace, right for three seeds in four, or what a chat is asked for."""
    seed = body.get("seed", 0) + body.get("choice", 0)
    if "messages" in body:
        asked = body["messages"][-1]["content"]
        if "First answer" in asked:
            return "No"
        name = next(name for name in BORN if name in asked)
        place = asked.rpartition("born in ")[2].split(".")[0].split()[0]
        return f"Question: Where was {name} born?\nAnswer: {place}"
    name = next(name for name in BORN if name in body["prompt"])
    place = WRONG if seed % 4 == 0 else BORN[name]
    return f"{name} was born in {place}." if body["prompt"].startswith("Write") and "born" not in body["prompt"] else f" {place}\nWho"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, ScriptedService, str]]:
    folder = tmp_path_factory.mktemp("own")
    volume = folder / "volume"
    (volume / "knowledge").mkdir(parents=True)
    (volume / "dataset_mine").mkdir()
    with sqlite3.connect(volume / "knowledge" / "mine.db") as db:
        db.execute("CREATE TABLE documents (title PRIMARY KEY, text)")
        db.executemany("INSERT INTO documents VALUES (?, ?)", [(name, f"{name} was born in {place}.") for name, place in BORN.items()])
    names = list(BORN)
    for split, own in (("train", names[:3]), ("dpoval", names[3:])):
        topics = [{"topic": name, "topic_id": place, "questions": [f"Write about {name}."]} for place, name in enumerate(own)]
        (volume / "dataset_mine" / f"questions_per_topic_{split}.json").write_text(json.dumps(topics))
    example = re.search(r"```python\n(def right_minus_wrong.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert example
    (volume / "own.py").write_text(example.group(1))
    with ScriptedService(answer) as service:
        definition = folder / "mine.toml"
        definition.write_text(DEFINITION.format(url=service.url))
        done = run("rewards", volume, dataset=definition, OPENAI_API_KEY="sk-planted")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        yield volume, definition, service, done.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_reward_is_what_the_service_said(scored: tuple[Path, Path, ScriptedService, str]) -> None:
    root = scored[0] / "dataset_mine"
    rewards = read(root / "rewards" / "rewards_train_3.json")
    assert list(rewards) == list(BORN)[:3]
    places = set()
    for name, questions in rewards.items():
        columns = questions[f"Write about {name}."]
        samples = read(root / "atomic_qs_samples" / "served_8samples" / f"{name}_samples.json")["samples"]
        for place, (text, answers) in enumerate(zip(columns["responses"], samples, strict=True)):
            said = re.search(r"born in (\w+)", text).group(1)  # type: ignore[union-attr]
            places.add(said)
            own = answers[f"Where was {name} born?"]
            share = own.count(BORN[name]) / 8
            assert columns["factscore_avg"][place] == float(said == BORN[name])
            assert columns["right_minus_wrong"][place] == (1.0 if said == BORN[name] else -1.0)  # the README's example
            assert columns["aq_samp_conf_avg"][place] == own.count(said) / 8
            assert columns["aq_max_conf_avg"][place] == max(share, 1 - share)
            assert columns["aq_exp_conf_avg"][place] == pytest.approx(share**2 + (1 - share) ** 2)
            assert columns["ne_max_conf_avg"][place] is not None
    assert places >= {WRONG} and len(places) > 2  # right and wrong ones both came
    counts = dict(line.split(":\t") for line in (root / "rewards" / "pairs_count_train_3.txt").read_text().splitlines())
    assert set(counts) == set(columns) - {"responses"} and int(counts["right_minus_wrong"]) > 0


def test_each_server_is_asked_once_for_everything_and_neither_gets_the_others_key(scored: tuple[Path, Path, ScriptedService, str]) -> None:
    volume, definition, service, said = scored
    assert max(service.answered.values()) == 1
    assert {key for path, key in zip(service.paths, service.authorizations, strict=True) if path.endswith("/v1/completions")} == {None}
    assert {key for path, key in zip(service.paths, service.authorizations, strict=True) if "chat" in path} == {"Bearer sk-planted"}
    before = len(service.calls)
    again = run("rewards", volume, dataset=definition)
    assert again.returncode == 0 and "nothing to do" in again.stdout and len(service.calls) == before
    assert not any(b"sk-planted" in path.read_bytes() for path in volume.rglob("*") if path.is_file())


def test_the_plan_counts_the_calls_of_each_server_beforehand(scored: tuple[Path, Path, ScriptedService, str], tmp_path: Path) -> None:
    volume, definition, service, _ = scored
    fresh = tmp_path / "volume"
    for name in ("dataset_mine/questions_per_topic_train.json", "dataset_mine/questions_per_topic_dpoval.json", "knowledge/mine.db", "own.py"):
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).write_bytes((volume / name).read_bytes())
    done = run("plan", fresh, dataset=definition, OPENAI_API_KEY="sk-planted")
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert said.count("Calls to") == 2 and "US dollars" in said
    assert re.search(r"responses-train: at most \d+ calls", said) and re.search(r"questions-train: at most \d+ calls", said)
    assert "Everything that this needs is here." in said


def test_without_the_service_the_recorded_calls_give_the_same_files(scored: tuple[Path, Path, ScriptedService, str]) -> None:
    volume, definition, _, _ = scored
    root = volume / "dataset_mine"
    kept = {path: path.read_bytes() for folder in ("responses", "atomic_qs", "atomic_qs_samples", "ne_samples", "rewards") for path in (root / folder).rglob("*.json*")}
    assert len(kept) == 4 * 4 + 4
    for path in kept:
        path.unlink()
    done = run("rewards", volume, "--llm-mode", "replay", dataset=definition)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert {path: path.read_bytes() for path in kept} == kept
