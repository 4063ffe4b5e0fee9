"""The steps of a dataset: which command writes which files from which.

A step is one stage for one split or run. The table is the same for the host, which plans and orders the steps, and for the
stage itself, which resumes by it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volume.errors import UsageError, suggest
from volume.evidence import evidence_files, grammar_files, model_folder, scoring_settings, span_files
from volume.paths import DatasetPaths, candidate_part
from volume.settings import Definition, SamplingSettings

# Make targets, in the order in which they run.
STAGES = ("data", "factscore", "questions", "answers", "entities", "rewards", "train", "eval", "report")

# What the responses depend on by which a policy is chosen: not on the rule.
_SELECTING = ("responses", "eval.n", "eval.temperature", "models", "seed", "name")


@dataclass(frozen=True)
class Step:
    """One stage for one split or run.

    Attributes:
        id: Name of its manifest, e.g. ``factscore-train``.
        target: The make target that it belongs to.
        env: The environment (image) that it runs in.
        module: ``python -m`` module.
        args: Its own arguments (split, run).
        needs: Ids of the steps whose outputs it reads.
        settings: Sections of the definition that change what it writes.
        inputs: Files that every item depends on; called late, since an earlier step writes them.
        item_inputs, item_outputs: Files of one topic, for a step whose work item is the topic.
        split: The split whose topics are the items, or None for a step that is one piece of work.
    """

    id: str
    target: str
    env: str
    module: str
    args: tuple[str, ...]
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    inputs: Callable[[], list[Path]]
    split: str | None = None
    item_inputs: Callable[[str], list[Path]] = lambda topic: []
    item_outputs: Callable[[str], list[Path]] = lambda topic: []


def sampler_name(definition: Definition) -> str:
    """Return the folder name of answer samples: the sampler's model and the number of samples."""
    assert definition.answers is not None
    return f"{definition.answers.model}_{definition.answers.n}samples"


def build_steps(definition: Definition, paths: DatasetPaths, data_dir: Path) -> dict[str, Step]:
    """Return all steps of a dataset by id, each after those it needs."""
    steps: dict[str, Step] = {}

    def add(step: Step) -> None:
        steps[step.id] = Step(**{**step.__dict__, "needs": tuple(need for need in step.needs if need in steps)})

    made = definition.world is not None
    if made:
        _add_world(add, paths)
    splits: list[str] = [split for split in ("train", "dpoval") if split in definition.splits]
    for split in splits:
        _add_scoring(add, definition, paths, data_dir, split)
    for run in definition.runs:
        _add_training(add, definition, paths, data_dir, run, splits)
    choosing = [run for run in definition.runs if count_candidates(definition, run)]
    if choosing:
        _add_yardstick(add, definition, paths, data_dir)
    for run in choosing:
        _add_choice(add, definition, paths, data_dir, run)
    for run in definition.runs:
        _add_evaluation(add, definition, paths, data_dir, run)
    evaluated = tuple(f"eval-{run}" for run in definition.runs)
    rewards = tuple(f"rewards-{split}" for split in splits)
    shown = ("runs", "eval", "verifier", "judges", "dpo", "seed", "name", "description")
    add(Step("report", "report", "csenv", "confscoring.report", (), (*evaluated, *rewards), shown, lambda: [
        *(paths.eval(run) / "summary.json" for run in definition.runs),
        *(path for run in definition.runs for path in sorted(paths.run(run).glob("*/metrics.jsonl"))),
        *(path for split in splits for path in sorted((paths.root / "rewards").glob(f"*_{split}_*"))),
        *(paths.choice(run) for run in choosing),
    ]))
    return steps


def supervised_run(definition: Definition) -> str:
    """Return the run that preference training starts from, "" where there is none."""
    return next((name for name, run in definition.runs.items() if run.kind == "sft"), "")


