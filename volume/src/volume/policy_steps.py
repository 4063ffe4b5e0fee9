"""The steps of policies: training, the choice between candidates, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from volume.errors import UsageError, suggest
from volume.evidence import evidence_files, grammar_files, model_folder, scoring_settings
from volume.paths import DatasetPaths, candidate_part
from volume.settings import Definition
from volume.step import Step, files_of

# What the responses depend on by which a policy is chosen: not on the rule.
_SELECTING = ("responses", "eval.n", "eval.temperature", "models", "seed", "name")


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


def add_training(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str, splits: list[str]) -> None:
    """Add the training of a run, if it trains anything: from the rewards of ``splits``."""
    kind = definition.runs[run].kind
    if kind == "base":
        return
    base = definition.responses.model if definition.responses else ""
    form = ("responses.prompt", "responses.max_new_tokens", f"models.{base}.chat") if definition.responses else ()
    rewards = tuple(f"rewards-{split}" for split in splits)
    files = lambda: [path for split in splits for path in sorted((paths.root / "rewards").glob(f"rewards_{split}_*.json"))]  # noqa: E731
    if kind == "sft":
        add(Step(f"train-{run}", "train", "dpo", "dpo.train", ("--run", run), (rewards[0], "pretrain"), ("sft", "models", "seed", *form[:1]),
                 lambda: [*files()[:1], *files_of(model_folder(definition, paths, data_dir, base))]))
        return
    sft = supervised_run(definition)
    masked = [paths.root / definition.dpo.masked_spans] if definition.dpo and definition.dpo.masked_spans else []
    add(Step(f"train-{run}", "train", "dpo", "dpo.train", ("--run", run), (*rewards, f"train-{sft}"), ("dpo", f"runs.{run}.reward", "seed", *form),
             lambda: [*files(), *files_of(paths.export(sft)), *masked]))


def add_yardstick(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path) -> None:
    """Add what every choice goes by: responses of the supervised run on `eval.select`, and their scores."""
    split, sft = definition.eval.select, supervised_run(definition)
    _add_policy(add, definition, paths, data_dir, (f"select-responses-{sft}", f"select-factscore-{sft}"), sft, split, (f"train-{sft}",), _SELECTING, split)


def add_choice(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str) -> None:
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
            paths.questions(split), paths.candidates(run), *(path for number in numbers for path in files_of(paths.candidate(run, number))),
            *(path for folder in folders for kind in ("responses", "factscore_outputs") for path in files_of(folder / kind)),
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
        lambda: [questions, *files_of(policy_folder(definition, paths, data_dir, run, candidate))], split,
        item_outputs=lambda topic: [paths.responses(topic, run, part)],
    ))
    add(Step(
        names[1], "eval", "fsenv", "factscoring.factscore", args, ("world", names[0]),
        scoring_settings(definition), lambda: [questions, *evidence_files(definition, paths, data_dir)], split,
        item_inputs=lambda topic: [paths.responses(topic, run, part)], item_outputs=lambda topic: [paths.factscore(topic, run, part)],
    ))


def add_evaluation(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str) -> None:
    """Add the evaluation of a run's policy: responses, their scores, further judges, closed-book answers, figures."""
    split = definition.eval.split
    args = ("--run", run, "--split", split)
    questions = paths.questions(split)
    policy = lambda: files_of(policy_folder(definition, paths, data_dir, run))  # noqa: E731
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
