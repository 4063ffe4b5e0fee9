"""The three trainings of this project as functions of settings and files; the stages only say where the files are.

Each starts from a folder, writes its log to a second and its policy to a third, is finished when the export is written,
and does nothing when it is finished already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo import batches, preferences
from dpo.deepspeed_engine import Processes, cast_parameters, is_first_process, start_processes
from dpo.export import files_to_copy
from dpo.logprobs import Policy
from dpo.models import load_model, load_tokenizer, new_model
from dpo.objectives import LanguageModelling, PairData, PreferenceOptimisation
from dpo.reference import FILE as REFERENCE_FILE
from dpo.reference import reference_logps
from dpo.seeding import derive_seed
from dpo.tokenise import ResponseTokeniser, TokenSequence
from dpo.trainer import Job, finished, identify, train
from volume import records
from volume.errors import RecordError, UsageError
from volume.files import sha256_file
from volume.settings import DpoSettings, OptimSettings, PretrainSettings


@dataclass(frozen=True)
class Place:
    """Where a training reads and writes, and how it talks.

    Attributes:
        start: Model folder that it starts from: configuration, tokenizer and (not for pretraining) weights.
        folder: Its log, checkpoints and record.
        export: Folder of the trained policy.
        seed: Seed of weights and order.
        code: Version of the code.
        log: Takes one line for people.
        should_stop: True asks for a checkpoint and a stop.
    """

    start: Path
    folder: Path
    export: Path
    seed: int
    code: str = ""
    log: Callable[[str], None] = lambda line: None
    should_stop: Callable[[], bool] = lambda: False

    def job(self, settings: OptimSettings, inputs: list[Path], files: dict[str, Path], eval_every: int = 0, **more: Any) -> Job:
        identity = identify(settings, self.seed, inputs, self.code, **more)
        return Job(self.folder, self.export, files, settings, identity, eval_every, self.say, self.should_stop)

    def say(self, line: str) -> None:
        """Log a line, once for all processes."""
        if is_first_process():
            self.log(line)


def pretrain(place: Place, settings: PretrainSettings, corpus: Path, config: Path, scale: float = 1.0) -> list[Path]:
    """Train a model from scratch on documents.

    Args:
        place: ``start`` holds the tokenizer alone.
        settings: Steps, tokens per step, optimizer.
        corpus: JSON lines {"text": str}.
        config: The model's Hugging Face configuration.
        scale: Multiplies the number of steps.

    Returns:
        The files written.
    """
    steps = max(1, round(settings.steps * scale))
    files = {"config.json": config, **files_to_copy(place.start)}
    job = place.job(settings, [corpus, *files.values()], files, steps=steps)
    if (done := finished(job)) is not None:
        return done
    tokeniser = _tokeniser(place.start, settings)
    documents = tokeniser.documents([line["text"] for line in read_texts(corpus, ("text",))])
    plan = batches.plan_documents([len(document.ids) for document in documents], steps, settings.tokens_per_step, place.seed)
    processes = start_processes()
    policy = _policy(new_model(config, place.seed), settings, processes)
    facts = _facts(tokeniser, documents=len(documents), tokens=sum(document.targets for document in documents), parameters=_parameters(policy))
    return train(job, policy, LanguageModelling(documents, plan, "documents"), processes, facts)


def tune_on_style(place: Place, settings: OptimSettings, style: Path) -> list[Path]:
    """Train a model on prompts with their one response each, JSON lines {"prompt": str, "response": str}."""
    examples = [preferences.Prompt("", line["prompt"], (line["response"],)) for line in read_texts(style, ("prompt", "response"))]
    return _supervise(place, settings, [style], examples)


def tune_on_responses(place: Place, settings: OptimSettings, rewards: Path) -> list[Path]:
    """Train a model on all responses of a rewards file (arXiv 2311.08401, section 3.3), whatever their reward."""
    return _supervise(place, settings, [rewards], preferences.read_prompts(records.load(rewards, records.Rewards)))


def _supervise(place: Place, settings: OptimSettings, inputs: list[Path], prompts: list[preferences.Prompt]) -> list[Path]:
    files = files_to_copy(place.start)
    job = place.job(settings, [*inputs, *files.values(), *_weights(place.start)], files)
    if (done := finished(job)) is not None:
        return done
    tokeniser = _tokeniser(place.start, settings)
    sequences = tokeniser.responses([(prompt.text, response) for prompt in prompts for response in prompt.responses])
    places = {item: index for index, item in enumerate((p, r) for p, prompt in enumerate(prompts) for r in range(len(prompt.responses)))}
    epochs = [[places[item] for item in epoch] for epoch in preferences.visit_responses(prompts, settings.epochs, place.seed)]
    plan = preferences.split_batches(epochs, settings.batch_size, settings.drop_last)
    if not plan:
        raise UsageError(f"{inputs[0]} holds no full batch of responses: expected at least {settings.batch_size if settings.drop_last else 1}")
    processes = start_processes()
    policy = _policy(load_model(place.start), settings, processes)
    facts = _facts(tokeniser, prompts=len(prompts), responses=len(sequences), parameters=_parameters(policy))
    return train(job, policy, LanguageModelling(sequences, plan), processes, facts)


def tune_on_preferences(place: Place, settings: DpoSettings, key: str, rewards: Path, held_out: Path | None) -> list[Path]:
    """Train a policy on the preference pairs of one reward, from the reference in ``place.start``.

    Args:
        place: ``start`` is the supervised policy: where training starts and the reference.
        settings: DPO's settings.
        key: The reward in the rewards files.
        rewards: Rewards of the training split.
        held_out: Rewards of ``dpoval``, for evaluation; None for none.

    Returns:
        The files written.
    """
    files = files_to_copy(place.start)
    inputs = [rewards, *([held_out] if held_out else []), *files.values(), *_weights(place.start)]
    job = place.job(settings, inputs, files, settings.eval_every, reward=key)
    kept = place.folder / REFERENCE_FILE
    if (done := finished(job)) is not None and kept.is_file():
        return sorted([*done, kept])
    tokeniser = _tokeniser(place.start, settings)
    prompts, counts = preferences.build_pairs(records.load(rewards, records.Rewards), key, settings.threshold)
    epochs = preferences.visit_pairs(prompts, settings.order, settings.epochs, place.seed)
    index = _Distinct(tokeniser, prompts)
    plan = preferences.split_batches([[index.pair(*item) for item in epoch] for epoch in epochs], settings.batch_size, settings.drop_last)
    if not plan:
        raise UsageError(f"{rewards} gives {counts.pairs} pairs by '{key}' ({counts.ties} ties, {counts.without_reward} responses without reward): no batch to train on")
    facts = _facts(tokeniser, **counts.as_dict(), distinct_responses=len(index.sequences))
    place.say(f"{counts.pairs} pairs of {counts.responses} responses to {counts.prompts} prompts; {counts.ties} ties, {counts.without_reward} responses without reward")
    val_prompts: list[preferences.Prompt] = []
    if held_out:
        val_prompts, val_counts = preferences.build_pairs(records.load(held_out, records.Rewards), key, settings.threshold)
        facts["held_out"] = val_counts.as_dict()
    val = _Distinct(tokeniser, val_prompts)

    processes = start_processes()
    policy = _policy(load_model(place.start), settings, processes)
    facts["parameters"] = _parameters(policy)
    marks = [sha256_file(path) for path in _weights(place.start)]
    logps = reference_logps(kept, "-".join([*marks, settings.dtype]), policy, [*index.sequences, *val.sequences], processes, place.say)
    objective = PreferenceOptimisation(
        PairData(index.sequences, logps[: len(index.sequences)]), plan, settings,
        PairData(val.sequences, logps[len(index.sequences) :], [val.pair(p, *pair) for p, prompt in enumerate(val_prompts) for pair in prompt.pairs]),
    )  # fmt: skip
    written = train(job, policy, objective, processes, facts)
    return sorted([*written, kept]) if processes.first else []


class _Distinct:
    """The distinct token sequences of prompts with pairs; duplicates among a prompt's responses become one."""

    def __init__(self, tokeniser: ResponseTokeniser, prompts: list[preferences.Prompt]) -> None:
        used = [(p, r) for p, prompt in enumerate(prompts) for r in sorted({r for pair in prompt.pairs for r in pair})]
        tokenised = tokeniser.responses([(prompts[p].text, prompts[p].responses[r]) for p, r in used])
        by_key: dict[str, int] = {}
        self.sequences: list[TokenSequence] = []
        self._index: dict[tuple[int, int], int] = {}
        for item, sequence in zip(used, tokenised, strict=True):
            if sequence.key not in by_key:
                by_key[sequence.key] = len(self.sequences)
                self.sequences.append(sequence)
            self._index[item] = by_key[sequence.key]

    def pair(self, prompt: int, chosen: int, rejected: int) -> tuple[int, int]:
        return self._index[prompt, chosen], self._index[prompt, rejected]


