"""The steps of a dataset: which command writes which files from which.

A step is one stage for one split or run. The table is the same for the host, which plans and orders the steps, and for the
stage itself, which resumes by it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from volume.datasets import DATASETS
from volume.evidence import evidence_files, example_files, grammar_files, model_folder, scoring_settings, span_files
from volume.paths import DatasetPaths
from volume.policy_steps import add_choice, add_evaluation, add_probes, add_training, add_yardstick, count_candidates, supervised_run
from volume.settings import Definition, SamplingSettings
from volume.step import Step, files_of, topic_names
from volume.topics import given_responses, topic_files

# Make targets, in the order in which they run.
STAGES = ("data", "factscore", "questions", "answers", "entities", "rewards", "train", "eval", "report")

# Stages whose bytes depend on how the machine calculates: they run or train a model.
RUNS_MODEL = (
    "confscoring.responses", "confscoring.answers", "confscoring.entities", "confscoring.closed_book", "confscoring.probes",
    "factscoring.factscore", "factscoring.rejudge", "dpo.pretrain", "dpo.train",
)  # fmt: skip


def sampler_name(definition: Definition) -> str:
    """Return the folder name of answer samples: the sampler's model and the number of samples."""
    assert definition.answers is not None
    return f"{definition.answers.model}_{definition.answers.n}samples"


def build_steps(definition: Definition, paths: DatasetPaths, data_dir: Path) -> dict[str, Step]:
    """Return all steps of a dataset by id, each after those it needs."""
    steps: dict[str, Step] = {}

    def add(step: Step) -> None:
        settings = (*step.settings, "device") if definition.device != "auto" and step.module in RUNS_MODEL else step.settings
        steps[step.id] = Step(**{**step.__dict__, "needs": tuple(need for need in step.needs if need in steps), "settings": settings})

    made = definition.world is not None
    if made:
        _add_world(add, paths)
    elif definition.topics:
        _add_topics(add, definition, paths, data_dir)
    splits: list[str] = [split for split in ("train", "dpoval") if split in definition.splits]
    for split in splits:
        _add_scoring(add, definition, paths, data_dir, split)
    for run in definition.runs:
        add_training(add, definition, paths, data_dir, run, splits)
    choosing = [run for run in definition.runs if count_candidates(definition, run)]
    for sft in dict.fromkeys(supervised_run(definition, run) for run in choosing):
        add_yardstick(add, definition, paths, data_dir, sft)
    for run in choosing:
        add_choice(add, definition, paths, data_dir, run)
    for run in definition.runs:
        add_probes(add, definition, paths, data_dir, run)
        add_evaluation(add, definition, paths, data_dir, run)
    evaluated = tuple(f"eval-{run}" for run in definition.runs)
    rewards = tuple(f"rewards-{split}" for split in splits)
    shown = ("runs", "models", "decoders", "eval", "verifier", "judges", "dpo", "seed", "name", "description")
    add(Step("report", "report", "csenv", "confscoring.report", (), (*evaluated, *rewards), shown, lambda: [
        *(paths.eval(run) / "summary.json" for run in definition.runs),
        *(path for run in definition.runs for path in sorted(paths.run(run).glob("*/metrics.jsonl"))),
        *(path for split in splits for path in sorted((paths.root / "rewards").glob(f"*_{split}_*"))),
        *(paths.choice(run) for run in choosing),
        *(paths.questions(split) for split in definition.splits if not made),  # whether they are about people
    ]))
    return steps


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
    elif step.module in ("confscoring.answers", "confscoring.entities") and "--run" not in step.args:
        sections = (definition.answers,)
    elif step.module in ("confscoring.rewards", "confscoring.calibrate"):
        sections = (definition.equivalence,)
    elif step.module == "confscoring.relevance":
        sections = (definition.relevance,)
    elif step.module == "confscoring.topics":
        listed = definition.topics
        return listed is not None and listed.questions > 0 and not (DATASETS / listed.path).is_file()  # a list of ours has its questions
    return any(section is not None and section.backend in ("llm", "openai") for section in sections)


def _add_world(add: Callable[[Step], None], paths: DatasetPaths) -> None:
    add(Step("world", "data", "csenv", "confscoring.world", (), (), ("world", "pretrain", "seed", "splits"), lambda: []))
    add(Step("pretrain", "data", "dpo", "dpo.pretrain", (), ("world",), ("pretrain", "style", "seed", "world"), lambda: [
        paths.world / "corpus.jsonl", paths.world / "style.jsonl", paths.world / "model_config.json",
        *files_of(paths.world / "tokenizer"),
    ]))


def _add_topics(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path) -> None:
    add(Step(
        "topics", "data", "csenv", "confscoring.topics", (), (), ("topics", "splits", "seed"),
        lambda: topic_files(definition, paths, data_dir),
    ))


def _add_scoring(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, split: str) -> None:
    args = ("--split", split)
    questions = paths.questions(split)

    def sampled(settings: SamplingSettings | None) -> list[Path]:
        """The files of the model that a stage samples from; where a server has it, only of a chat model, whose template forms the prompts."""
        if settings is None or (settings.backend != "transformers" and not definition.models[settings.model].chat):
            return []
        return files_of(model_folder(definition, paths, data_dir, settings.model))

    add(Step(
        f"responses-{split}", "data", "csenv", "confscoring.responses", args, ("world", "topics", "pretrain"), ("responses", "models", "seed", "name"),
        lambda: [questions, *sampled(definition.responses)], split, item_inputs=lambda topic: given_responses(paths, topic),
        item_outputs=lambda topic: [paths.responses(topic)],
    ))
    add(Step(
        f"factscore-{split}", "factscore", "fsenv", "factscoring.factscore", args, ("world", f"responses-{split}"),
        scoring_settings(definition), lambda: [questions, *evidence_files(definition, paths, data_dir)], split,
        item_inputs=lambda topic: [paths.responses(topic)], item_outputs=lambda topic: [paths.factscore(topic)],
    ))
    add(Step(
        f"questions-{split}", "questions", "csenv", "confscoring.questions", args, (f"factscore-{split}",), ("questions",),
        lambda: [questions, *grammar_files(definition, paths), *example_files(definition, data_dir)], split,
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