def count_candidates(definition: Definition, run: str) -> int:
    """Return how many policies a run keeps along the way, of which one is chosen; 0: it exports the last one itself."""
    return definition.dpo.candidates if definition.dpo is not None and definition.runs[run].kind == "dpo" else 0


def policy_folder(definition: Definition, paths: DatasetPaths, data_dir: Path, run: str, candidate: int | None = None) -> Path:
    """Return the folder of a run's policy, or of one of the candidates for it; the base model's for a run that trains nothing."""
    if run not in definition.runs:
        raise UsageError(f"run {run!r}: not in the definition.{suggest(run, definition.runs)}")
    if definition.runs[run].kind == "base":
        assert definition.responses is not None
        return model_folder(definition, paths, data_dir, definition.responses.model)
    return paths.export(run) if candidate is None else paths.candidate(run, candidate)


def topic_names(questions: Path) -> list[str]:
    """Return the topics of a questions file; none when it is not there or cannot be read (its own step will say so)."""
    try:
        return [entry["topic"] for entry in json.loads(questions.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def asks_service(step: Step, definition: Definition) -> bool:
    """Return whether a step asks a language-model service, and so needs the network."""
    sections: tuple[Any, ...] = ()
    if step.module == "factscoring.factscore":
        sections = (definition.facts, definition.verifier)
    elif step.module == "factscoring.rejudge":
        sections = (definition.judges[step.args[-1]],)
    elif step.module == "confscoring.responses" and "--run" not in step.args:  # a run's own policy is a folder
        sections = (definition.responses,)
    elif step.module == "confscoring.questions":
        sections = (definition.questions,)
    elif step.module in ("confscoring.answers", "confscoring.entities"):
        sections = (definition.answers,)
    elif step.module == "confscoring.rewards":
        sections = (definition.equivalence,)
    return any(section is not None and section.backend in ("llm", "openai") for section in sections)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))


def _add_world(add: Callable[[Step], None], paths: DatasetPaths) -> None:
    add(Step("world", "data", "csenv", "confscoring.world", (), (), ("world", "pretrain", "seed", "splits"), lambda: []))
    add(Step("pretrain", "data", "dpo", "dpo.pretrain", (), ("world",), ("pretrain", "style", "seed", "world"), lambda: [
        paths.world / "corpus.jsonl", paths.world / "style.jsonl", paths.world / "model_config.json",
        *_files(paths.world / "tokenizer"),
    ]))


def _add_scoring(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, split: str) -> None:
    args = ("--split", split)
    questions = paths.questions(split)

    def sampled(settings: SamplingSettings | None) -> list[Path]:
        """The files of the model that a stage samples from; where a server has it, only of a chat model, whose template forms the prompts."""
        if settings is None or (settings.backend != "transformers" and not definition.models[settings.model].chat):
            return []
        return _files(model_folder(definition, paths, data_dir, settings.model))

    add(Step(
        f"responses-{split}", "data", "csenv", "confscoring.responses", args, ("world", "pretrain"), ("responses", "models", "seed", "name"),
        lambda: [questions, *sampled(definition.responses)], split, item_outputs=lambda topic: [paths.responses(topic)],
    ))
    add(Step(
        f"factscore-{split}", "factscore", "fsenv", "factscoring.factscore", args, ("world", f"responses-{split}"),
        scoring_settings(definition), lambda: [questions, *evidence_files(definition, paths, data_dir)], split,
        item_inputs=lambda topic: [paths.responses(topic)], item_outputs=lambda topic: [paths.factscore(topic)],
    ))
    add(Step(
        f"questions-{split}", "questions", "csenv", "confscoring.questions", args, (f"factscore-{split}",), ("questions",),
        lambda: [questions, *grammar_files(definition, paths)], split,
        item_inputs=lambda topic: [paths.factscore(topic)], item_outputs=lambda topic: [paths.atomic_qs(topic)],
    ))
    sampler = sampler_name(definition) if definition.answers else ""
    add(Step(
        f"answers-{split}", "answers", "csenv", "confscoring.answers", args, ("pretrain", f"questions-{split}"), ("answers", "models", "seed", "name"),
        lambda: [questions, *sampled(definition.answers)], split,
        item_inputs=lambda topic: [paths.atomic_qs(topic)], item_outputs=lambda topic: [paths.samples(sampler, topic)],
    ))
    if definition.entities.enabled:
        add(Step(
            f"entities-{split}", "entities", "csenv", "confscoring.entities", args, ("pretrain", f"responses-{split}"),
            ("entities", "answers", "models", "seed", "name"), lambda: [questions, *span_files(definition, paths, data_dir), *sampled(definition.answers)], split,
            item_inputs=lambda topic: [paths.responses(topic)], item_outputs=lambda topic: [paths.ne_samples(sampler, topic)],
        ))
    add(Step(
        f"rewards-{split}", "rewards", "csenv", "confscoring.rewards", args,
        (f"answers-{split}", f"entities-{split}"), ("rewards", "equivalence", "answers", "facts", "entities", "seed", "name"),
        lambda: [questions, *grammar_files(definition, paths), *([data_dir / definition.rewards.module] if definition.rewards.module else []), *(
            path for topic in topic_names(questions) for path in (
                paths.responses(topic), paths.factscore(topic), paths.atomic_qs(topic), paths.samples(sampler, topic),
                *([paths.ne_samples(sampler, topic)] if definition.entities.enabled else []),
            ))],
    ))