def read_texts(path: Path, keys: tuple[str, ...]) -> list[dict[str, str]]:
    """Read JSON lines that hold at least the given text fields.

    Raises:
        UsageError: There is no such file.
        RecordError: A line is no such record, or there is none; the message names it.
    """
    rows = []
    for number, row in records.read_lines(path):
        if not all(isinstance(row.get(key), str) for key in keys):
            raise RecordError(f"{path}, line {number}: expected an object with the text fields {', '.join(keys)}. Delete the file to have it made anew.")
        rows.append(row)
    if not rows:
        raise RecordError(f"{path} is empty. Delete it to have it made anew.")
    return rows


def _tokeniser(folder: Path, settings: OptimSettings) -> ResponseTokeniser:
    return ResponseTokeniser(load_tokenizer(folder), settings.max_length, settings.max_prompt_length)


def _policy(model: Any, settings: OptimSettings, processes: Processes) -> Policy:
    cast_parameters(model, settings.dtype)
    return Policy(model).to(processes.device)


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"})


def _parameters(policy: Policy) -> int:
    return sum(parameter.numel() for parameter in policy.parameters())


def _facts(tokeniser: ResponseTokeniser, **more: Any) -> dict[str, Any]:
    return {**more, **asdict(tokeniser.counts)}


def style_seed(seed: int) -> int:
    """Return the seed of the house-style tuning's order, other than that of the supervised tuning proper."""
    return derive_seed(seed, "style")
