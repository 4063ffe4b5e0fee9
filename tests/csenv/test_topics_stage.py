"""The stage `topics`: questions from the list, from a prompt, from given files, and from a scripted service; and given responses."""

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
from scripted_service import Body, ScriptedService, prompt_of

from confscoring.estimate import ESTIMATORS
from confscoring.given import take_given
from confscoring.topic_questions import choose, parse_list
from volume.costs import tell_estimate
from volume.errors import ItemError
from volume.files import write_json
from volume.paths import DatasetPaths, encode_topic
from volume.topics import ListedTopic

NAMES = [f"{first} {last}" for first in ("Ada", "Oskar", "Marit", "Pim") for last in ("Albane", "Venn", "Oslund", "Krey", "Holt")]
SPLITS = ("train", "dpoval", "val", "test")
SIZES = "splits = { train = 10, val = 4, test = 6 }\ndpoval = 2\n"
PROMPT = 'prompt = "Write about {topic}."\n'
LLM = SIZES + 'questions = 4\nmodel = "scripted"\n'


def write_volume(folder: Path, topics: str = SIZES + PROMPT, rows: str = "", url: str = "http://127.0.0.1:9/v1") -> Path:
    """Write the list and the definition; return the volume."""
    (folder / "mine.csv").write_text(rows or "topic\n" + "".join(f"{name}\n" for name in NAMES))
    (folder / "mine.toml").write_text(
        f'name = "mine"\ndescription = "a few people"\nsplits = ["train", "dpoval", "val", "test"]\n[topics]\npath = "mine.csv"\n{topics}\n'
        f'[llm]\nbase_url = "{url}"\nbackoff_s = 0.001\nattempts = 2\n'
    )
    return folder


def run(volume: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the stage to its end."""
    command = [sys.executable, "-m", "confscoring.topics", "--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), *more]
    return subprocess.run(command, env=stage_environment(), capture_output=True, text=True, check=False)


def files(volume: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the questions files by split."""
    return {split: json.loads((volume / "dataset_mine" / f"questions_per_topic_{split}.json").read_text()) for split in SPLITS}


def names(topics: list[dict[str, Any]]) -> list[str]:
    return [topic["topic"] for topic in topics]


def manifest(volume: Path) -> dict[str, Any]:
    """Return the stage's manifest."""
    found: dict[str, Any] = json.loads((volume / "dataset_mine" / "manifests" / "topics.json").read_text())
    return found


def give(volume: Path, split: str, topics: list[str] | str) -> Path:
    """Put a questions file into given/."""
    path = volume / "dataset_mine" / "given" / f"questions_per_topic_{split}.json"
    if isinstance(topics, str):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(topics)
    else:
        write_json(path, [{"topic": name, "topic_id": 100 + place, "questions": [f"Tell me about {name}."], "pronoun": "her"} for place, name in enumerate(topics)])
    return path


def test_a_prompt_asks_about_every_topic_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    done = run(volume)
    assert done.returncode == 0 and "train 10, dpoval 2, val 4, test 6 topics" in done.stderr, done.stderr
    found = files(volume)
    assert sorted(names(found["train"] + found["val"] + found["test"])) == sorted(NAMES) and set(names(found["dpoval"])) < set(names(found["val"]))
    for topics in found.values():
        assert [topic["topic_id"] for topic in topics] == sorted(NAMES.index(topic["topic"]) for topic in topics)
        assert all(topic == {"topic": topic["topic"], "topic_id": NAMES.index(topic["topic"]), "questions": [f"Write about {topic['topic']}."]} for topic in topics)
    assert manifest(volume)["counts"] == {"given": 0, "topics": 22, "questions": 22}
    again = run(volume)
    assert again.returncode == 0 and "up to date" in again.stderr


def test_questions_of_the_list_go_before_the_prompt_and_its_forms_are_kept(tmp_path: Path) -> None:
    rows = "topic,pronoun,lower_case,question_1,question_2,split\nDorsal fever,it,dorsal fever,What is it?,Who has it?,train\nAda Venn,she,,,,test\nBo,they,,,,val\n"
    volume = write_volume(tmp_path, 'prompt = "What about {lower_case}?"\n', rows)
    assert run(volume).returncode == 0
    found = files(volume)
    fever = {"topic": "Dorsal fever", "topic_id": 0, "questions": ["What is it?", "Who has it?"], "pronoun": "it", "lower_case": "dorsal fever"}
    assert found["train"] == [fever] and found["val"] == found["dpoval"] == [{"topic": "Bo", "topic_id": 2, "questions": ["What about Bo?"], "pronoun": "them"}]
    assert found["test"] == [{"topic": "Ada Venn", "topic_id": 1, "questions": ["What about Ada Venn?"], "pronoun": "her"}]


@pytest.mark.parametrize(("dataset", "sizes"), [("bio", (288, 10, 50, 125)), ("medqa", (150, 10, 45, 100))])
def test_the_lists_of_the_project_give_the_papers_datasets(tmp_path: Path, dataset: str, sizes: tuple[int, ...]) -> None:
    command = [sys.executable, "-m", "confscoring.topics", "--dataset", dataset, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, env=stage_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"dataset_{dataset}" / f"questions_per_topic_{split}.json").read_text()) for split in SPLITS]
    assert tuple(map(len, found)) == sizes
    assert {len(topic["questions"]) for topics in found for topic in topics} == ({1} if dataset == "bio" else {6})
    assert all(("pronoun" if dataset == "bio" else "lower_case") in topic for topics in found for topic in topics)


