"""The records on the volume: their shapes, and reading and writing them with the shape checked.

The shapes are those of the public FactTune code, so that a data folder made by it can be read here and the other way
round. Keys marked NotRequired are ours; keys that are not listed are kept as they are.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from volume.errors import RecordError, UsageError
from volume.files import write_json


class Topic(TypedDict):
    """One entry of ``questions_per_topic_{split}.json``; ``topic`` is the title in the knowledge base."""

    topic: str
    topic_id: int
    questions: list[str]
    pronoun: NotRequired[str]
    lower_case: NotRequired[str]


class Generation(TypedDict):
    """The responses to one question; ``decoding``, ``tokens``, ``margins`` and ``raw`` (the texts before they were cut) run parallel to ``responses``.

    A margin is the numerical error that could have changed a sample, the smallest |u - CDF| of its draws.
    """

    responses: list[str]
    decoding: NotRequired[list[str]]
    tokens: NotRequired[list[int]]
    margins: NotRequired[list[float]]
    raw: NotRequired[list[str]]


class Decision(TypedDict):
    """One atomic fact with its verdict; the question fields are added by the stage ``questions``."""

    atom: str
    is_supported: bool
    kind: NotRequired[str]
    sentence: NotRequired[str]
    attribute: NotRequired[str | None]
    value: NotRequired[str | None]
    evidence: NotRequired[str | None]
    nearest: NotRequired[str]  # of a verifier that names no evidence: the sentence of its passages that shares most words with the fact
    undecided: NotRequired[bool]
    p_true: NotRequired[float]
    npm: NotRequired[float]
    atomic_question: NotRequired[str | None]
    convert_to_aq_prompt: NotRequired[str | None]
    claim_answer: NotRequired[str | None]


class ScoredResponse(TypedDict):
    """One response with its atomic facts; ``decisions`` holds one list, None where nothing could be extracted."""

    topic: str
    generation: str
    score: float | None
    respond_ratio: float
    decisions: list[list[Decision] | None]
    num_facts_per_response: float
    init_score: float | None
    sentences: NotRequired[int]
    vague: NotRequired[int]
    unparsed: NotRequired[int]
    off_topic: NotRequired[int]
    repeats: NotRequired[int]
    refused: NotRequired[int]
    abstained: NotRequired[bool]


class AnswerSamples(TypedDict):
    """Sampled answers: one dict ``{question: [answer] * n}`` per response, in the order of the atomic questions.

    ``margins`` has the margins of the answers, once for each question of the topic.
    """

    samples: list[dict[str, list[str]]]
    margins: NotRequired[dict[str, list[float]]]


class Candidates(TypedDict):
    """``runs/{run}/candidates/candidates.json``: after how many steps each kept policy was written, the first to the last."""

    steps: list[int]


Topics = list[Topic]
Generations = dict[str, Generation]
ScoredResponses = list[ScoredResponse]
EntitySamples = dict[str, dict[str, dict[str, list[str]]]]
Rewards = dict[str, dict[str, dict[str, list[Any]]]]


def load(path: Path, shape: Any) -> Any:
    """Read a JSON file and check that it has ``shape``.

    Args:
        path: The file.
        shape: A TypedDict, or list/dict/union of such types.

    Raises:
        UsageError: There is no such file.
        RecordError: The file is no JSON, or a value in it has another type; the message names the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing. Run the stage that writes it (`make plan` says which).") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RecordError(
            f"{path} is not valid JSON: {error}. Delete the file and run the same command again: the stage that writes "
            "it makes it anew."
        ) from error
    fault = find_fault(value, shape, "$")
    if fault:
        raise RecordError(f"{path}: {fault}. Delete the file to have it made anew, or mend that value.")
    return value


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file, streaming; empty lines are skipped.

    Raises:
        UsageError: There is no such file.
        RecordError: A line is no JSON object, or the file is no UTF-8 text; the message names the line.
    """
    if not path.is_file():
        raise UsageError(f"{path} is missing; expected a file of JSON lines. If a stage writes it, `make plan` says which.")
    with path.open(encoding="utf-8", newline="\n") as file:  # only "\n" ends a line: a text may hold other line breaks
        try:
            for number, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                try:
                    value = json.loads(text)
                except ValueError as error:
                    raise RecordError(f"{path}, line {number} is not valid JSON: {error}") from error
                if not isinstance(value, dict):
                    raise RecordError(f"{path}, line {number}: expected an object, got {text.strip()[:60]}")
                yield number, value
        except UnicodeDecodeError as error:
            raise RecordError(f"{path} is not UTF-8 text: {error}") from error


def save(path: Path, value: Any, shape: Any) -> None:
    """Check that ``value`` has ``shape`` and write it atomically as canonical JSON.

    Raises:
        RecordError: The value does not have the shape: a fault of the stage, not of its input.
    """
    fault = find_fault(value, shape, "$")
    if fault:
        raise RecordError(f"refused to write {path}: {fault}")
    write_json(path, value)


def find_fault(value: Any, shape: Any, place: str) -> str | None:
    """Return the first place where ``value`` does not have ``shape``, or None."""
    if shape is Any:
        return None
    origin = get_origin(shape)
    if origin in (Union, types.UnionType):
        if any(find_fault(value, option, place) is None for option in get_args(shape)):
            return None
        return _expected(value, " or ".join(_name(option) for option in get_args(shape)), place)
    if is_typeddict(shape):
        return _fault_of_record(value, shape, place)
    if origin is list:
        if not isinstance(value, list):
            return _expected(value, "a list", place)
        (item,) = get_args(shape)
        return _first(find_fault(part, item, f"{place}[{index}]") for index, part in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            return _expected(value, "an object", place)
        item = get_args(shape)[1]
        return _first(find_fault(part, item, f"{place}.{key}") for key, part in value.items())
    if shape is type(None):
        return None if value is None else _expected(value, "null", place)
    if shape is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif shape is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    else:
        good = isinstance(value, shape)
    return None if good else _expected(value, _name(shape), place)


def _fault_of_record(value: Any, shape: Any, place: str) -> str | None:
    if not isinstance(value, dict):
        return _expected(value, f"an object ({shape.__name__})", place)
    required, hints = _fields(shape)
    missing = sorted(required - value.keys())
    if missing:
        return f"{place} lacks the field {missing[0]!r}"
    return _first(find_fault(value[key], hint, f"{place}.{key}") for key, hint in hints.items() if key in value)


@lru_cache(maxsize=None)  # a file has thousands of records of one shape
def _fields(shape: Any) -> tuple[frozenset[str], dict[str, Any]]:
    """Return the fields that a record must have, and the types of all; `__required_keys__` alone misses a NotRequired inside a string."""
    optional = {key for key, hint in get_type_hints(shape, include_extras=True).items() if get_origin(hint) is NotRequired}
    return frozenset(shape.__required_keys__ - optional), get_type_hints(shape)


def _first(faults: Any) -> str | None:
    return next((fault for fault in faults if fault), None)


def _expected(value: Any, what: str, place: str) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return f"{place} is {shown[:60]}{'…' if len(shown) > 60 else ''}, expected {what}"


def _name(shape: Any) -> str:
    return "null" if shape is type(None) else getattr(shape, "__name__", str(shape))
