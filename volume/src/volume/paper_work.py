"""How much work the steps of an experiment are, counted from its definition: tokens of models, calls of services, disk.

Not counted: embeddings of passages (under 1 % of the verifier's work) and stages that ask no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from volume.errors import UsageError
from volume.paper_choice import World
from volume.paper_costs import GIB, Costs, gib_of, parameters_of
from volume.policy_steps import run_model
from volume.settings import Definition, VerifierSettings
from volume.step import Step
from volume.topics import deal_splits, find_list, read_topics
from volume.training_settings import OptimSettings

_STATE = {"rmsprop": 4, "adamw": 8}  # bytes of the optimizer for each parameter


@dataclass
class Work:
    """What a step does: tokens by kind and model, calls of a service with their tokens. Kinds: sample, forward, train."""

    tokens: dict[tuple[str, str], float] = field(default_factory=dict)
    calls: float = 0.0
    prompt_tokens: float = 0.0
    reply_tokens: float = 0.0

    def compute(self, kind: str, model: str, tokens: float) -> None:
        self.tokens[kind, model] = self.tokens.get((kind, model), 0.0) + tokens

    def ask(self, costs: Costs, what: str, number: float) -> None:
        self.calls += number
        self.prompt_tokens += number * costs.of(f"calls.{what}.prompt_tokens")
        self.reply_tokens += number * costs.of(f"calls.{what}.reply_tokens")


@dataclass(frozen=True)
class Sizes:
    """How much there is of everything in a dataset. Attributes: topics, by split; questions, per topic; facts and tokens, per response."""

    topics: Mapping[str, int]
    questions: float
    facts: float
    tokens: float


def size_of(world: World, column: str, costs: Costs, limit: int | None = None) -> Sizes:
    """Return the sizes of a dataset, from its list of topics.

    Raises:
        UsageError: It has none; a plan cannot count it.
    """
    definition = world.definition
    if definition.topics is None:
        raise UsageError(f"DATASET={world.dataset}: a plan counts the topics of its list, and it has no [topics]; bio.toml shows the section.")
    rows = read_topics(find_list(definition, world.paths.root.parent))
    dealt = deal_splits(rows, definition.topics.splits, definition.topics.dpoval)
    listed = sum(len(row.questions) for row in rows) / len(rows)
    tokens = costs.of(f"columns.{column}.response_tokens")
    most = definition.responses.max_new_tokens if definition.responses else tokens
    return Sizes(
        {split: len(found[:limit]) for split, found in dealt.items()}, listed or float(definition.topics.questions or 1),
        costs.of(f"columns.{column}.facts"), min(tokens, most),
    )  # fmt: skip


def work_of(step: Step, definition: Definition, sizes: Sizes, costs: Costs) -> Work:
    """Return the work in one step."""
    work = Work()
    run = step.args[step.args.index("--run") + 1] if "--run" in step.args else ""
    topics = sizes.topics.get(step.split or definition.eval.split, 0)
    n = definition.responses.n if definition.responses else 0
    if run and step.module != "dpo.train":
        n = definition.eval.n + (definition.eval.greedy and step.split == definition.eval.split)
    rows = topics * sizes.questions * n
    facts = rows * sizes.facts
    policy = run_model(definition, run) if run else definition.responses.model if definition.responses else ""
    trained = sizes.topics.get("train", 0) * sizes.questions
    match step.module:
        case "confscoring.responses":
            work.compute("sample", policy, rows * (sizes.tokens + costs.of("text.prompt_tokens")))
        case "factscoring.factscore":
            if definition.facts and definition.facts.backend == "llm":
                work.ask(costs, "facts", rows * costs.of("text.sentences"))
            _judge(work, definition, definition.verifier, facts, costs)
        case "factscoring.rejudge":
            _judge(work, definition, definition.judges[step.args[-1]], facts, costs)
        case "confscoring.questions" if definition.questions and definition.questions.backend == "llm":
            work.ask(costs, "questions", _own(facts, n, run))
        case "confscoring.answers" if definition.answers:
            each = definition.answers.n * definition.answers.max_new_tokens + costs.of("text.answer_prompt_tokens")
            work.compute("sample", policy if run else definition.answers.model, _own(facts, n, run) * each)
        case "confscoring.entities" if definition.answers:
            each = definition.entities.n * costs.of("text.entity_tokens") + sizes.tokens / 2
            work.compute("sample", definition.answers.model, rows * costs.of("text.entities") * each)
        case "confscoring.rewards" | "confscoring.calibrate" if definition.equivalence.backend == "llm":
            topics = sizes.topics.get(step.args[step.args.index("--split") + 1], 0)
            asked = topics * sizes.questions * n * sizes.facts
            work.ask(costs, "compare", _own(asked, n, run) * costs.of("text.comparisons"))
        case "confscoring.relevance":
            work.ask(costs, "relevance", facts)
        case "confscoring.probes":
            per_question = definition.responses.n if definition.responses else 0
            work.compute("forward", policy, trained * per_question * sizes.tokens)
        case "dpo.train":
            whole = sizes.tokens + costs.of("text.prompt_tokens")
            supervised = definition.runs[run].kind == "sft"
            settings = definition.sft if supervised else definition.dpo
            if settings is not None:
                texts = n if supervised else 2 * math.comb(n, 2)
                again = 4 / 3 if settings.activation_checkpointing else 1.0  # each layer once more, forwards
                work.compute("train", policy, trained * texts * whole * settings.epochs * again)
                if not supervised:  # log-probabilities of the reference, once per response
                    work.compute("forward", policy, trained * n * whole)
        case _:
            pass
    return work


def _own(facts: float, n: float, run: str) -> float:
    """Return how many facts are asked about: of a policy's own responses those of the greedy one."""
    return facts / n if run and n else facts