@pytest.mark.parametrize(
    ("topics", "rows", "said"),
    [
        (SIZES, "", "20 topic(s) have no question"),
        (SIZES + 'prompt = "Write about {name}."', "", "KeyError('name')"),
        (SIZES + 'prompt = "Write something."', "", "names no topic"),
        ("splits = { train = 30, test = 1 }\n" + PROMPT, "", "want 31 topics"),
        (SIZES + PROMPT, "topic\nA\nA\n", "line 3: 'A' stands on line 2 already"),
    ],
)
def test_what_cannot_be_used_is_one_clear_message(tmp_path: Path, topics: str, rows: str, said: str) -> None:
    done = run(write_volume(tmp_path, topics, rows))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "dataset_mine").glob("questions_per_topic_*"))


def test_given_files_are_taken_in_place_of_the_list(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    mine = {"train": ["Lu Xi", "Jo Ba"], "val": ["Cy Do", "El Fa", "Gi Ho"], "test": ["Ivo Ka"]}
    for split, topics in mine.items():
        give(volume, split, topics)
    assert run(volume).returncode == 0
    found = files(volume)
    assert {split: names(found[split]) for split in mine} == mine and len(found["dpoval"]) == 2 and set(names(found["dpoval"])) < set(mine["val"])
    assert found["train"][0] == {"topic": "Lu Xi", "topic_id": 100, "questions": ["Tell me about Lu Xi."], "pronoun": "her"}
    assert manifest(volume)["counts"]["given"] == 3
    give(volume, "dpoval", ["Zoe Za"])
    (volume / "mine.csv").unlink()  # nothing is left to take from it
    assert run(volume).returncode == 0 and names(files(volume)["dpoval"]) == ["Zoe Za"]


def test_a_split_that_is_not_given_comes_from_the_list(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    assert run(volume).returncode == 0
    before = files(volume)
    give(volume, "test", ["Lu Xi"])
    assert run(volume).returncode == 0
    assert files(volume) | {"test": before["test"]} == before and names(files(volume)["test"]) == ["Lu Xi"]


@pytest.mark.parametrize("split", ["val", "test", "dpoval"])
def test_a_topic_that_is_trained_on_and_measured_is_refused_by_its_name(tmp_path: Path, split: str) -> None:
    volume = write_volume(tmp_path)
    give(volume, "train", ["Lu Xi", "Jo Ba"])
    give(volume, split, ["Ivo Ka", "Jo Ba"])
    done = run(volume)
    assert done.returncode == 2 and f"'Jo Ba' is a topic of train and of {split}" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "is not valid JSON"),
        ('{"a": 1}', "expected a list"),
        ('[{"topic": "A", "questions": ["Q?"]}]', "lacks the field 'topic_id'"),
        ("[]", "holds no topics"),
        ('[{"topic": "A", "topic_id": 0, "questions": []}]', "holds topic 'A' without a question"),
        ('[{"topic": "A", "topic_id": 0, "questions": ["Q?"]}, {"topic": "A", "topic_id": 1, "questions": ["Q?"]}]', "holds topic 'A' twice"),
    ],
)
def test_a_given_file_that_cannot_be_used_is_named(tmp_path: Path, content: str, said: str) -> None:
    volume = write_volume(tmp_path)
    give(volume, "train", content)
    done = run(volume)
    assert done.returncode == 1 and said in done.stderr and "given/questions_per_topic_train.json" in done.stderr and "Traceback" not in done.stderr


