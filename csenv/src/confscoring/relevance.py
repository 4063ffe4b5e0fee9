"""Asks of every supported fact of a policy's responses whether it has to do with the question that was asked.

    python -m confscoring.relevance --dataset medqa --data-dir data --split test --run factscore

A fact about the condition that answers another question is supported by its page, and is no part of a good answer: it does not
count as correct (arXiv 2311.08401v1, section 4.5). An unsupported fact is incorrect as it is, and nothing is asked about it.
A fact that several responses to a question state is asked about once. A reply that is neither Yes nor No is asked for once more;
after that the fact is undecided and counts as relevant: this check only takes away what it says has nothing to do with the question.

Reads: eval/{run}/responses (the questions), eval/{run}/factscore_outputs, recorded calls. Writes: eval/{run}/relevance/{topic}_relevance.json,
{"relevant": [[true, false or null per fact] per response in the file's order]}; null: not asked about, or undecided.
Counted in the manifest: facts, asked, distinct, irrelevant and undecided ones. Its note `relevance` says what the verdicts depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confscoring.judge import decisions_of
from confscoring.measures import RelevanceFile, fold_atom
from confscoring.relevance_prompt import AGAIN, PROMPT_VERSION, Asked, ask_again, parse_relevant, relevance_messages, relevance_request
from confscoring.service import open_client
from volume.context import Context
from volume.errors import ItemError, RecordError, UsageError
from volume.files import sha256_value
from volume.llm import CallFailed, Client
from volume.records import Generations, ScoredResponse, ScoredResponses, Topic, load
from volume.settings import RelevanceSettings
from volume.stage import run_topics

Verdict = bool | None  # None: undecided
Facts = list[list[Asked | None]]  # for every response its facts, None for one that is not asked about


def prepare(ctx: Context) -> Callable[[list[Topic]], dict[str, list[Any] | ItemError]]:
    """Open the service; return the work on a group of topics.

    Raises:
        UsageError: The definition has no [relevance], or the service cannot be asked.
    """
    settings = settings_of(ctx)
    client = open_client(ctx)
    ctx.note("relevance", identity(settings))
    return lambda topics: judge_topics(ctx, client, settings, topics)


def settings_of(ctx: Context) -> RelevanceSettings:
    """Return the definition's [relevance].

    Raises:
        UsageError: There is none.
    """
    if ctx.definition.relevance is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [relevance]; medqa.toml shows the section.")
    return ctx.definition.relevance


def judge_topics(ctx: Context, client: Client, settings: RelevanceSettings, topics: Sequence[Topic]) -> dict[str, list[Any] | ItemError]:
    """Return the outputs of some topics, or why one failed; all their facts are asked about together."""
    results: dict[str, list[Any] | ItemError] = {}
    facts: dict[str, Facts] = {}
    for name in (topic["topic"] for topic in topics):
        try:
            facts[name] = read_facts(ctx, name)
        except RecordError as error:
            results[name] = ItemError(str(error))
    wanted = list(dict.fromkeys(one for own in facts.values() for row in own for one in row if one))
    verdicts = dict(zip(wanted, ask(client, settings, wanted), strict=True))
    for name, own in facts.items():
        results[name] = _answered(own, verdicts)
    for name, result in results.items():  # last: the loop repeats a group in which something was raised
        if not isinstance(result, ItemError):
            _count(ctx, name, facts[name], verdicts)
    ctx.note("calls", client.usage.as_note())
    return results


def read_facts(ctx: Context, topic: str) -> Facts:
    """Return the facts of a run's responses on a topic, those to ask about with the question that they were to answer.

    Raises:
        UsageError: A file is missing.
        RecordError: A file cannot be read, or the scores are not those of the responses.
    """
    path = ctx.paths.factscore(topic, ctx.run)
    rows: ScoredResponses = load(path, ScoredResponses)
    generations: Generations = load(ctx.paths.responses(topic, ctx.run), Generations)
    texts = [(question, text) for question, generation in generations.items() for text in generation["responses"]]
    if [text for _, text in texts] != [row["generation"] for row in rows]:
        raise RecordError(f"{path} does not score the responses of {ctx.paths.responses(topic, ctx.run).name} in their order. Delete it and run `make eval` again.")
    return [_asked(topic, question, row) for (question, _), row in zip(texts, rows, strict=True)]


def _asked(topic: str, question: str, row: ScoredResponse) -> list[Asked | None]:
    return [Asked(topic, question, fold_atom(decision["atom"]), decision["atom"]) if decision["is_supported"] else None for decision in decisions_of(row)]


def ask(client: Client, settings: RelevanceSettings, wanted: Sequence[Asked]) -> list[Verdict | ItemError]:
    """Return whether each fact has to do with its question, None where two replies did not tell; an ItemError where a call failed for good."""
    requests = [relevance_request(one, settings) for one in wanted]
    replies = client.complete(requests)
    unclear = {index: reply.text for index, reply in enumerate(replies) if not isinstance(reply, CallFailed) and parse_relevant(reply.text) is None}
    again = client.complete([ask_again(requests[index], text) for index, text in unclear.items()])
    for index, reply in zip(unclear, again, strict=True):
        replies[index] = reply
    return [ItemError(f"relevance: {reply}") if isinstance(reply, CallFailed) else parse_relevant(reply.text) for reply in replies]


def _answered(facts: Facts, verdicts: Mapping[Asked, Verdict | ItemError]) -> list[Any] | ItemError:
    """Return a topic's output, or the failure of one of its calls."""
    found: list[list[Verdict]] = []
    for row in facts:
        found.append([])
        for one in row:
            verdict = verdicts[one] if one else None
            if isinstance(verdict, ItemError):
                return verdict
            found[-1].append(verdict)
    return [RelevanceFile(relevant=found)]


def _count(ctx: Context, topic: str, facts: Facts, verdicts: Mapping[Asked, Verdict | ItemError]) -> None:
    asked = [one for row in facts for one in row if one]
    ctx.count("facts", sum(map(len, facts)), topic=topic)
    ctx.count("asked", len(asked), topic=topic)
    ctx.count("distinct", len(set(asked)), topic=topic)
    ctx.count("irrelevant", sum(verdicts[one] is False for one in asked), topic=topic)
    ctx.count("undecided", sum(verdicts[one] is None for one in asked), topic=topic)


def identity(settings: RelevanceSettings) -> dict[str, Any]:
    """Return what the verdicts depend on."""
    example = relevance_messages(Asked("{topic}", "{question}", "", "{fact}"))
    return {
        "backend": "llm", "model": settings.model, "prompt_sha256": sha256_value([PROMPT_VERSION, example, AGAIN]), "temperature": settings.temperature,
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run_topics("relevance", prepare, group=32))
