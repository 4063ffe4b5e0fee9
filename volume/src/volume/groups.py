"""The work on topics, group by group: which groups are this process's, what is kept of each, and what failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from volume.context import Context
from volume.errors import ItemError, RecordError, VolumeError
from volume.files import remove_partial
from volume.journal import Journal, keep_topic
from volume.progress import Progress
from volume.records import Topic

Work = Callable[[list[Topic]], dict[str, "list[Any] | ItemError"]]


def own_groups(context: Context, size: int) -> list[list[Topic]]:
    """Return this process's groups of topics. They are cut from all topics, whatever is done already."""
    groups = [context.topics[start : start + size] for start in range(0, len(context.topics), size)]
    return list(context.rank.share(groups))


def work_through(
    context: Context, prepare: Callable[[Context], Work], size: int, fixed: bool, marks: dict[str, str], journal: Journal, done: dict[str, Any],
) -> dict[str, str]:
    """Work through this process's topics that are not done, adding them to ``done``; return {topic: reason} of those that failed.

    Args:
        size: Topics handed to the work function at once.
        fixed: A group with a topic to do is worked on whole, and only what was to do is kept.
        marks: What a topic's result depends on, by topic.
    """
    groups = own_groups(context, size)
    own = [topic for group in groups for topic in group]
    failures: dict[str, str] = {}

    def fail(name: str, why: str) -> None:
        failures[name] = why
        if not context.rank.alone:  # whoever is last tells of all
            journal.add({"topic": name, "mark": marks[name], "failed": why, "launch": context.rank.launch})

    waiting = [topic for topic in own if topic["topic"] not in done]
    finished = len(own) - len(waiting)
    if finished:
        context.log(f"{finished} of {len(own)} topics are done already")
    for topic in waiting:
        missing = next((path for path in context.step.item_inputs(topic["topic"]) if not path.exists()), None)
        if missing is not None:
            fail(topic["topic"], f"{missing.relative_to(context.data_dir)} is missing: an earlier stage failed on it")
    ready = [topic for topic in waiting if topic["topic"] not in failures]
    if not ready:
        return failures
    remove_partial(path for topic in ready for path in context.step.item_outputs(topic["topic"]))
    wanted = {topic["topic"] for topic in ready}
    if fixed:
        whole = [[topic for topic in group if topic["topic"] not in failures] for group in groups]
        batches = [batch for batch in whole if any(topic["topic"] in wanted for topic in batch)]
    else:
        batches = [ready[start : start + size] for start in range(0, len(ready), size)]
    work = prepare(context)
    with Progress(context.step.id, finished, len(own), context.log, bar=context.rank.alone) as progress:
        for batch in batches:
            if context.interrupted or context.rank.abandoned:
                raise KeyboardInterrupt
            results = _attempt(context, work, batch)
            for name in (topic["topic"] for topic in batch if topic["topic"] in wanted):
                result = results.get(name, ItemError("the stage gave no result for it"))
                if isinstance(result, ItemError):
                    fail(name, str(result))
                else:
                    done[name] = keep_topic(context, name, result, marks[name], journal)
                    finished += 1
            context.topic_counts.clear()  # what is left belongs to topics that failed or were done before
            progress.show(finished)
    return failures


def _attempt(context: Context, work: Work, batch: list[Topic]) -> dict[str, list[Any] | ItemError]:
    """Run the work on a group; if the group fails as a whole, run its topics one by one so that only the bad one is lost."""
    for topic in batch:  # what an attempt that failed has counted
        context.topic_counts.pop(topic["topic"], None)
    try:
        return work(batch)
    except RecordError as error:
        if len(batch) == 1:
            return {batch[0]["topic"]: ItemError(str(error))}
    except VolumeError:
        if len(batch) == 1:
            raise
    except ItemError as error:
        if len(batch) == 1:
            return {batch[0]["topic"]: error}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ZeroDivisionError) as error:
        if len(batch) == 1:  # a fault of the stage on this topic: recorded with its place, never swallowed
            context.log(traceback.format_exc())
            return {batch[0]["topic"]: ItemError(f"{type(error).__name__}: {error}")}
    results: dict[str, list[Any] | ItemError] = {}
    for topic in batch:
        results |= _attempt(context, work, [topic])
    return results
