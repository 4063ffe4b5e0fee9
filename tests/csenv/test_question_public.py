"""The public code's form of the prompt for questions, with texts of our own: what is asked, what is taken from replies, and the stage with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from question_volume import LLM, PEOPLE, manifest, outputs, run_stage, write_definition, write_volume
from scripted_service import ScriptedService

from confscoring.question_claims import Claim, Subject
from confscoring.question_public import parse_continuation, read_prompt
from volume.datasets import load_definition
from volume.errors import RecordError, UsageError
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.steps import build_steps

EXAMPLES: dict[str, Any] = {
    "system": "Be brief.", "instruction": "A fact about {name} or of {pronoun}. Ask.\n\n", "commit": "0", "names": ["Bo Crest", "kelfever"],
    "statements": [["He flew.", "He was born in Ulm."], ["It is mild."]],
    "questions": [["What did Bo Crest do?", "Where was Bo Crest born?"], ["Is kelfever mild?", "one too many?"]],
}  # fmt: skip
PATH = "prompts/public_questions_bio.json"


def write_examples(folder: Path, **changed: Any) -> Path:
    write_json(folder / PATH, {**EXAMPLES, **changed})
    return folder / PATH


def test_the_prompt_is_the_public_codes_one_message_to_the_letter(tmp_path: Path) -> None:
    prompt = read_prompt(write_examples(tmp_path))
    system, (role, text) = prompt.messages(Claim(Subject("Ada Venn (chemist)", "Ada Venn", "her"), "She drew maps."))
    assert system == ("system", "Be brief.") and role == "user"
    assert text == (
        "A fact about Bo Crest or of them. Ask.\n\nStatement: He flew.\nQuestion: What did Bo Crest do?\n\n"
        "Statement: He was born in Ulm.\nQuestion: Where was Bo Crest born?\n\n"
        "A fact about kelfever or of them. Ask.\n\nStatement: It is mild.\nQuestion: Is kelfever mild?\n\n"
        "A fact about Ada Venn or of her. Ask.\n\nStatement: She drew maps.\nQuestion:"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"instruction": "About {topic}."}, "has {topic}; expected {name} and {pronoun}"),
        ({"names": ["Bo Crest"]}, "a list of statements and one of questions"),
        ({"questions": [["What did Bo Crest do?"], ["Is kelfever mild?"]]}, "a question for each statement"),
        ({"statements": "He flew."}, "statements"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError) as raised:
        read_prompt(write_examples(tmp_path, **changed))
    assert said in str(raised.value) and "public_questions_bio.json" in str(raised.value)


@pytest.mark.parametrize(
    ("reply", "question"),
    [
        (" Where was Ada Venn born?", "Where was Ada Venn born?"),
        ("Question: Where was Ada Venn born?\n\nStatement: She drew.\nQuestion: What?", "Where was Ada Venn born?"),
        ("Is it so?\n", "Is it so?"),
        ("In which town,\nand when?", "In which town, and when?"),
        ("", ""),
        ("Statement: Question: What?", ""),
    ],
)
def test_a_reply_is_taken_up_to_the_next_statement(reply: str, question: str) -> None:
    assert parse_continuation(reply) == question


def test_of_a_reply_that_was_cut_the_last_line_is_not_taken() -> None:
    assert parse_continuation("Where was she born?\nAnd wh", cut=True) == "Where was she born?"
    assert parse_continuation("Where was she bo", cut=True) == ""
    assert parse_continuation("Where was she born?\nStatement: She dr", cut=True) == "Where was she born?"


def ask(body: dict[str, Any]) -> str:
    """Play the model: one fact is answered by nothing at first, one always; the others by a yes-or-no question."""
    text = body["messages"][-1]["content"]
    statement = text.rpartition("Statement: ")[2].removesuffix("\nQuestion:")
    if " sons" in statement or ("surveyor" in statement and "Write the question" not in text):
        return "\n"
    return f" Is it so that {statement}?\n\nStatement: More.\nQuestion: What?"


def test_the_stage_asks_so_and_takes_questions_without_an_answer(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, people=PEOPLE[:1])
    write_examples(volume)
    with ScriptedService(ask) as service:
        write_definition(volume, f'{LLM}\nexamples = "{PATH}"', service.url)
        done = run_stage(volume)
        assert done.returncode == 0, done.stderr
        assert {len(body["messages"]) for body in service.calls} == {2} and sum(service.answered.values()) == 6  # four facts, two of them twice
        again = [body["messages"][-1]["content"] for body in service.calls if "Write the question" in body["messages"][-1]["content"]]
    assert len(again) == 2 and all(text.endswith("\nQuestion:") and "A fact about Bo Crest" in text for text in again)
    rows = json.loads(outputs(volume)[f"{PEOPLE[0]}_aqs.json"])
    found = [one for row in rows for one in row["decisions"][0] or [] if one["kind"] == "claim"]
    asked = [one for one in found if " sons" not in one["atom"]]
    assert asked and all(one["atomic_question"].startswith("Is it so that Ada") and one["atomic_question"].endswith("?") for one in asked)
    assert {one["claim_answer"] for one in found} == {None} and [one["atomic_question"] for one in found if " sons" in one["atom"]] == [None]
    counts, notes = manifest(volume)["counts"], manifest(volume)["notes"]
    assert counts["repaired"] == 1 and counts["without_question"] == 3 and notes["questioner"]["examples"] == PATH


def test_without_its_file_the_stage_says_what_is_missing_and_asks_nothing(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, people=PEOPLE[:1])
    with ScriptedService(ask) as service:
        write_definition(volume, f'{LLM}\nexamples = "{PATH}"', service.url)
        done = run_stage(volume)
        assert not service.calls
    assert done.returncode != 0 and PATH in done.stderr and "Traceback" not in done.stderr


def test_another_file_makes_the_step_stale_as_its_input(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, f'{LLM}\nexamples = "{PATH}"', people=PEOPLE[:1])
    steps = build_steps(load_definition(str(volume / "mine.toml")), DatasetPaths(volume / "dataset_mine"), volume)
    assert volume / PATH in steps["questions-train"].inputs()


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        (f'backend = "rules"\nexamples = "{PATH}"', "only for questions.backend = 'llm'"),
        (f'{LLM}\ncontext = 2\nexamples = "{PATH}"', "questions.context = 2: expected 0"),
        (f'{LLM}\nexamples = "../{PATH}"', "below the data volume"),
        (f'{LLM}\nexamples = "{PATH}"\n[runs.sure]\nlabel = "x"\nreward = "aq_samp_conf_avg"', "runs.sure.reward = 'aq_samp_conf_avg': needs"),
        (f'{LLM}\nexamples = "{PATH}"\n[eval]\ncalibrated = ["sft"]', "eval.calibrated: expected []"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path: Path, questions: str, said: str) -> None:
    volume = write_volume(tmp_path, questions, people=PEOPLE[:1])
    with pytest.raises(UsageError) as raised:
        load_definition(str(volume / "mine.toml"))
    assert said in str(raised.value)
