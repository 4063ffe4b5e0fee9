"""Prompts of chat models: the template filled in, on both stacks and for a server, and sampled after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from chat_forms import CASES, INST, MESSAGE, Case, write_tokenizer
from sampling_volume import outputs, run_stage, write_definition, write_volume
from scripted_service import ScriptedService, echo_hash
from tiny_models import make_llama

from confscoring.chat import ChatSampler, open_chat
from confscoring.estimate import ESTIMATORS
from confscoring.responses import decodings
from confscoring.sampler import Sampler
from confscoring.sampling import Prompt, Sample
from volume.costs import tell_estimate
from volume.errors import RecordError, UsageError
from volume.settings import EvalSettings, ModelSettings, RunSettings, SamplingSettings

PREFIX = "Who is Bo? Bo is Bo.\n"


def settings(**changes: Any) -> SamplingSettings:
    return SamplingSettings(**{"model": "m", "n": 3, "max_new_tokens": 6, "prefix": PREFIX, **changes})


class Recording:
    """A sampler that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str, str | None]] = []

    def count_tokens(self, text: str) -> int:
        return len(text)

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings, shared: str | None = None) -> list[Any]:
        self.asked.append(([prompt.text for prompt in prompts], settings.prefix, shared))
        return [[Sample(prompt.item, 1, None)] for prompt in prompts]


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_template_becomes_the_text_and_the_tokens_that_dpo_trains_on(tmp_path: Path, case: Case) -> None:
    form = open_chat(write_tokenizer(tmp_path, case.template, case.puts_bos), "m")
    assert form.render(MESSAGE) == case.rendered
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(case.rendered)["input_ids"])  # as the sampler does
    assert tuple(tokens) == case.tokens and tokens.count("<s>") == 1


