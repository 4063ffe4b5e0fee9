"""From a question to the prompt that its responses follow: the form in which they were sampled, for base and for chat models.

The text is that of `responses.prompt`; for a chat model it is a user's message in the chat template of the model's tokenizer.
The few-shot prefix of [responses] is no part of it: it shows an untuned model what a response is, and a policy that has been
trained on responses is trained, and sampled for evaluation, without it. confscoring.chat and confscoring.responses do the same
on the sampling side, so that training sees the tokens that were sampled after.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from dpo.models import load_tokenizer
from dpo.tokenise import puts_bos
from volume.errors import UsageError

# A template that asks for today's date gets this one, or prompts would change overnight. It is what Llama 3's takes without a clock.
_TODAY = date(2024, 7, 26)
_CLOCK = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a tokenizer.

    Attributes:
        tokenizer: A Transformers tokenizer.
        text: The template.
        place: Its folder, for errors.
        bos: The token that the tokenizer puts before a text itself, "" for none: the template's own is taken away there.
    """

    tokenizer: Any
    text: str
    place: Path
    bos: str = ""

    def render(self, message: str) -> str:
        """Return a user's message as a prompt that a reply follows.

        Raises:
            UsageError: The template refuses the message.
        """
        return self._fill([("user", message)], begin_reply=True).removeprefix(self.bos)

    def around_reply(self) -> tuple[str | None, str]:
        """Return what the template puts between a prompt and its reply, and the token that it puts after the reply.

        None where it is more than white space (an empty train of thought, say), and "" where no token ends the reply: then the
        usual space and the tokenizer's EOS are as good as anything.
        """
        message, reply = "Who?", "Ada."
        prompt = self._fill([("user", message)], begin_reply=True)
        whole = self._fill([("user", message), ("assistant", reply)], begin_reply=False)
        before, found, after = whole.removeprefix(prompt).partition(reply)
        if not whole.startswith(prompt) or not found:
            return None, ""
        tokens = [token for token in self.tokenizer.get_added_vocab() if after.lstrip().startswith(token)]
        return (before if not before.strip() else None), max(tokens, key=len, default="")

    def _fill(self, messages: list[tuple[str, str]], begin_reply: bool) -> str:
        import jinja2

        chat = [{"role": role, "content": content} for role, content in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(chat, chat_template=self.text, tokenize=False, add_generation_prompt=begin_reply)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise UsageError(
                f"the chat template in {self.place} cannot be filled in with one user's message: {error}. "
                "Mend its chat_template, or set chat = false and give the form in responses.prompt."
            ) from error
        return text


@dataclass(frozen=True)
class PromptForm:
    """Makes prompts of questions.

    Attributes:
        pattern: As `responses.prompt`, with {question} and {topic}.
        template: A chat model's template; None for a base model.
        separator: What stands between prompt and response, for `dpo.tokenise`; None: a space unless there is white space already.
        ending: The token that ends a response; "": the tokenizer's EOS.
    """

    pattern: str = "{question}"
    template: ChatTemplate | None = None
    separator: str | None = None
    ending: str = ""

    def __call__(self, topic: str, question: str) -> str:
        """Return the prompt that asks a question of a topic."""
        text = self.pattern.format(question=question, topic=topic)
        return text if self.template is None else self.template.render(text)

    @property
    def identity(self) -> list[str]:
        """What decides every prompt: it belongs to a run's identity."""
        return [self.pattern, "" if self.template is None else self.template.text]


def open_form(pattern: str, folder: Path, chat: bool) -> PromptForm:
    """Return the form of a model's prompts.

    Args:
        pattern: As `responses.prompt`.
        folder: The model's folder, read only for a chat model.
        chat: Whether the prompts take the chat template's form.

    Raises:
        UsageError: A chat model whose tokenizer has no template, or one that cannot be used.
    """
    if not chat:
        return PromptForm(pattern)
    tokenizer = load_tokenizer(folder)
    text = _with_fixed_date(_choose(tokenizer.chat_template, folder), folder)
    template = ChatTemplate(tokenizer, text, folder, tokenizer.bos_token if puts_bos(tokenizer) else "")
    separator, ending = template.around_reply()
    return PromptForm(pattern, template, separator, ending)


def _choose(given: str | dict[str, str] | None, folder: Path) -> str:
    """Return the template; of several the one called "default"."""
    template = given.get("default") if isinstance(given, dict) else given
    if not template:
        found = f"templates named {', '.join(sorted(given))} but none named default" if isinstance(given, dict) else "no chat_template"
        raise UsageError(
            f"chat = true, but {folder / 'tokenizer_config.json'} has {found}. Add the model's own, there as chat_template or in the file "
            'chat_template.jinja beside it; or set chat = false and give the form yourself, as in prompt = "[INST] {question} [/INST]".'
        )
    return template


def _with_fixed_date(template: str, folder: Path) -> str:
    fixed = _CLOCK.sub(lambda call: repr(_TODAY.strftime(call[2])), template)
    if "strftime_now(" in fixed:
        raise UsageError(f"the chat template in {folder} asks for today's date in a way that is not known here: write the date into the template itself.")
    return fixed
