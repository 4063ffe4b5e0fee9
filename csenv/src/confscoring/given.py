"""Files that the user gives in place of what a stage would make: the authors' questions and responses, or anybody's in their shape.

They lie in given/ in the dataset's folder, are checked, and are copied to where the stages work; nothing is written into given/.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from volume.errors import ItemError, RecordError
from volume.paths import DatasetPaths
from volume.records import Generations, Topic, Topics, find_fault
from volume.topics import given_questions, given_responses


def take_questions(paths: DatasetPaths, split: str) -> Topics | None:
    """Return the given topics of a split, None where no file is given.

    Raises:
        RecordError: The file does not hold topics, or holds one twice or without a question.
    """
    path = given_questions(paths, split)
    if not path.is_file():
        return None
    topics: Topics = _read(path, Topics, 'expected a list of {"topic", "topic_id", "questions"}')
    twice = [name for name, times in Counter(topic["topic"] for topic in topics).items() if times > 1]
    bare = [topic["topic"] for topic in topics if not topic["questions"] or not all(question.strip() for question in topic["questions"])]
    if not topics or twice or bare or not all(topic["topic"].strip() for topic in topics):
        why = "no topics" if not topics else f"topic {twice[0]!r} twice" if twice else f"topic {bare[0]!r} without a question" if bare else "a topic without a name"
        raise RecordError(f"{path} holds {why}. Mend the file, or take it away: then the list is used.")
    return topics


def take_given(paths: DatasetPaths, topic: Topic, n: int) -> dict[str, Any] | ItemError | None:
    """Return the given responses to a topic's questions, None where there are none, an ItemError where they do not fit.

    Args:
        paths: The dataset's.
        topic: Its questions must be those of the file, each with as many responses as the definition wants.
        n: Their number.
    """
    found = given_responses(paths, topic["topic"])
    if not found:
        return None
    path = found[0]
    advice = "Mend the file, or take it away: then responses are sampled."
    try:
        rows: Generations = _read(path, Generations, 'expected {question: {"responses": [...]}}')
    except RecordError as error:
        return ItemError(str(error))
    lacking = next((question for question in topic["questions"] if question not in rows), None)
    if lacking is not None:
        return ItemError(f"{path} lacks the question {lacking!r} of {topic['topic']!r}. {advice}")
    unknown = next((question for question in rows if question not in topic["questions"]), None)
    if unknown is not None:
        return ItemError(f"{path} answers {unknown!r}, which is no question of {topic['topic']!r}. {advice}")
    for question, row in rows.items():
        if len(row["responses"]) != n:
            return ItemError(f"{path} has {len(row['responses'])} responses to {question!r}, and responses.n is {n}. {advice}")
    return {question: {"responses": rows[question]["responses"]} for question in topic["questions"]}


def _read(path: Path, shape: Any, expected: str) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON: {error}; {expected}.") from error
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    fault = find_fault(value, shape, "$")
    if fault:
        raise RecordError(f"{path}: {fault}; {expected}.")
    return value
