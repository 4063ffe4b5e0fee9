"""Turns atomic facts into atomic questions, each with the claim's own short answer.

    python -m confscoring.questions --dataset synth --data-dir data --split train
    python -m confscoring.questions --dataset synth --data-dir data --split test --run factscore

With --run, a policy that is asked back about its own claims: those of one response to every question, the greedy one, else the first
sampled one, in the order of the questions; eval/{run}/ in place of the dataset's own folder.

Reads: factscore_outputs/{topic}_fs_out.json, what the backend needs (world/grammar.json, the examples, recorded calls). Writes:
atomic_qs/{topic}_aqs.json, the same list with three more fields per decision. A fact that several responses of a topic state
is asked about once. A sentence that could not be read or is about somebody else, and a fact that no question was found for,
get none; the rewards count it as no confidence.
Counted in the manifest: facts, questions, distinct_questions, without_question; for `llm` also repaired, the questions that took
a second call. Its note `questioner` says what the questions depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confscoring.question_claims import Asked, Claim, Questioner, Subject, claims_of
from confscoring.question_grammar import QuestionGrammar
from confscoring.question_llm import LlmQuestions
from confscoring.question_public import PublicPrompt, read_prompt
from confscoring.question_rules import RuleQuestions
from confscoring.service import open_client
from volume.context import Context
from volume.errors import ItemError, RecordError, UsageError
from volume.files import sha256_file
from volume.records import Decision, Generations, ScoredResponse, ScoredResponses, Topic, load
from volume.settings import QuestionsSettings
from volume.stage import run_topics


class GrammarQuestions:
    """Asks for the attributes of the synthetic world; the answer is the claim's value."""

    def __init__(self, grammar: QuestionGrammar, sha256: str) -> None:
        self._grammar, self._sha256 = grammar, sha256

    def ask(self, claims: Sequence[Claim]) -> list[Asked]:
        """Return what became of every claim, in order."""
        questions = [self._grammar.ask(claim.attribute, claim.subject.topic) if claim.value is not None else None for claim in claims]
        return [Asked(question, claim.value if question else None) for claim, question in zip(claims, questions, strict=True)]

    def identity(self) -> dict[str, Any]:
        """Return what the questions depend on."""
        return {"backend": "grammar", "grammar_sha256": self._sha256}


def prepare(ctx: Context) -> Callable[[list[Topic]], dict[str, list[Any] | ItemError]]:
    """Open what the backend needs; return the work on a group of topics.

    Raises:
        UsageError: The definition has no [questions], or the service cannot be asked.
        RecordError: The grammar cannot be read.
    """
    settings = settings_of(ctx)
    questioner = open_questioner(ctx, settings)
    ctx.note("questioner", questioner.identity())
    return lambda topics: ask_topics(ctx, questioner, topics, settings.context if settings.backend == "llm" else 0)


def settings_of(ctx: Context) -> QuestionsSettings:
    """Return the definition's [questions].

    Raises:
        UsageError: There is none.
    """
    if ctx.definition.questions is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [questions]; bio.toml shows the section.")
    return ctx.definition.questions


def open_questioner(ctx: Context, settings: QuestionsSettings) -> Questioner:
    """Return the questioner of a definition; only `llm` opens the recorded calls."""
    if settings.backend == "grammar":
        path = ctx.paths.world / "grammar.json"
        grammar = QuestionGrammar(path)
        return GrammarQuestions(grammar, sha256_file(path))
    if settings.backend == "rules":
        return RuleQuestions()
    return LlmQuestions(open_client(ctx), settings, public_prompt(ctx, settings))


def public_prompt(ctx: Context, settings: QuestionsSettings) -> PublicPrompt | None:
    """Return the public code's prompt where the definition names its file; raises as `read_prompt` does."""
    return read_prompt(ctx.data_dir / settings.examples) if settings.backend == "llm" and settings.examples else None


