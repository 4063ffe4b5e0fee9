"""Turns atomic facts into atomic questions, each with the claim's own short answer.

    python -m confscoring.questions --dataset synth --data-dir data --split train

Reads: factscore_outputs/{topic}_fs_out.json. Writes: atomic_qs/{topic}_aqs.json, the same list with three more fields per
decision. A sentence that could not be read, or is about somebody else, gets no question; the rewards count it as no confidence.
"""

from __future__ import annotations

from typing import Any

from confscoring.question_grammar import QuestionGrammar
from volume.context import Context
from volume.errors import ItemError, UsageError
from volume.records import Decision, ScoredResponse, ScoredResponses, Topic, load
from volume.stage import run_topics


def prepare(ctx: Context) -> Any:
    """Read the grammar; return the work on a group of topics."""
    settings = ctx.definition.questions
    if settings is None or settings.backend != "grammar":
        raise UsageError(f"questions.backend = '{settings.backend if settings else None}' is not available yet; available: grammar.")
    grammar = QuestionGrammar(ctx.paths.world / "grammar.json")

    def work(topics: list[Topic]) -> dict[str, list[Any] | ItemError]:
        results: dict[str, list[Any] | ItemError] = {}
        for topic in topics:
            name = topic["topic"]
            rows: ScoredResponses = load(ctx.paths.factscore(name), ScoredResponses)
            asked = [add_questions(row, grammar) for row in rows]
            decisions = [decision for row in asked for group in row["decisions"] for decision in group or []]
            questions = [decision["atomic_question"] for decision in decisions if decision["atomic_question"]]
            ctx.count("facts", len(decisions), topic=name)
            ctx.count("questions", len(questions), topic=name)
            ctx.count("distinct_questions", len(set(questions)), topic=name)
            results[name] = [asked]
        return results

    return work


def add_questions(row: ScoredResponse, grammar: QuestionGrammar) -> ScoredResponse:
    """Return a scored response whose decisions carry their questions; nothing else changes."""

    def added(decision: Decision) -> Decision:
        claim = decision.get("kind", "claim") == "claim" and decision.get("value") is not None
        question = grammar.ask(decision.get("attribute"), row["topic"]) if claim else None
        answer = decision.get("value") if question else None
        return {**decision, "atomic_question": question, "convert_to_aq_prompt": None, "claim_answer": answer}

    return {**row, "decisions": [None if group is None else [added(decision) for decision in group] for group in row["decisions"]]}


if __name__ == "__main__":
    raise SystemExit(run_topics("questions", prepare, group=32))