def _judge(work: Work, definition: Definition, verifier: VerifierSettings | None, facts: float, costs: Costs) -> None:
    if verifier is None:
        return
    if verifier.backend == "llm":
        work.ask(costs, "verdict", facts)
    elif verifier.backend == "local":
        work.compute("forward", verifier.model, facts * costs.of("text.verdict_tokens"))
    if verifier.npm:
        work.compute("forward", verifier.npm_model, facts * costs.of("text.npm_tokens"))


def disk_of(worlds: Iterable[World], steps: Mapping[str, Mapping[str, Step]], sizes: Mapping[str, Sizes], costs: Costs) -> dict[str, float]:
    """Return the disk that it all takes, GiB by what it is; a model and a knowledge base count once, checkpoints as of one training."""
    models: dict[str, float] = {}
    knowledge: dict[str, float] = {}
    exports, checkpoint, texts = 0.0, 0.0, 0.0
    for world in worlds:
        definition = world.definition
        chosen = steps[definition.name]
        named = [run_model(definition, run) for run in world.runs]
        named += [section.model for section in (definition.responses, definition.answers, definition.retrieval) if section]
        for verifier in (definition.verifier, *definition.judges.values()):
            named += [verifier.model if verifier.backend == "local" else "", verifier.npm_model if verifier.npm else ""] if verifier else []
        models |= {definition.models[name].path: gib_of(definition, name, costs) for name in named if name}
        if definition.knowledge:
            knowledge[definition.knowledge.path] = definition.knowledge.gib
        for step in chosen.values():
            if step.module == "dpo.train":
                run = step.args[step.args.index("--run") + 1]
                settings = definition.sft if definition.runs[run].kind == "sft" else definition.dpo
                if settings is not None:
                    parameters = parameters_of(definition, run_model(definition, run), costs)
                    exports += parameters * _weight(settings) / GIB
                    checkpoint = max(checkpoint, 2 * parameters * _kept(settings) / GIB)  # one is whole before the one before it goes
        texts += sum(sizes[definition.name].topics.values()) * costs.of("text.bytes_per_topic") / GIB
    return {
        "models": sum(models.values()), "knowledge base": sum(knowledge.values()), "policies": exports, "texts and scores": texts,
        "checkpoints while one is trained": checkpoint,
    }  # fmt: skip


def _weight(settings: OptimSettings) -> int:
    return 4 if settings.dtype == "float32" else 2


def _kept(settings: OptimSettings) -> int:
    """Return the bytes that a checkpoint has for each parameter: weight, master, optimizer."""
    return _weight(settings) + (4 if settings.zero_stage else 0) + _STATE[settings.optimizer]