def _add_training(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str, splits: list[str]) -> None:
    kind = definition.runs[run].kind
    if kind == "base":
        return
    base = definition.responses.model if definition.responses else ""
    form = ("responses.prompt", "responses.max_new_tokens", f"models.{base}.chat") if definition.responses else ()
    rewards = tuple(f"rewards-{split}" for split in splits)
    files = lambda: [path for split in splits for path in sorted((paths.root / "rewards").glob(f"rewards_{split}_*.json"))]  # noqa: E731
    if kind == "sft":
        add(Step(f"train-{run}", "train", "dpo", "dpo.train", ("--run", run), (rewards[0], "pretrain"), ("sft", "models", "seed", *form[:1]),
                 lambda: [*files()[:1], *_files(model_folder(definition, paths, data_dir, base))]))
        return
    sft = supervised_run(definition)
    masked = [paths.root / definition.dpo.masked_spans] if definition.dpo and definition.dpo.masked_spans else []
    add(Step(f"train-{run}", "train", "dpo", "dpo.train", ("--run", run), (*rewards, f"train-{sft}"), ("dpo", f"runs.{run}.reward", "seed", *form),
             lambda: [*files(), *_files(paths.export(sft)), *masked]))


def _add_yardstick(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path) -> None:
    """Add what every choice goes by: responses of the supervised run on `eval.select`, and their scores."""
    split, sft = definition.eval.select, supervised_run(definition)
    _add_policy(add, definition, paths, data_dir, (f"select-responses-{sft}", f"select-factscore-{sft}"), sft, split, (f"train-{sft}",), _SELECTING, split)


def _add_choice(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str) -> None:
    """Add the responses of a run's candidates, their scores, and the choice between them."""
    split, sft = definition.eval.select, supervised_run(definition)
    numbers = range(1, count_candidates(definition, run) + 1)
    needs = [f"train-{run}", f"select-factscore-{sft}"]
    for number in numbers:
        names = (f"candidate-{number}-responses-{run}", f"candidate-{number}-factscore-{run}")
        _add_policy(add, definition, paths, data_dir, names, run, split, (f"train-{run}",), _SELECTING, candidate_part(number), number)
        needs.append(names[1])
    folders = [paths.eval(sft) / split, *(paths.eval(run) / candidate_part(number) for number in numbers)]
    shown = (f"runs.{run}.label", f"runs.{sft}.label")
    add(Step(
        f"choose-{run}", "eval", "csenv", "confscoring.choose", ("--run", run), tuple(needs),
        ("eval.select", "eval.keep_correct", "eval.more_empty", "eval.bootstrap", "seed", "name", *shown), lambda: [
            paths.questions(split), paths.candidates(run), *(path for number in numbers for path in _files(paths.candidate(run, number))),
            *(path for folder in folders for kind in ("responses", "factscore_outputs") for path in _files(folder / kind)),
        ],
    ))


