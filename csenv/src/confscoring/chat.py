"""Prompts of chat models: a user's message in the chat template that the model's tokenizer brings.

Templates are filled in here, with the settings of Transformers' own `apply_chat_template`, which 4.29 of the `paper` stack does
not have yet: both stacks, and a server that is asked for completions, get the same text. dpo.chat trains on that text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from confscoring.sampling import Prompt, Sample, TextSampler
from volume.errors import ItemError, RecordError, UsageError
from volume.settings import SamplingSettings

# A template that asks for today's date gets this one, or prompts would change overnight. It is what Llama 3's takes without a clock.
_TODAY = date(2024, 7, 26)
# Stands for what is still to come of a message; a private character, so no text has it and no template strips it as white space.
_REST = "\ue000"


class ChatForm:
    """Puts messages into a chat template.

    Args:
        template: The template, in Jinja.
        names: Special tokens by their names (bos_token, eos_token, …), as templates know them.
        bos: The token that the tokenizer puts before a text itself, and a server does; "" for none. The template's own is
            taken away there, so that there is one.
        place: Where the template is from, for errors.

    Raises:
        UsageError: It is no template.
    """

    def __init__(self, template: str, names: dict[str, str], bos: str, place: Path) -> None:
        self._names, self._bos, self._place = names, bos, place
        self._fill = self._guard(lambda: _compile(template).render)

    def render(self, message: str) -> str:
        """Return a user's message as a prompt that the model's reply follows.

        Raises:
            UsageError: The template refuses the message.
        """
        chat = [{"role": "user", "content": message}]
        text: str = self._guard(lambda: self._fill(messages=chat, tools=None, documents=None, add_generation_prompt=True, **self._names))
        return text.removeprefix(self._bos)

    def write(self, prompt: Prompt, settings: SamplingSettings) -> Prompt:
        """Return a prompt, after the settings' few-shot prefix, in the form in which it is sampled after."""
        return dataclasses.replace(prompt, text=self.render(settings.prefix + prompt.text))

    def opening(self, beginning: str) -> str:
        """Return what the prompts of all messages begin with that begin like this."""
        text, found, _ = self.render(beginning + _REST).partition(_REST)
        return text if found else ""

    def _guard(self, act: Callable[[], Any]) -> Any:
        import jinja2

        try:
            return act()
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise UsageError(
                f"the chat template in {self._place} cannot be filled in with one user's message: {error}. "
                "Mend its chat_template, or set chat = false and give the form in prompt."
            ) from error


class ChatSampler:
    """Samples from a chat model: every prompt, after the settings' few-shot prefix, is a user's message.

    Args:
        sampler: Samples after the texts that come of it.
        form: The model's chat form.
    """

    def __init__(self, sampler: TextSampler, form: ChatForm) -> None:
        self.sampler, self._form = sampler, form

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, without those of its beginning and end."""
        return self.sampler.count_tokens(text)

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings, shared: str | None = None) -> list[list[Sample] | ItemError]:
        """Return ``settings.n`` samples of every prompt, in the prompts' order.

        Args:
            shared: Given for texts that break off inside a response; no message asks for their rest, and they stay as they are.

        Raises:
            UsageError: The template refuses a message, or the sampler cannot go on.
        """
        if shared is not None:
            return self.sampler.sample(prompts, settings, shared)
        written = [self._form.write(prompt, settings) for prompt in prompts]
        return self.sampler.sample(written, dataclasses.replace(settings, prefix=""), self._form.opening(settings.prefix))


def open_chat(folder: Path, model: str) -> ChatForm:
    """Return the chat form of the model in a folder, which needs to hold no more than the tokenizer.

    Args:
        folder: A Hugging Face model folder.
        model: The model's name under [models].

    Raises:
        UsageError: There is no tokenizer, or it has no chat template.
    """
    remedy = f"or set models.{model}.chat = false and give the form yourself, as in prompt = \"[INST] {{question}} [/INST]\"."
    config = folder / "tokenizer_config.json"
    if not config.exists():
        raise UsageError(
            f"models.{model}.chat = true, but {config} is missing: the chat template of the model's tokenizer gives prompts their form, "
            f"for a server too. Run the stage that makes it, or put the model's tokenizer files there, {remedy}"
        )
    template = read_template(folder)
    if not template:
        raise UsageError(
            f"models.{model}.chat = true, but {config} has no chat_template (of several one named default). Add the model's own, "
            f"there or in the file chat_template.jinja beside it; {remedy}"
        )
    tokenizer = _load_tokenizer(folder)
    names = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    bos = names.get("bos_token", "") if tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else ""
    return ChatForm(template, names, bos, folder)


def read_template(folder: Path) -> str | None:
    """Return a tokenizer's chat template: chat_template.jinja, else that of tokenizer_config.json, of several the default one.

    Raises:
        RecordError: tokenizer_config.json does not hold a JSON object.
    """
    own = folder / "chat_template.jinja"
    if own.exists():
        return own.read_text(encoding="utf-8")
    given = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(given, list):  # several, each with its name
        given = {entry["name"]: entry["template"] for entry in given}.get("default")
    return given


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON: {error}. Put the model's tokenizer files there once more.") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path} holds no JSON object. Put the model's tokenizer files there once more.")
    return content


def _load_tokenizer(folder: Path) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    if (folder / "tokenizer.json").exists():
        _read_json(folder / "tokenizer.json")  # of a broken one Transformers says no more than "Exception"
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise UsageError(f"the tokenizer in {folder} cannot be loaded: {type(error).__name__}: {error}. Put the model's tokenizer files there once more.") from error


def _compile(template: str) -> Any:
    """Compile a template as Transformers does: in a sandbox, a block's own line leaving no trace, with the functions that templates call."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """{% generation %} marks the model's own part, for trainers that mask by it; what is inside is rendered as it stands."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson  # Jinja's own escapes HTML
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": _TODAY.strftime}
    return environment.from_string(template)
