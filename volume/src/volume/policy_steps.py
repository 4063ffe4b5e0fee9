"""The steps of policies: training, the choice between candidates, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from volume.errors import UsageError, suggest
from volume.evidence import evidence_files, grammar_files, model_folder, scoring_settings
from volume.paths import DatasetPaths, candidate_part
from volume.settings import Definition
from volume.step import Step, files_of, topic_names

# What the responses depend on by which a policy is chosen: not on the rule.
_SELECTING = ("responses", "eval.n", "eval.temperature", "models", "seed", "name")


def start_run(definition: Definition, run: str) -> str:
    """Return the run that a policy goes on from: named, else the first supervised one of its model; "" where it is a model as it is, or none."""
    settings = definition.runs[run]
    if settings.kind in ("base", "sft"):
        return settings.start
    if settings.start:
        return settings.start
    model = settings.model or _responses_model(definition)
    return next((name for name, other in definition.runs.items() if other.kind == "sft" and (other.model or _responses_model(definition)) == model), "")


def supervised_run(definition: Definition, run: str) -> str:
    """Return the supervised run that a policy descends from, with which it is compared: itself where it is one, "" where there is none.

    A model as it is, and what is tuned from it without supervision, is compared with the supervised run of the same model, if there is one.
    """
    seen = run
    while definition.runs[seen].kind != "sft":
        before = start_run(definition, seen)
        if not before:
            model = run_model(definition, seen)
            return next((name for name, other in definition.runs.items() if other.kind == "sft" and run_model(definition, name) == model), "")
        seen = before
    return seen


def is_tuned(definition: Definition, run: str) -> bool:
    """Return whether a run's policy is trained here, and not a model as it is."""
    kind = definition.runs[run].kind
    return is_tuned(definition, start_run(definition, run)) if kind == "decode" else kind != "base"


def run_model(definition: Definition, run: str) -> str:
    """Return the model that a run's policy is, or is tuned from: its name under [models]."""
    settings = definition.runs[run]
    before = "" if settings.model else start_run(definition, run)
    return settings.model or (run_model(definition, before) if before else _responses_model(definition))


def _responses_model(definition: Definition) -> str:
    return definition.responses.model if definition.responses else ""


def count_candidates(definition: Definition, run: str) -> int:
    """Return how many policies a run keeps along the way, of which one is chosen; 0: it exports the last one itself."""
    return definition.dpo.candidates if definition.dpo is not None and definition.runs[run].kind == "dpo" else 0


def policy_folder(definition: Definition, paths: DatasetPaths, data_dir: Path, run: str, candidate: int | None = None) -> Path:
    """Return the folder of a run's policy, or of one of the candidates for it; the model's own for a run that trains nothing."""
    if run not in definition.runs:
        raise UsageError(f"run {run!r}: not in the definition.{suggest(run, definition.runs)}")
    kind = definition.runs[run].kind
    if kind == "base":
        return model_folder(definition, paths, data_dir, run_model(definition, run))
    if kind == "decode":
        return policy_folder(definition, paths, data_dir, start_run(definition, run))
    return paths.export(run) if candidate is None else paths.candidate(run, candidate)


def policy_step(definition: Definition, run: str) -> str:
    """Return the step that makes a run's policy; for a model as it is one that is not there."""
    if definition.runs[run].kind == "decode":
        return policy_step(definition, start_run(definition, run))
    return f"choose-{run}" if count_candidates(definition, run) else f"train-{run}"


def add_training(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str, splits: list[str]) -> None:
    """Add the training of a run, if it trains anything: from the rewards of ``splits``."""
    kind = definition.runs[run].kind
    if kind in ("base", "decode"):
        return
    base = run_model(definition, run)
    form = ("responses.prompt", "responses.max_new_tokens", f"models.{base}.chat") if definition.responses else ()
    rewards = tuple(f"rewards-{split}" for split in splits)
    files = lambda: [path for split in splits for path in sorted((paths.root / "rewards").glob(f"rewards_{split}_*.json"))]  # noqa: E731
    if kind == "sft":
        add(Step(f"train-{run}", "train", "dpo", "dpo.train", ("--run", run), (rewards[0], "pretrain"), ("sft", f"models.{base}", "seed", *form[:1]),
                 lambda: [*files()[:1], *files_of(model_folder(definition, paths, data_dir, base))]))
        return
    start = start_run(definition, run)
    masked = [paths.root / definition.dpo.masked_spans] if definition.dpo and definition.dpo.masked_spans else []
    add(Step(f"train-{run}", "train", "dpo", "dpo.train", ("--run", run), (*rewards, policy_step(definition, start)), ("dpo", f"runs.{run}.reward", "seed", *form),
             lambda: [*files(), *files_of(policy_folder(definition, paths, data_dir, start)), *masked]))


