"""Writes the questions files of a dataset from its list of topics.

    python -m confscoring.topics --dataset bio --data-dir data

Reads: the list of [topics] (volume.topics says how its topics are dealt to the splits); given/questions_per_topic_{split}.json, which is
taken as that split where it is there; recorded calls, where a chat model writes questions. Writes: questions_per_topic_{split}.json.
A topic's questions are those of the list; where it has none the one of `prompt`; else `questions` of them by the chat model.
Counted in the manifest: topics, questions, given (files taken), written (questions by the model). Its note `questioner` says what
those depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confscoring.given import take_questions
from confscoring.service import open_client
from confscoring.topic_questions import identity, name_of, write_questions
from volume.context import Context
from volume.errors import ItemError, UsageError, VolumeError
from volume.records import Topic, Topics, save
from volume.settings import TopicsSettings
from volume.stage import run_whole
from volume.topics import ListedTopic, deal_splits, find_list, read_topics

# The form that is asked with ("something connected with her"), as the public code has it.
_OBJECT = {"she": "her", "he": "him", "they": "them", "it": "it"}
_SHOWN_FAILURES = 12
_APART = (("train", "val"), ("train", "test"), ("train", "dpoval"), ("val", "test"), ("dpoval", "test"))


def produce(ctx: Context) -> list[Path]:
    """Write the questions of every split; return the files.

    Raises:
        UsageError: The list cannot be used, a topic has no questions, or is trained on and tested.
        RecordError: A given file cannot be used.
        VolumeError: The model wrote too few questions about some topics.
    """
    settings = ctx.definition.topics
    if settings is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [topics]; bio.toml shows the section.")
    found = {split: topics for split in ctx.definition.splits if (topics := take_questions(ctx.paths, split)) is not None}
    ctx.count("given", len(found))
    if {"val", "dpoval"} <= set(ctx.definition.splits) and "val" in found and "dpoval" not in found:
        found["dpoval"] = _first_of_val(found["val"], settings.dpoval)
    wanted = [split for split in ctx.definition.splits if split not in found]
    if wanted:
        dealt = deal(ctx, settings)
        questions = ask(ctx, settings, {row.topic: row for split in wanted for row in dealt[split]})
        found |= {split: [entry_of(row, questions[row.topic]) for row in dealt[split]] for split in wanted}
    check_apart(found)
    for split in ctx.definition.splits:
        save(ctx.paths.questions(split), found[split], Topics)
        ctx.count("topics", len(found[split]))
        ctx.count("questions", sum(len(topic["questions"]) for topic in found[split]))
    ctx.log(", ".join(f"{split} {len(found[split])}" for split in ctx.definition.splits) + " topics")
    return [ctx.paths.questions(split) for split in ctx.definition.splits]


def deal(ctx: Context, settings: TopicsSettings) -> dict[str, list[ListedTopic]]:
    """Return the list's topics by split. dpoval is dealt only where the definition has it, since it may take topics from train."""
    rows = read_topics(find_list(ctx.definition, ctx.data_dir))
    return deal_splits(rows, settings.splits, settings.dpoval if "dpoval" in ctx.definition.splits else 0)


def ask(ctx: Context, settings: TopicsSettings, rows: Mapping[str, ListedTopic]) -> dict[str, list[str]]:
    """Return the questions about the topics: the list's own, that of the prompt, or the model's.

    Raises:
        UsageError: There is nothing to take them from.
        VolumeError: The model failed on some topics.
    """
    found: dict[str, list[str]] = {name: list(row.questions) or prompted(row, settings.prompt) for name, row in rows.items()}
    bare = [row for name, row in rows.items() if not found[name]]
    if not bare:
        return found
    if settings.questions < 1:
        raise UsageError(
            f"{len(bare)} topic(s) have no question (first: {bare[0].topic!r}). Give the list columns question_1, question_2, …, or under [topics] a "
            'prompt such as "Write a short biography of {topic}.", or `questions` and `model` to have a chat model write them.'
        )
    client = open_client(ctx)
    ctx.note("questioner", identity(settings))
    written = write_questions(client, bare, settings)
    ctx.note("calls", client.usage.as_note())
    failed = [f"{row.topic}: {result}" for row, result in zip(bare, written, strict=True) if isinstance(result, ItemError)]
    if failed:
        more = [f"… and {len(failed) - _SHOWN_FAILURES} more"] if len(failed) > _SHOWN_FAILURES else []
        raise VolumeError(
            f"{len(failed)} of {len(bare)} topics have too few questions:\n  " + "\n  ".join(failed[:_SHOWN_FAILURES] + more)
            + "\nGive these topics questions of your own in the list, or run once with LLM_MODE=refresh. The other replies are recorded and cost nothing again."
        )
    for row, result in zip(bare, written, strict=True):
        assert isinstance(result, list)
        found[row.topic] = result
        ctx.count("written", len(result))
    return found


def prompted(row: ListedTopic, prompt: str) -> list[str]:
    """Return the prompt's question about a topic; none where there is no prompt.

    Raises:
        UsageError: It has other places than {topic} and {lower_case}, or neither.
    """
    if not prompt:
        return []
    try:
        question = prompt.format(topic=row.topic, lower_case=name_of(row))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(f"topics.prompt = {prompt!r}: {error!r}. It may have the places {{topic}} and {{lower_case}}.") from error
    if question == prompt:
        raise UsageError(f"topics.prompt = {prompt!r} names no topic: it needs the place {{topic}}, or {{lower_case}}.")
    return [question]


def entry_of(row: ListedTopic, questions: Sequence[str]) -> Topic:
    """Return a topic's entry of the questions file."""
    entry: dict[str, Any] = {"topic": row.topic, "topic_id": row.number, "questions": list(questions)}
    entry |= {"pronoun": _OBJECT[row.pronoun]} if row.pronoun else {}
    entry |= {"lower_case": row.lower_case} if row.lower_case else {}
    return entry  # type: ignore[return-value]


def _first_of_val(val: Topics, number: float) -> Topics:
    """Return dpoval where the splits are given without it."""
    rows = [ListedTopic(topic["topic"], place, split="val") for place, topic in enumerate(val)]
    return [val[row.number] for row in deal_splits(rows, {}, number)["dpoval"]]


def check_apart(found: Mapping[str, Topics]) -> None:
    """Refuse a topic of two splits, of which one is trained on and the other measured; val and dpoval may share topics.

    Raises:
        UsageError: There is one.
    """
    for one, other in _APART:
        names = {topic["topic"] for topic in found.get(one, [])}
        both = [topic["topic"] for topic in found.get(other, []) if topic["topic"] in names]
        if both:
            raise UsageError(
                f"{both[0]!r} is a topic of {one} and of {other}" + (f", and so are {len(both) - 1} more" if len(both) > 1 else "") + ": what is trained on "
                f"measures nothing. If one of the two was given as given/questions_per_topic_{other}.json, give the others too."
            )


if __name__ == "__main__":
    raise SystemExit(run_whole("topics", produce))