@pytest.mark.skipif(not hasattr(transformers.PreTrainedTokenizerFast, "apply_chat_template"), reason="Transformers 4.29 has no chat templates")
@pytest.mark.parametrize("name", [name for name in CASES if name != "dated"])
def test_transformers_own_text_is_the_same(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(write_tokenizer(tmp_path, case.template, case.puts_bos))
    text = tokenizer.apply_chat_template([{"role": "user", "content": MESSAGE}], tokenize=False, add_generation_prompt=True)
    assert text.removeprefix("<s>" if case.puts_bos else "") == case.rendered


def test_every_prompt_after_the_few_shot_examples_is_one_message_and_what_all_have_in_common_is_shared(tmp_path: Path) -> None:
    plain = Recording()
    sampler = ChatSampler(plain, open_chat(write_tokenizer(tmp_path, INST), "m"))
    found = sampler.sample([Prompt("a", "Who is Ada?"), Prompt("b", "Who is Cy?", 3)], settings())
    assert plain.asked == [([f"[INST] {PREFIX}Who is Ada? [/INST]", f"[INST] {PREFIX}Who is Cy? [/INST]"], "", f"[INST] {PREFIX}")]
    assert [row[0].text for row in found] == ["a", "b"] and sampler.count_tokens("four") == 4  # type: ignore[index]


def test_a_text_that_breaks_off_inside_a_response_is_no_message(tmp_path: Path) -> None:
    plain = Recording()
    ChatSampler(plain, open_chat(write_tokenizer(tmp_path, INST), "m")).sample([Prompt("a", "Who is Ada? Ada is")], settings(prefix=""), shared="Who is Ada? Ada")
    assert plain.asked == [(["Who is Ada? Ada is"], "", "Who is Ada? Ada")]


def test_samples_are_those_of_the_rendered_text(tmp_path: Path) -> None:
    make_llama(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(INST)
    questions = ("Who is Ada?", "Where was Cy born, and when?")
    plain, inner = (Sampler(tmp_path, "float32", 3, "mine") for _ in range(2))
    written = [Prompt(question, f"[INST] {PREFIX}{question} [/INST]") for question in questions]
    expected = plain.sample(written, settings(prefix=""))
    found = ChatSampler(inner, open_chat(tmp_path, "m")).sample([Prompt(question, question) for question in questions], settings())
    texts = [[[sample.text for sample in row] for row in rows if isinstance(row, list)] for rows in (found, expected)]
    assert texts[0] == texts[1] and len({text for row in texts[0] for text in row}) == 6
    assert inner.forwards.shared > 10 > plain.forwards.shared  # the examples are run once


def test_the_few_shot_prefix_is_for_models_that_are_not_tuned() -> None:
    definition = SimpleNamespace(
        responses=settings(temperature=0.7), eval=EvalSettings(n=2),
        models={"m": ModelSettings("m"), "other": ModelSettings("other"), "chatty": ModelSettings("chatty", chat=True)},
        runs={
            **{name: RunSettings(name, "", name) for name in ("base", "sft", "dpo")}, "base2": RunSettings("", kind="base", model="other"),
            "chat": RunSettings("", kind="base", model="chatty"), "dola": RunSettings("", kind="decode", start="base", decoder="d"),
            "tuned_dola": RunSettings("", kind="decode", start="dpo", decoder="d"),
        },
    )  # fmt: skip
    prefixes = {
        run: {how.prefix for _, how in decodings(SimpleNamespace(definition=definition, run=run, split="test"))}  # type: ignore[arg-type]
        for run in (None, *definition.runs)
    }
    few_shot = {run for run, found in prefixes.items() if found == {PREFIX}}
    assert few_shot == {None, "base", "base2", "dola"} and {run for run, found in prefixes.items() if found == {""}} == {"sft", "dpo", "chat", "tuned_dola"}


def test_of_two_samplers_each_goes_by_its_own_model_and_a_server_gets_the_rendered_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedService(answer=echo_hash) as service:
        volume = write_volume(tmp_path, ["Ada Albane"])
        more = f"[completions]\nbase_url = '{service.url}'\nbackoff_s = 0.001\n[models.chatty]\npath = 'models/chatty'\nchat = true"
        definition = write_definition(volume, 'backend = "openai"', more)
        definition.write_text(definition.read_text().replace('[responses]\nmodel = "tiny"', '[responses]\nmodel = "chatty"'))
        refused = run_stage(volume, "responses")
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        assert "models.chatty.chat = true, but" in refused.stderr and "models/chatty/tokenizer_config.json is missing" in refused.stderr
        assert "or set models.chatty.chat = false" in refused.stderr and not service.calls
        write_tokenizer(volume / "models" / "chatty", INST)  # the tokenizer is enough
        for stage in ("responses", "answers"):
            done = run_stage(volume, stage)
            assert done.returncode == 0, done.stderr
        prompts = {body["model"]: {call["prompt"] for call in service.calls if call["model"] == body["model"]} for body in service.calls}
    assert prompts["chatty"] == {"[INST] Write about Ada Albane. [/INST]", "[INST] Who is Ada Albane? [/INST]"}
    assert prompts["somebody/tiny"] and not any("[INST]" in prompt for prompt in prompts["somebody/tiny"])
    assert len(outputs(volume)) == 2
    for path in (volume / "dataset_mine" / "responses").iterdir():  # to be done again, from what is recorded
        path.unlink()
    assert tell_estimate(["responses", "--dataset", str(definition), "--data-dir", str(volume), "--split", "train"], ESTIMATORS) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["calls"] == 0 < found["recorded"]


@pytest.mark.parametrize(("template", "message"), [
    (None, r"models\.m\.chat = true, but .*tokenizer_config\.json has no chat_template.*prompt = \"\[INST\] \{question\} \[/INST\]\""),
    ([{"name": "rag", "template": "x"}], "has no chat_template .of several one named default."),
    ("{% if %}", "cannot be filled in with one user's message: .*Mend its chat_template, or set chat = false"),
    ("{{ raise_exception('no users here') }}", "no users here"),
    ("{{ messages.append(3) }}", "cannot be filled in"),  # templates come from strangers: in their sandbox they change nothing
    ("{{ messages[0].content + 3 }}", "cannot be filled in"),
])  # fmt: skip
def test_a_template_that_cannot_be_used_is_told_of_with_the_remedy(tmp_path: Path, template: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_chat(write_tokenizer(tmp_path, template), "m").render("Who?")


def test_tokenizer_files_that_cannot_be_read_are_told_of(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (write_tokenizer(tmp_path, INST) / name).write_text('{"a": ')  # a copy cut short
        with pytest.raises(RecordError, match=f"{name} is not valid JSON: .*once more"):
            open_chat(tmp_path, "m")
    (write_tokenizer(tmp_path, INST) / "tokenizer_config.json").write_text("[]")
    with pytest.raises(RecordError, match="tokenizer_config.json holds no JSON object"):
        open_chat(tmp_path, "m")
    (write_tokenizer(tmp_path, INST) / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="the tokenizer in .* cannot be loaded"):
        open_chat(tmp_path, "m")


def test_a_template_in_a_file_of_its_own_goes_before_that_of_the_configuration(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, INST)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }} -")
    form = open_chat(tmp_path, "m")
    assert form.render("Who?") == "Who? -" and form.opening("Wh") == "Wh"


def test_a_template_that_hides_the_message_shares_nothing(tmp_path: Path) -> None:
    form = open_chat(write_tokenizer(tmp_path, "{{ messages[0].content | length }}"), "m")
    assert (form.render("Who"), form.opening("Who")) == ("3", "")