def _add_policy(
    add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, names: tuple[str, str], run: str, split: str,
    needs: tuple[str, ...], settings: tuple[str, ...], part: str = "", candidate: int | None = None,
) -> None:
    """Add two steps, which sample a policy's responses on a split and score them.

    Args:
        names: Ids of the two.
        needs: The steps that make the policy.
        settings: What the responses depend on.
        part: Where they lie, below the run's evaluation.
        candidate: Which of the run's candidates the policy is.
    """
    args = ("--run", run, "--split", split, *(("--candidate", str(candidate)) if candidate is not None else ()))
    questions = paths.questions(split)
    add(Step(
        names[0], "eval", "csenv", "confscoring.responses", args, ("world", "pretrain", *needs), settings,
        lambda: [questions, *_files(policy_folder(definition, paths, data_dir, run, candidate))], split,
        item_outputs=lambda topic: [paths.responses(topic, run, part)],
    ))
    add(Step(
        names[1], "eval", "fsenv", "factscoring.factscore", args, ("world", names[0]),
        scoring_settings(definition), lambda: [questions, *evidence_files(definition, paths, data_dir)], split,
        item_inputs=lambda topic: [paths.responses(topic, run, part)], item_outputs=lambda topic: [paths.factscore(topic, run, part)],
    ))


def _add_evaluation(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str) -> None:
    split = definition.eval.split
    args = ("--run", run, "--split", split)
    questions = paths.questions(split)
    policy = lambda: _files(policy_folder(definition, paths, data_dir, run))  # noqa: E731
    made = f"choose-{run}" if count_candidates(definition, run) else f"train-{run}"
    grammar = grammar_files(definition, paths)
    world = [paths.world / "world.json"] if definition.world else []
    drawn = ("eval.split", "eval.n", "eval.temperature", "eval.greedy")
    names = (f"eval-responses-{run}", f"eval-factscore-{run}")
    _add_policy(add, definition, paths, data_dir, names, run, split, (made,), ("responses", *drawn, "models", "seed", "name"))
    needs: tuple[str, ...] = (f"eval-factscore-{run}",)
    if definition.world:
        add(Step(f"closed-book-{run}", "eval", "csenv", "confscoring.closed_book", args, ("world", "pretrain", made), ("answers", "eval.split", "models", "seed", "name"),
                 lambda: [questions, *grammar, *world, *policy()]))
        needs += (f"closed-book-{run}",)
    for judge in definition.judges:
        name = f"judges.{judge}"
        add(Step(
            f"judge-{judge}-{run}", "eval", "fsenv", "factscoring.rejudge", (*args, "--judge", judge), (f"eval-factscore-{run}",),
            scoring_settings(definition, name), lambda name=name: [questions, *evidence_files(definition, paths, data_dir, name)], split,  # type: ignore[misc]
            item_inputs=lambda topic: [paths.factscore(topic, run)], item_outputs=lambda topic, judge=judge: [paths.judged(topic, run, judge)],  # type: ignore[misc]
        ))
        needs += (f"judge-{judge}-{run}",)
    add(Step(f"eval-{run}", "eval", "csenv", "confscoring.evaluate", args, needs, ("eval", "judges", "seed", "name", f"runs.{run}.label"), lambda: [
        questions, *world, paths.eval(run) / "closed_book.json",
        *sorted((paths.eval(run) / "responses").glob("*.json")), *sorted((paths.eval(run) / "factscore_outputs").glob("*.json")),
        *(path for judge in definition.judges for path in sorted((paths.eval(run) / "judges" / judge).glob("*.json"))),
    ]))
