"""Records on the volume: shapes are checked when they are read and when they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from volume.errors import RecordError, UsageError
from volume.records import AnswerSamples, Generations, ScoredResponses, Topics, find_fault, load, read_lines, save

TOPIC = {"topic": "Ada", "topic_id": 0, "questions": ["Who?"]}


@pytest.mark.parametrize(
    ("value", "shape", "fault"),
    [
        ([TOPIC], Topics, None),
        ([{**TOPIC, "pronoun": "she", "extra": 1}], Topics, None),  # fields of others are kept
        ([{"topic": "Ada", "topic_id": 0}], Topics, "$[0] lacks the field 'questions'"),
        ([{**TOPIC, "questions": "Who?"}], Topics, "$[0].questions is \"Who?\", expected a list"),
        ([{**TOPIC, "topic_id": True}], Topics, "$[0].topic_id is true, expected int"),
        ({"Who?": {"responses": ["a", 3]}}, Generations, "$.Who?.responses[1] is 3, expected str"),
        ({"samples": [{"q": ["a"]}]}, AnswerSamples, None),
        ([], AnswerSamples, "$ is [], expected an object (AnswerSamples)"),
    ],
)
def test_the_first_fault_of_a_value_is_named_with_its_place(value: Any, shape: Any, fault: str | None) -> None:
    assert find_fault(value, shape, "$") == fault


def test_a_response_without_facts_has_null_decisions_and_scores() -> None:
    row = {"topic": "Ada", "generation": "", "score": None, "respond_ratio": 0.0, "decisions": [None], "num_facts_per_response": 0, "init_score": None}
    assert find_fault([row], ScoredResponses, "$") is None


def test_a_file_that_is_missing_broken_or_of_another_shape_gets_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    with pytest.raises(UsageError, match=r"q\.json is missing"):
        load(path, Topics)
    path.write_text('[{"topic": "Ada"')
    with pytest.raises(RecordError, match=r"q\.json is not valid JSON.*Delete the file"):
        load(path, Topics)
    path.write_text(json.dumps([{"topic": 5}]))
    with pytest.raises(RecordError, match=r"q\.json: \$\[0\] lacks"):
        load(path, Topics)


def test_a_value_of_the_wrong_shape_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="refused to write"):
        save(tmp_path / "q.json", [{"topic": 1}], Topics)
    assert not (tmp_path / "q.json").exists()


def test_what_is_saved_is_read_back_with_unknown_fields_in_place(tmp_path: Path) -> None:
    save(tmp_path / "q.json", [{**TOPIC, "note": "ü"}], Topics)
    assert load(tmp_path / "q.json", Topics) == [{**TOPIC, "note": "ü"}]


def test_json_lines_are_read_one_by_one_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(UsageError, match="rows.jsonl is missing"):
        next(read_lines(path))
    path.write_text('{"text": "two\\u2028lines \u2028 of one"}\n\n{"text": 2}\n[3]\n{"half', encoding="utf-8")
    rows = read_lines(path)
    assert [next(rows)[0], next(rows)] == [1, (3, {"text": 2})]  # the empty line counts, a line separator in a text ends nothing
    with pytest.raises(RecordError, match="line 4: expected an object"):
        next(rows)
    path.write_text('{"half', encoding="utf-8")
    with pytest.raises(RecordError, match="line 1 is not valid JSON"):
        list(read_lines(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="is not UTF-8 text"):
        list(read_lines(path))


class _Marked(TypedDict):
    """As this file's annotations are strings, TypedDict itself takes every field for required."""

    name: str
    times: NotRequired[int]


def test_a_field_marked_not_required_may_be_missing_in_whatever_module_its_record_stands(tmp_path: Path) -> None:
    assert _Marked.__required_keys__ == {"name", "times"}
    for good in ({"name": "a"}, {"name": "a", "times": 2}):
        save(tmp_path / "marked.json", good, _Marked)
    for bad, said in (({"times": 2}, "lacks the field 'name'"), ({"name": "a", "times": "2"}, "times is \"2\", expected int")):
        with pytest.raises(RecordError, match=said):
            save(tmp_path / "marked.json", bad, _Marked)
