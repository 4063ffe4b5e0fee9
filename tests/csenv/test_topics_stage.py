"""The stage `topics`: questions from the list, from a prompt, from given files, and from a scripted service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sampling_volume import stage_environment
from scripted_service import Body, ScriptedService, prompt_of

from confscoring.topic_questions import choose, parse_list
from volume.files import write_json
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
