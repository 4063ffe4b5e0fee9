"""Importing the public code's examples from an invented checkout of the same structure, whose texts are ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from volume.datasets import load_definition
from volume.errors import UsageError
from volume.public_prompts import import_prompts

FOLDER = "scoring/confidence_scoring"
ANSWERS = '''import nothing_of_that_name

raise SystemExit("this was run")

def get_aq_sampling_few_shot_examples_bio():
    prompt = ""
    prompt += "Who built the Ostrel mill? Ada \\"Ä\\" Albane\\n"

    prompt += "When? 1702\\n"
    return prompt

def get_aq_sampling_few_shot_examples_medqa():
    prompt = ""
    prompt += "What helps against kelfever? Rest\\n"
    return prompt
'''
QUESTIONS = '''
example_names_medqa = ["kelfever"]
example_statements_medqa = [["It is "
    "mild."]]
example_questions_medqa = [["Is it mild?"]]
example_names_bio = ["Ada Albane"]
example_statements_bio = [["She built a mill."]]
example_questions_bio = [["What did she build?"]]

def get_instruction_medqa(name):
    prompt = f"A statement about {name}."
    prompt += f" Ask about it."
    return prompt

def get_instruction_bio(name, pronoun="them"):
    # a comment
    prompt = f"A statement about {name} or people around {pronoun}."
    return prompt
'''


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


SYSTEM = "Be brief.\n"


def make_checkout(folder: Path, answers: str = ANSWERS, questions: str = QUESTIONS) -> str:
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER / "utils_atomic_sample.py").write_text(answers)
    (folder / FOLDER / "utils_atomic_q.py").write_text(questions)
    (folder / "system_prompt_concise.txt").write_text(SYSTEM)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "invented")
    return git(folder, "rev-parse", "HEAD")


def test_the_examples_of_answers_become_a_definition_that_extends_ours(tmp_path: Path) -> None:
    revision = make_checkout(tmp_path / "code")
    written = import_prompts(tmp_path / "code", tmp_path / "data", revision)
    bio = load_definition(str(tmp_path / "data/definitions/public-bio.toml"))
    assert bio.name == "public-bio" and bio.answers is not None
    assert bio.answers.prefix == 'Who built the Ostrel mill? Ada "Ä" Albane\nWhen? 1702\n'
    plain = load_definition("bio").answers
    assert plain is not None and bio.answers.prompt == plain.prompt and bio.answers.top_p == plain.top_p
    medqa = load_definition(str(tmp_path / "data/definitions/public-medqa.toml"))
    assert medqa.answers is not None and medqa.answers.prefix == "What helps against kelfever? Rest\n"
    assert len(written) == 4 and all(path.is_file() for path in written)


def test_the_prompt_for_questions_becomes_a_file_that_the_definition_names(tmp_path: Path) -> None:
    import_prompts(tmp_path / "code", tmp_path / "data", make_checkout(tmp_path / "code"))
    medqa = json.loads((tmp_path / "data/prompts/public_questions_medqa.json").read_text())
    assert medqa["statements"] == [["It is mild."]] and medqa["questions"] == [["Is it mild?"]] and medqa["system"] == "Be brief."
    assert medqa["instruction"] == "A statement about {name}. Ask about it."
    bio = json.loads((tmp_path / "data/prompts/public_questions_bio.json").read_text())
    assert bio["instruction"] == "A statement about {name} or people around {pronoun}." and bio["names"] == ["Ada Albane"]
    for name in ("bio", "medqa"):
        definition = load_definition(str(tmp_path / f"data/definitions/public-{name}.toml"))
        assert definition.questions and definition.questions.examples == f"prompts/public_questions_{name}.json" and definition.questions.backend == "llm"
        assert definition.eval.calibrated == ()


def test_another_commit_is_refused(tmp_path: Path) -> None:
    revision = make_checkout(tmp_path / "code")
    git(tmp_path / "code", "commit", "--quiet", "--allow-empty", "-m", "later")
    with pytest.raises(UsageError, match=f"expected {revision}"):
        import_prompts(tmp_path / "code", tmp_path / "data", revision)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", [f"{FOLDER}/utils_atomic_sample.py", f"{FOLDER}/utils_atomic_q.py", "system_prompt_concise.txt"])
def test_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    revision = make_checkout(tmp_path / "code")
    with (tmp_path / "code" / name).open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UsageError, match=f"{name} was changed"):
        import_prompts(tmp_path / "code", tmp_path / "data", revision)
    assert not (tmp_path / "data").exists()


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no checkout of the public code"):
        import_prompts(tmp_path / "empty", tmp_path / "data", "0" * 40)


@pytest.mark.parametrize("line", ['prompt += open("/etc/passwd").read()', 'prompt += name', 'print("run")', "for x in y: prompt += x"])
def test_a_function_that_does_anything_but_add_texts_is_refused(tmp_path: Path, line: str) -> None:
    revision = make_checkout(tmp_path / "code", ANSWERS.replace('prompt += "When? 1702\\n"', line))
    with pytest.raises(UsageError, match="expected"):
        import_prompts(tmp_path / "code", tmp_path / "data", revision)


def test_the_list_pins_the_commit_that_the_rest_of_the_project_names() -> None:
    from volume.asset_list import PROMPTS, read_list

    assert read_list()[PROMPTS].revision == "93fb47fc8e31e323f29e62a394ef602e8d0eda62"