def topic_of(body: Body) -> str:
    """Return the topic that a call asks about."""
    asked = [message["content"] for message in body["messages"] if message["content"].startswith("Write ") and "this topic" in message["content"]]
    return str(asked[-1].partition(": ")[2])


def answer(body: Body) -> str:
    """Play the model: Oskars are understood only when asked again, and then half; of Pims half is good each time."""
    name, again = topic_of(body), len(body["messages"]) > 4
    good = [f"Where was {name} born?", f"Who taught {name}?", f"What did {name} draw?", f"When did {name} die?", f"Why is {name} known?"]
    if name.startswith("Oskar"):
        return "\n".join(f"{place}. {question}" for place, question in enumerate(good, 1)) if again else "I'd rather not."
    if name.startswith("Pim"):
        return "\n".join(f"- {question}" for question in (good[2:4] if again else [*good[:2], good[0], "Where was she born?"]))
    return "Here are the questions:\n\n" + "\n".join(f"**{place}.** {question}" for place, question in enumerate(good[:4], 1))


def test_a_chat_model_writes_the_questions_where_the_list_has_none(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    with ScriptedService(answer, faults=lambda body, attempt: "500" if attempt == 1 and "Holt" in prompt_of(body) else None) as service:
        write_volume(tmp_path, LLM, url=service.url)
        done = run(volume)
        assert done.returncode == 0, done.stderr
        assert len(service.calls) == 20 + 10 and set(service.answered.values()) == {1}
        first = [body for body in service.calls if len(body["messages"]) == 4]
        assert {(body["temperature"], body["max_tokens"], body["model"]) for body in first} == {(1.0, 512, "scripted")}
        again = [body["messages"][-1]["content"] for body in service.calls if "Pim Venn" in topic_of(body) and len(body["messages"]) == 6]
        assert again == [
            "'Where was Pim Venn born?' comes twice. 'Where was she born?' does not name Pim Venn. 4 questions are wanted, and there are 2 of use. "
            "Write the numbered list of 4 questions once more."
        ]
    found = {topic["topic"]: topic["questions"] for topics in files(volume).values() for topic in topics}
    assert set(found) == set(NAMES)
    for name, questions in found.items():
        assert len(set(questions)) == 4 and all(name in question and question.endswith("?") for question in questions)
    assert set(found["Pim Venn"]) == {"Where was Pim Venn born?", "Who taught Pim Venn?", "What did Pim Venn draw?", "When did Pim Venn die?"}
    counts, notes = manifest(volume)["counts"], manifest(volume)["notes"]
    assert (counts["written"], counts["questions"]) == (80, 88) and notes["questioner"]["model"] == "scripted" and notes["calls"]["asked"] == 30
    for path in (volume / "dataset_mine").glob("questions_per_topic_*"):
        path.unlink()
    assert run(volume, "--llm-mode", "replay").returncode == 0  # the service is gone
    assert {topic["topic"]: topic["questions"] for topics in files(volume).values() for topic in topics} == found


def test_topics_that_no_questions_were_written_for_are_named_and_the_replies_kept(tmp_path: Path) -> None:
    def stubborn(body: Body) -> str:
        return "1. Who are you?" if "Ada" in topic_of(body) else answer(body)

    volume = write_volume(tmp_path)
    with ScriptedService(stubborn, faults=lambda body, attempt: "400" if "Marit Krey" in topic_of(body) else None) as service:
        write_volume(tmp_path, LLM, url=service.url)
        done = run(volume)
        assert done.returncode == 1 and "6 of 20 topics have too few questions" in done.stderr and "Traceback" not in done.stderr
        assert "Ada Venn: asked twice, and of 4 questions 0 are of use: 'Who are you?' does not name Ada Venn." in done.stderr and "Marit Krey: " in done.stderr
        asked = len(service.calls)
        assert run(volume).returncode == 1 and len(service.calls) == asked  # only what failed for good is asked once more
    assert not list((volume / "dataset_mine").glob("questions_per_topic_*"))


def test_an_empty_reply_is_asked_for_once_more(tmp_path: Path) -> None:
    volume = write_volume(tmp_path)
    with ScriptedService(lambda body: "") as service:
        write_volume(tmp_path, LLM, url=service.url)
        done = run(volume)
        assert done.returncode == 1 and "20 of 20 topics have too few questions" in done.stderr and "… and 8 more" in done.stderr
        assert set(service.answered.values()) == {2} and {len(body["messages"]) for body in service.calls} == {4}


@pytest.mark.parametrize(
    ("reply", "entries"),
    [
        ("1. Who is A?\n2) Where is A?", ["Who is A?", "Where is A?"]),
        ("Sure! Here you are:\n- Who is A?\n* **Where is A?**\nI hope this helps.", ["Who is A?", "Where is A?"]),
        ("Q1: Who is A?\nQuestion 2: Where is A?", ["Who is A?", "Where is A?"]),
        ("**1.** Who is A?\r\n**2. Where is A?**", ["Who is A?", "Where is A?"]),
        ("1. Who is A? 2. Where is A?", ["Who is A?", "Where is A?"]),
        ('```json\n["Who is A?", "Where is A?"]\n```', ["Who is A?", "Where is A?"]),
        ('[{"question": "Who is A?"}, {"question": "Where\\nis A?"}]', ["Who is A?", "Where is A?"]),
        ("1. \"Who is A?\"\n2. Tell me about A.", ["Who is A?", "Tell me about A."]),
        ("1. What was A's 1969 work?\n2. 14th of what is A?", ["What was A's 1969 work?", "14th of what is A?"]),
        ("I cannot do that.", []),
    ],
)
def test_lists_are_read_in_any_usual_form(reply: str, entries: list[str]) -> None:
    assert parse_list(reply) == entries


def test_the_last_line_of_a_reply_that_was_cut_is_left_out() -> None:
    assert parse_list("1. Who is A?\n2. Where was A when A?", cut=True) == ["Who is A?"]


def test_a_question_names_its_topic_in_the_form_of_a_sentence_or_as_the_title() -> None:
    fever, painter = ListedTopic("Cold (illness)", 0, lower_case="common cold"), ListedTopic("Ada Venn (painter)", 1)
    good = ["What causes the common cold?", "What is Cold (illness)?"]
    assert choose([*good, "What is a cold?"], fever, 2) == (good, "") and choose(["What is a cold?", *good], fever, 3)[0] == good
    assert choose(["Who is Ada Venn?", "who is Ada Venn ?"], painter, 2)[1].startswith("'who is Ada Venn ?' comes twice.")


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


def test_a_plan_counts_a_call_for_each_topic_without_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def estimate(volume: Path) -> dict[str, Any]:
        assert tell_estimate(["topics", "--dataset", str(volume / "mine.toml"), "--data-dir", str(volume)], ESTIMATORS) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    found = estimate(write_volume(tmp_path, LLM))
    assert (found["calls"], found["recorded"]) == (len(NAMES), 0) and found["prompt_tokens"] > 50 * len(NAMES)
    assert estimate(write_volume(tmp_path, LLM, rows="topic,question_1\nAda Albane,Who was Ada Albane?\nOskar Venn,\n"))["calls"] == 1
    assert estimate(write_volume(tmp_path))["calls"] == 0  # the prompt asks
