"""Parts of responses that count in no log-probability, from a file of JSON lines: ``[dpo] masked_spans``.

Mask-DPO (arXiv 2503.02846) leaves the false sentences out of the chosen response and the true ones out of the rejected one, so
that nothing false is made likelier and nothing true unlikelier. Which they are is for the file to say, a line a response:

    {"topic": "Ada", "question": "Who is Ada?", "response": 0, "as_chosen": [[0, 17]], "as_rejected": [[18, 40]]}

``response`` is its index in the rewards file, and a part is [start, end) in characters of the response (Unicode code points, as
Python counts them). A response without a line counts as a whole. The reference is summed over the same tokens.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dpo.preferences import Prompt
from dpo.tokenise import RoleSpans
from volume.errors import RecordError, suggest
from volume.records import read_lines

_ROLES = ("as_chosen", "as_rejected")


class MaskedSpans:
    """The parts that are left out of responses.

    Args:
        spans: {(topic, question, index of the response, the response): parts left out of it as chosen, as rejected}.
    """

    def __init__(self, spans: Mapping[tuple[str, str, int, str], RoleSpans] | None = None) -> None:
        self._spans = dict(spans or {})

    def __len__(self) -> int:
        return len(self._spans)

    def of(self, prompt: Prompt, response: int) -> RoleSpans | None:
        """Return the parts left out of a prompt's response, None where it counts as a whole."""
        return self._spans.get((prompt.topic, prompt.text, response, prompt.responses[response]))


def read_spans(path: Path, prompts: Sequence[Prompt]) -> MaskedSpans:
    """Read a file of masked spans.

    Args:
        path: The file.
        prompts: The prompts that it may speak of: those of all rewards files that a training reads. Of two with the same topic
            and question it speaks of the first, and of the other as far as the responses are the same.

    Raises:
        UsageError: There is no such file.
        RecordError: A line is no such record, speaks of a response that there is not or twice of the same one, or a part of it
            lies outside the response; the message names file and line.
    """
    known: dict[str, dict[str, Prompt]] = {}
    for prompt in prompts:
        known.setdefault(prompt.topic, {}).setdefault(prompt.text, prompt)
    found: dict[tuple[str, str, int, str], RoleSpans] = {}
    lines: dict[tuple[str, str, int, str], int] = {}
    for number, row in read_lines(path):
        place = f"{path}, line {number}"
        topic, question = (_named(row, name, place) for name in ("topic", "question"))
        if topic not in known:
            near = difflib.get_close_matches(topic, known, n=1)
            _refuse(place, f"topic {topic!r} is not in the rewards files" + (f". Did you mean {near[0]!r}?" if near else ""))
        if question not in known[topic]:
            _refuse(place, f"topic {topic!r} has no question {question!r}.{suggest(question, known[topic])}")
        responses, index = known[topic][question].responses, row.get("response")
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(responses):
            _refuse(place, f"response = {index!r}: expected an index from 0 to {len(responses) - 1}")
        key = (topic, question, index, responses[index])
        if key in found:
            _refuse(place, f"response {index} to {question!r} has been on line {lines[key]} already; put its parts on one line")
        chosen, rejected = (_parts(row, role, len(responses[index]), place) for role in _ROLES)
        found[key], lines[key] = (chosen, rejected), number
    return MaskedSpans(found)


def _named(row: Mapping[str, Any], name: str, place: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        _refuse(place, f"{name} = {value!r}: expected a text")
    return value


def _parts(row: Mapping[str, Any], role: str, length: int, place: str) -> tuple[tuple[int, int], ...]:
    """Return the parts that a line gives for one role, each checked to lie within a response of ``length`` characters."""
    parts = row.get(role)
    if not isinstance(parts, list):
        _refuse(place, f"{role} = {parts!r}: expected a list of [start, end], empty for none")
    for part in parts:
        whole = isinstance(part, list) and len(part) == 2 and all(isinstance(end, int) and not isinstance(end, bool) for end in part)
        if not whole or not 0 <= part[0] < part[1] <= length:
            _refuse(place, f"{role} has {part!r}: expected [start, end] with 0 <= start < end <= {length}, the characters of the response")
    return tuple((start, end) for start, end in parts)


def _refuse(place: str, fault: str) -> NoReturn:
    raise RecordError(f"{place}: {fault}")