def ask_topics(ctx: Context, questioner: Questioner, topics: Sequence[Topic], context: int) -> dict[str, list[Any] | ItemError]:
    """Return the outputs of some topics, or why one failed; all their facts are asked about together.

    Args:
        context: Facts of the same response that are shown with a fact at most.
    """
    results: dict[str, list[Any] | ItemError] = {}
    rows: dict[str, ScoredResponses] = {}
    claims: dict[str, list[list[Claim | None]]] = {}
    for topic in topics:
        name = topic["topic"]
        try:
            rows[name] = read_rows(ctx, name)
        except RecordError as error:
            results[name] = ItemError(str(error))
            continue
        claims[name] = [claims_of(row, Subject.of(topic), context) for row in rows[name]]
    wanted: dict[tuple[Any, ...], Claim] = {}
    for claim in (claim for own in claims.values() for row in own for claim in row if claim):
        wanted.setdefault(claim.key, claim)  # of those that are the same the first is asked about
    asked = dict(zip(wanted, questioner.ask(list(wanted.values())), strict=True))
    for name, own in claims.items():
        failed = next((asked[claim.key] for row in own for claim in row if claim and isinstance(asked[claim.key], ItemError)), None)
        results[name] = failed if isinstance(failed, ItemError) else [[add_questions(row, found, asked) for row, found in zip(rows[name], own, strict=True)]]
    for name, result in results.items():  # last: the loop repeats a group in which something was raised
        if not isinstance(result, ItemError):
            _count(ctx, name, result[0], {claim.key: asked[claim.key] for row in claims[name] for claim in row if claim})
    if isinstance(questioner, LlmQuestions):
        ctx.note("calls", questioner.client.usage.as_note())
    return results


def read_rows(ctx: Context, topic: str) -> ScoredResponses:
    """Return the scored responses of a topic whose facts are asked about: all; of a policy one to every question.

    Raises:
        UsageError: A file is missing.
        RecordError: A file cannot be read; or of a policy, the scores are not those of the responses, or a question has no response.
    """
    rows: ScoredResponses = load(ctx.paths.factscore(topic, ctx.run), ScoredResponses)
    return rows if ctx.run is None else one_each(load(ctx.paths.responses(topic, ctx.run), Generations), rows, topic)


def one_each(generations: Generations, rows: ScoredResponses, topic: str) -> ScoredResponses:
    """Return the greedy response to every question, where there is none the first one; raises as `read_rows` does."""
    chosen: ScoredResponses = []
    place = 0
    for question, generation in generations.items():
        texts = generation["responses"]
        kinds = generation.get("decoding", ["sample"] * len(texts))
        if not texts or [row["generation"] for row in rows[place : place + len(texts)]] != texts:
            raise RecordError(f"{topic}, '{question}': its scored responses are not those that were sampled. Delete the topic's scores and run `make eval` again.")
        chosen.append(rows[place + (kinds.index("greedy") if "greedy" in kinds else 0)])
        place += len(texts)
    return chosen


def add_questions(row: ScoredResponse, claims: Sequence[Claim | None], asked: Mapping[tuple[Any, ...], Asked | ItemError]) -> ScoredResponse:
    """Return a scored response whose decisions carry their questions; nothing else changes.

    Args:
        claims: One for every decision, None where it is no claim.
        asked: What became of each, by its key.
    """
    own = iter(claims)

    def added(decision: Decision) -> Decision:
        claim = next(own)
        found = asked[claim.key] if claim else Asked()
        assert isinstance(found, Asked)
        return {**decision, "atomic_question": found.question, "convert_to_aq_prompt": found.prompt, "claim_answer": found.answer}

    return {**row, "decisions": [None if group is None else [added(decision) for decision in group] for group in row["decisions"]]}


def _count(ctx: Context, topic: str, rows: ScoredResponses, asked: Mapping[tuple[Any, ...], Asked | ItemError]) -> None:
    questions = [decision.get("atomic_question") for row in rows for group in row["decisions"] for decision in group or []]
    ctx.count("facts", len(questions), topic=topic)
    ctx.count("questions", sum(question is not None for question in questions), topic=topic)
    ctx.count("distinct_questions", len({question for question in questions if question is not None}), topic=topic)
    ctx.count("without_question", questions.count(None), topic=topic)
    ctx.count("repaired", sum(isinstance(found, Asked) and found.repaired for found in asked.values()), topic=topic)


if __name__ == "__main__":
    raise SystemExit(run_topics("questions", prepare, group=32))
