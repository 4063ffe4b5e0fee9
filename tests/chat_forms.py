"""Chat templates of our own in the shapes of well-known ones, a tokenizer to go with them, and what both ends must make of them.

csenv samples after the rendered text and dpo trains on it, with other versions of Transformers: the tests of each read this file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MESSAGE = "Who is Ada? "
_PIECES = ("▁Ada", "▁Who", "▁is", "▁[", "INST", "▁[/", "Who")
_ADDED = ("<unk>", "<s>", "</s>", "<|turn|>", "<|end|>")


@dataclass(frozen=True)
class Case:
    """A template, and what becomes of MESSAGE and of a response to it.

    Attributes:
        template: As tokenizer_config.json has it.
        rendered: The prompt's text.
        tokens: Its tokens, BOS included.
        separator: What the template puts before a reply.
        ending: The token that it puts after one.
        puts_bos: Whether the tokenizer puts BOS before a text.
    """

    template: Any
    rendered: str
    tokens: tuple[str, ...]
    separator: str
    ending: str
    puts_bos: bool = True


# Brings BOS with it and marks the user's turn with plain text, as Llama 2's does.
INST = """\
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {{- bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'].strip() + ' ' + eos_token }}
    {%- else %}
        {{- raise_exception('only users and assistants talk here') }}
    {%- endif %}
{%- endfor %}
"""

# Marks turns with tokens, knows no BOS and ends a reply with a token other than EOS, as ChatML does.
TURNS = """\
{% for message in messages %}
<|turn|>{{ message['role'] }}
{{ message['content'] | trim }}<|end|>
{% endfor %}
{% if add_generation_prompt %}
<|turn|>assistant
{% endif %}
"""

# Looks at the clock, leaves a loop and marks what the model is to learn, as some newer ones do.
DATED = """\
{{ bos_token }}{{ 'On ' + strftime_now('%d %b %Y') if strftime_now is defined else 'Once' }}: {% for message in messages %}
{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}{{ eos_token }}{% break %}{% endif %}
{{ message.content | tojson }}<|turn|>{% endfor %}
"""

_SPELT = tuple("On▁26▁Jul▁2024:▁\"")
CASES = {
    "inst": Case(
        INST, "[INST] Who is Ada? [/INST]", ("<s>", "▁[", "INST", "]", "▁Who", "▁is", "▁Ada", "?", "▁[/", "INST", "]"), " ", "</s>",
    ),
    "inst, and the tokenizer puts no BOS": Case(
        INST, "<s>[INST] Who is Ada? [/INST]", ("<s>", "▁[", "INST", "]", "▁Who", "▁is", "▁Ada", "?", "▁[/", "INST", "]"), " ", "</s>", puts_bos=False,
    ),
    "turns": Case(
        [{"name": "tool_use", "template": "{{ raise_exception('no tools') }}"}, {"name": "default", "template": TURNS}],
        "<|turn|>user\nWho is Ada?<|end|>\n<|turn|>assistant\n",
        ("<s>", "<|turn|>", *"▁user\n", "Who", "▁is", "▁Ada", "?", "<|end|>", "▁", "\n", "<|turn|>", *"▁assistant\n"), "", "<|end|>",
    ),
    "dated": Case(
        DATED, "On 26 Jul 2024: \"Who is Ada? \"<|turn|>", ("<s>", "▁", *_SPELT, "Who", "▁is", "▁Ada", "?", "▁", '"', "<|turn|>"), "", "</s>",
    ),
}  # fmt: skip


def write_tokenizer(folder: Path, template: Any = None, puts_bos: bool = True) -> Path:
    """Write a tokenizer that prepends a space to a text and to what follows an added token, as Llama's does; return its folder."""
    characters = sorted(set('"' + "".join(map(chr, range(33, 127)))) | {"▁", "\n"})
    known = [*_ADDED, *characters]
    merges: list[str] = []
    for piece in _PIECES:
        for end in range(2, len(piece) + 1):
            if piece[:end] not in known:
                known.append(piece[:end])
                merges.append(f"{piece[: end - 1]} {piece[end - 1]}")
    ids = {token: place for place, token in enumerate(known)}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    own = {"Sequence": {"id": "A", "type_id": 0}}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": ids[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for token in _ADDED
        ],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing", "single": [*([bos] if puts_bos else []), own], "pair": [own, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [ids["<s>"]], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "vocab": ids, "merges": merges,
        },
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **({} if template is None else {"chat_template": template}),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