def add_probes(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str) -> None:
    """Add the probes of a run that shifts attention heads: fitted to scored facts of the training topics."""
    decoder = definition.runs[run].decoder
    if not decoder or definition.decoders[decoder].kind != "iti":
        return
    questions = paths.questions("train")
    add(Step(
        f"probes-{run}", "train", "csenv", "confscoring.probes", ("--run", run, "--split", "train"), ("factscore-train", "pretrain", policy_step(definition, run)),
        (f"decoders.{decoder}", "responses.prompt", "models", "seed", "name"), lambda: [
            questions, *files_of(policy_folder(definition, paths, data_dir, run)),
            *(path for topic in topic_names(questions) for path in (paths.responses(topic), paths.factscore(topic))),
        ],
    ))


def add_yardstick(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, sft: str) -> None:
    """Add what every choice goes by: responses of the supervised run on `eval.select`, and their scores."""
    split = definition.eval.select
    _add_policy(add, definition, paths, data_dir, (f"select-responses-{sft}", f"select-factscore-{sft}"), sft, split, (f"train-{sft}",), _SELECTING, split)


def add_choice(add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, data_dir: Path, run: str) -> None:
    """Add the responses of a run's candidates, their scores, and the choice between them."""
    split, sft = definition.eval.select, supervised_run(definition, run)
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
        lambda: [questions, *files_of(policy_folder(definition, paths, data_dir, run, candidate)), *files_of(paths.probes(run))], split,
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
    policy = lambda: [*files_of(policy_folder(definition, paths, data_dir, run)), *files_of(paths.probes(run))]  # noqa: E731
    made = policy_step(definition, run)
    grammar = grammar_files(definition, paths)
    world = [paths.world / "world.json"] if definition.world else []
    drawn = ("eval.split", "eval.n", "eval.temperature", "eval.greedy")
    names = (f"eval-responses-{run}", f"eval-factscore-{run}")
    needs_policy = (made, f"probes-{run}")
    decoder = definition.runs[run].decoder
    chosen = ("models", *((f"decoders.{decoder}",) if decoder else ()), "seed", "name")
    _add_policy(add, definition, paths, data_dir, names, run, split, needs_policy, ("responses", *drawn, *chosen))
    needs: tuple[str, ...] = (f"eval-factscore-{run}",)
    if definition.world:
        add(Step(f"closed-book-{run}", "eval", "csenv", "confscoring.closed_book", args, ("world", "pretrain", *needs_policy), ("answers", "eval.split", *chosen),
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
    if definition.relevance is not None:
        add(Step(
            f"relevance-{run}", "eval", "csenv", "confscoring.relevance", args, (f"eval-factscore-{run}",), ("relevance",), lambda: [questions], split,
            item_inputs=lambda topic: [paths.factscore(topic, run), paths.responses(topic, run)], item_outputs=lambda topic: [paths.relevance(topic, run)],
        ))
        needs += (f"relevance-{run}",)
    if run in definition.eval.calibrated:
        needs += _add_calibration(add, definition, paths, run, (questions, *grammar), policy, chosen)
    add(Step(f"eval-{run}", "eval", "csenv", "confscoring.evaluate", args, needs, ("eval", "judges", "relevance", "seed", "name", f"runs.{run}.label"), lambda: [
        questions, *world, paths.eval(run) / "closed_book.json", *((paths.calibration(run),) if run in definition.eval.calibrated else ()),
        *sorted((paths.eval(run) / "responses").glob("*.json")), *sorted((paths.eval(run) / "factscore_outputs").glob("*.json")),
        *(path for judge in definition.judges for path in sorted((paths.eval(run) / "judges" / judge).glob("*.json"))),
        *(sorted((paths.eval(run) / "relevance").glob("*.json")) if definition.relevance else ()),
    ]))


def _add_calibration(
    add: Callable[[Step], None], definition: Definition, paths: DatasetPaths, run: str, asked: tuple[Path, ...], policy: Callable[[], list[Path]],
    chosen: tuple[str, ...],
) -> tuple[str, ...]:
    """Add the steps that ask a policy back about its own responses; return the last one's id."""
    split = definition.eval.split
    args = ("--run", run, "--split", split)
    add(Step(
        f"eval-questions-{run}", "eval", "csenv", "confscoring.questions", args, (f"eval-factscore-{run}",), ("questions",), lambda: list(asked), split,
        item_inputs=lambda topic: [paths.factscore(topic, run), paths.responses(topic, run)], item_outputs=lambda topic: [paths.atomic_qs(topic, run)],
    ))
    add(Step(
        f"eval-answers-{run}", "eval", "csenv", "confscoring.answers", args, (f"eval-questions-{run}",), ("answers", *chosen), lambda: [asked[0], *policy()], split,
        item_inputs=lambda topic: [paths.atomic_qs(topic, run)], item_outputs=lambda topic: [paths.samples("own", topic, run)],
    ))
    add(Step(
        f"calibrate-{run}", "eval", "csenv", "confscoring.calibrate", args, (f"eval-answers-{run}",), ("equivalence", "answers", "eval.bootstrap", "seed", "name"),
        lambda: [*asked, *(path for topic in topic_names(asked[0]) for path in (paths.atomic_qs(topic, run), paths.samples("own", topic, run)))],
    ))
    return (f"calibrate-{run}",)
