"""Prompts in the form in which responses were sampled: the text of base models, the chat templates of others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chat_forms import CASES, INST, MESSAGE, Case, write_tokenizer

from dpo.chat import open_form
from dpo.models import load_tokenizer
from dpo.tokenise import ResponseTokeniser
from volume.datasets import load_definition
from volume.errors import UsageError
from volume.files import write_json
from volume.paths import DatasetPaths


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_chat_prompt_is_the_text_and_the_tokens_that_csenv_samples_after(tmp_path: Path, case: Case) -> None:
    form = open_form("{question}", write_tokenizer(tmp_path, case.template, case.puts_bos), chat=True)
    assert (form("Ada", MESSAGE), form.separator, form.ending) == (case.rendered, case.separator, case.ending)
    tokenizer = load_tokenizer(tmp_path)
    tokeniser = ResponseTokeniser(tokenizer, 200, 100, form.separator, form.ending)
    (sequence,) = tokeniser.responses([(form("Ada", MESSAGE), "Ada is Ada.")])
    tokens = tokenizer.convert_ids_to_tokens(sequence.ids.tolist())
    assert tuple(tokens[: sequence.prompt_length]) == case.tokens
    assert tokens.count("<s>") == 1 and tokens[-1] == case.ending and tokens.count("</s>") <= 1
    assert tokeniser.counts.boundaries_moved == 0


@pytest.mark.parametrize("name", ["inst", "inst, and the tokenizer puts no BOS"])
def test_the_tokens_are_those_of_transformers_own_chat_template(tmp_path: Path, name: str) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, CASES[name].template, CASES[name].puts_bos))
    ids = tokenizer.apply_chat_template([{"role": "user", "content": MESSAGE}], add_generation_prompt=True, return_dict=False)
    assert tuple(tokenizer.convert_ids_to_tokens(ids)) == CASES[name].tokens


def test_a_base_prompt_is_the_text_of_the_definition_and_needs_no_tokenizer(tmp_path: Path) -> None:
    form = open_form("Question about {topic}: {question}\nAnswer:", tmp_path / "nowhere", chat=False)
    assert form("Ada", "Who is {she}?") == "Question about Ada: Who is {she}?\nAnswer:"
    assert (form.separator, form.ending) == (None, "")
    assert open_form("{question}", tmp_path, chat=False)("Ada", "Write of Ada .") == "Write of Ada ."


def test_a_user_s_message_takes_the_form_of_the_definition_too(tmp_path: Path) -> None:
    form = open_form("{question} In one line.", write_tokenizer(tmp_path, INST), chat=True)
    assert form("Ada", "Who is Ada?") == "[INST] Who is Ada? In one line. [/INST]"


def test_what_decides_the_prompts_is_part_of_a_run_s_identity(tmp_path: Path) -> None:
    one = open_form("{question}", write_tokenizer(tmp_path / "one", INST), chat=True).identity
    assert one == open_form("{question}", write_tokenizer(tmp_path / "same", INST), chat=True).identity
    assert one != open_form("{question}!", tmp_path / "one", chat=True).identity
    assert one != open_form("{question}", write_tokenizer(tmp_path / "other", INST.replace("INST", "ASK")), chat=True).identity
    assert one != open_form("{question}", tmp_path / "one", chat=False).identity
    json.dumps(one)


def test_a_template_in_a_file_of_its_own_goes_before_that_of_the_configuration(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, INST)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }} -")
    assert open_form("{question}", tmp_path, chat=True)("Ada", "Who?") == "Who? -"


def test_a_train_of_thought_before_a_reply_is_no_separator(tmp_path: Path) -> None:
    thinking = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}<think>\n</think>\n{% endif %}{{ m.content }}{% endfor %}"
    form = open_form("{question}", write_tokenizer(tmp_path, thinking + "{% if add_generation_prompt %}[assistant]{% endif %}"), chat=True)
    assert (form.separator, form.ending) == (None, "")


@pytest.mark.parametrize(("template", "message"), [
    (None, r"chat = true, but .*tokenizer_config\.json has no chat_template\. Add the model's own.*prompt = \"\[INST\] \{question\} \[/INST\]\""),
    ([{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "x"}], "has templates named rag, tool_use but none named default"),
    ("{% if %}", "cannot be filled in with one user's message: .*Mend its chat_template, or set chat = false"),
    ("{{ raise_exception('no users here') }}", "no users here"),
    ("{{ messages[0].content + 3 }}", "cannot be filled in"),
    ("{{ strftime_now(messages[0].content) }}", "asks for today's date in a way that is not known here"),
])  # fmt: skip
def test_a_template_that_cannot_be_used_is_told_of_with_the_remedy(tmp_path: Path, template: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_form("{question}", write_tokenizer(tmp_path, template), chat=True)


DEFINITION = """
name = "mine"
description = "a chat model"
splits = ["train", "test"]
[models.tuned]
path = "models/tuned"
chat = true
[responses]
model = "tuned"
n = 2
max_new_tokens = 8
prefix = "Who is Bo? Bo is Bo.\\n"
prompt = "{question} Of {topic}, in one line."
[sft]
[dpo]
masked_spans = "masks.jsonl"
[runs.sft]
kind = "sft"
label = "SFT"
[runs.fs]
label = "FS"
reward = "factscore_avg"
"""


def test_the_stage_trains_on_the_prompts_without_the_few_shot_prefix_by_the_template_of_the_folder_it_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dpo.train
    import dpo.tuning

    (tmp_path / "mine.toml").write_text(DEFINITION)
    definition = load_definition(str(tmp_path / "mine.toml"))
    paths = DatasetPaths(tmp_path / "dataset_mine")
    write_tokenizer(tmp_path / "models" / "tuned", INST)
    write_tokenizer(paths.export("sft"), INST.replace("INST", "ASK"))
    write_json(paths.root / "rewards" / "rewards_train_1.json", {})
    given: list[tuple[Any, ...]] = []

    def note(*arguments: Any) -> list[Path]:
        given.append(arguments)
        return []

    for name in ("tune_on_responses", "tune_on_preferences"):
        monkeypatch.setattr(dpo.tuning, name, note)
    for run in ("sft", "fs"):
        context = SimpleNamespace(definition=definition, paths=paths, data_dir=tmp_path, run=run, log=print, interrupted=False)
        assert dpo.train.produce(context) == []  # type: ignore[arg-type]
    assert [place[0].form("Ada", "Who?") for place in given] == ["[INST] Who? Of Ada, in one line. [/INST]", "[ASK] Who? Of Ada, in one line. [/ASK]"]
    assert given[1][-1] == paths.root / "masks.jsonl"
