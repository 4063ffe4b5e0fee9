"""The three trainings of this project as functions of settings and files; the stages only say where the files are.

Each starts from a folder, writes its log to a second and its policy to a third, is finished when all is written, and does
nothing when it is finished already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpo import batches, preferences
from dpo.batches import Batching
from dpo.chat import PromptForm
from dpo.deepspeed_engine import cast_parameters, torch_dtype
from dpo.export import files_to_copy
from dpo.held_out import HeldOut
from dpo.job import Job, check_disk, finished, identify
from dpo.logprobs import Policy
from dpo.lora import add_adapters
from dpo.models import load_model, load_tokenizer, new_model
from dpo.objectives import LanguageModelling, PairData, PreferenceOptimisation
from dpo.pair_data import DistinctSequences, in_pairs
from dpo.processes import Processes, is_first_process, start_processes
from dpo.reference import model_hash, reference_logps
from dpo.samples import Watch
from dpo.seeding import derive_seed
from dpo.spans import read_spans
from dpo.tokenise import ResponseTokeniser
from dpo.trainer import train
from volume import records
from volume.errors import RecordError, UsageError
from volume.training_settings import DpoSettings, OptimSettings, PretrainSettings, TrackingSettings


@dataclass(frozen=True)
class Place:
    """Where a training reads and writes, and how it talks.

    Attributes:
        start: Model folder that it starts from: configuration, tokenizer and (not for pretraining) weights.
        folder: Its log, checkpoints and record.
        export: Folder of the trained policy.
        seed: Seed of weights and order.
        candidates: Folder of the policies that are kept along the way, where the settings ask for some.
        references: Folder of the reference log-probabilities that all runs share.
        form: Makes prompts of questions, as the responses were sampled.
        new_tokens: Tokens of the responses that are sampled on the way, at most.
        tracking: Where figures go besides the log.
        code: Version of the code.
        log: Takes one line for people.
        should_stop: True asks for a checkpoint and a stop.
    """

    start: Path
    folder: Path
    export: Path
    seed: int
    candidates: Path = Path("candidates")
    references: Path = Path("reference_logps")
    form: PromptForm = field(default_factory=PromptForm)
    new_tokens: int = 256
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    code: str = ""
    log: Callable[[str], None] = lambda line: None
    should_stop: Callable[[], bool] = lambda: False

    def job(self, settings: OptimSettings, inputs: Sequence[Path], files: dict[str, Path], **more: Any) -> Job:
        """Return the run; ``more`` is what decides its bytes besides settings, seed, code and inputs."""
        identity = identify(settings, self.seed, [*inputs, *files.values()], self.code, **more)
        candidates, eval_every = (settings.candidates, settings.eval_every) if isinstance(settings, DpoSettings) else (0, 0)
        return Job(
            self.folder, self.export, files, settings, identity, eval_every, candidates, self.candidates, self.tracking, self.say, self.should_stop,
        )  # fmt: skip

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
    job = place.job(settings, [corpus], files, steps=steps)
    if (done := finished(job)) is not None:
        return done
    tokeniser = _tokeniser(place, settings)
    documents = tokeniser.documents([line["text"] for line in read_texts(corpus, ("text",))])
    plan = batches.plan_documents([len(document.ids) for document in documents], steps, settings.tokens_per_step, place.seed)
    processes = start_processes()
    # Documents of one length fill their rows without padding and share no prompt: nothing to pack.
    model = new_model(config, place.seed)
    cast_parameters(model, settings.dtype)
    policy = Policy(model).to(processes.device)
    check_disk(job, policy)
    facts = _facts(tokeniser, policy, documents=len(documents), tokens=sum(document.targets for document in documents))
    return train(job, policy, LanguageModelling(documents, plan, "documents"), processes, facts)


def tune_on_style(place: Place, settings: OptimSettings, style: Path) -> list[Path]:
    """Train a model on prompts with their one response each, JSON lines {"prompt": str, "response": str}."""
    examples = [preferences.Prompt("", line["prompt"], (line["response"],)) for line in read_texts(style, ("prompt", "response"))]
    return _supervise(place, settings, style, examples)


def tune_on_responses(place: Place, settings: OptimSettings, rewards: Path) -> list[Path]:
    """Train a model on all responses of a rewards file (arXiv 2311.08401, section 3.3), whatever their reward."""
    return _supervise(place, settings, rewards, preferences.read_prompts(records.load(rewards, records.Rewards)))


def _supervise(place: Place, settings: OptimSettings, source: Path, prompts: list[preferences.Prompt]) -> list[Path]:
    files = files_to_copy(place.start)
    job = place.job(settings, [source, *_weights(place.start)], files, form=place.form.identity)
    if (done := finished(job)) is not None:
        return done
    tokeniser = _tokeniser(place, settings)
    items = [(p, r) for p, prompt in enumerate(prompts) for r in range(len(prompt.responses))]
    data = DistinctSequences(tokeniser, place.form, prompts, items)
    epochs = [[data.index(*item) for item in epoch] for epoch in preferences.visit_responses(prompts, settings.epochs, place.seed)]
    plan = preferences.split_batches(epochs, settings.batch_size, settings.drop_last)
    if not plan:
        raise UsageError(f"{source} holds no full batch of responses: expected at least {settings.batch_size if settings.drop_last else 1}")
    processes = start_processes()
    policy = _policy(place, settings, processes)
    check_disk(job, policy)
    facts = _facts(tokeniser, policy, prompts=len(prompts), responses=len(items), distinct_responses=len(data.sequences))
    return train(job, policy, LanguageModelling(data.sequences, plan), processes, facts)


def tune_on_preferences(
    place: Place, settings: DpoSettings, key: str, rewards: Path, held_out: Path | None, masked_spans: Path | None = None
) -> list[Path]:
    """Train a policy on the preference pairs of one reward, from the reference in ``place.start``.

    Args:
        place: ``start`` is the supervised policy: where training starts and the reference.
        settings: DPO's settings.
        key: The reward in the rewards files.
        rewards: Rewards of the training split.
        held_out: Rewards of ``dpoval``, for evaluation; None for none.
        masked_spans: Parts of responses that do not count; see `dpo.spans`.

    Returns:
        The files written.
    """
    given = [path for path in (rewards, held_out, masked_spans) if path is not None]
    files = files_to_copy(place.start)
    job = place.job(settings, [*given, *_weights(place.start)], files, reward=key, form=place.form.identity, new_tokens=place.new_tokens)
    if (done := finished(job)) is not None:
        return done
    tokeniser = _tokeniser(place, settings)
    prompts, counts = preferences.build_pairs(records.load(rewards, records.Rewards), key, settings.threshold)
    val_prompts, val_counts = preferences.build_pairs(records.load(held_out, records.Rewards), key, settings.threshold) if held_out else ([], None)
    spans = read_spans(masked_spans, [*prompts, *val_prompts]) if masked_spans else None
    data = DistinctSequences(tokeniser, place.form, prompts, in_pairs(prompts), spans)
    val = DistinctSequences(tokeniser, place.form, val_prompts, in_pairs(val_prompts), spans)
    epochs = preferences.visit_pairs(prompts, settings.order, settings.epochs, place.seed)
    plan = preferences.split_batches([[data.pair(*item) for item in epoch] for epoch in epochs], settings.batch_size, settings.drop_last)
    if not plan:
        raise UsageError(
            f"{rewards} gives {counts.pairs} pairs by '{key}' ({counts.ties} ties, {counts.without_reward} responses without reward): no batch to train on"
        )
    place.say(
        f"{counts.pairs} pairs of {counts.responses} responses to {counts.prompts} prompts; {counts.ties} ties, {counts.without_reward} responses without reward"
    )
    processes = start_processes()
    policy = _policy(place, settings, processes)
    check_disk(job, policy)
    facts = _facts(tokeniser, policy, **counts.as_dict(), distinct_responses=len(data.sequences))
    if val_counts is not None:
        facts["held_out"] = val_counts.as_dict()
    batching = Batching(policy.packed, settings.tokens_at_once)
    watch, drawn = _watch(place, settings, val_prompts or prompts, policy, processes)
    kept = place.references / f"{model_hash(_weights(place.start), place.start / 'config.json', settings.dtype, policy.packed)}.json"
    logps = reference_logps(kept, policy, batching, [*data.sequences, *val.sequences], processes, place.say)
    ends = (len(data.sequences), len(data.sequences) + len(val.sequences))
    val_pairs = [val.pair(p, *pair) for p, prompt in enumerate(val_prompts) for pair in prompt.pairs]
    measured = HeldOut(
        PairData(val.sequences, logps[ends[0] : ends[1]], val_pairs), settings, watch, drawn,
        reference_logps(kept, policy, batching, drawn, processes, lambda line: None)[:, 0],
    )  # fmt: skip
    return train(job, policy, PreferenceOptimisation(PairData(data.sequences, logps[: ends[0]]), plan, settings), processes, facts, measured)


def _watch(
    place: Place, settings: DpoSettings, prompts: Sequence[preferences.Prompt], policy: Policy, processes: Processes
) -> tuple[Watch | None, list[Any]]:
    """Return what is sampled while training, and the reference's own samples of it, which the policy still is."""
    if not settings.eval_samples or not settings.eval_every:
        return None, []
    texts = [(place.form(prompt.topic, prompt.text), "") for prompt in prompts]
    asked = _tokeniser(place, settings).responses(texts)  # one of its own: these are not counted among the data
    prompt_ids = [asked[number % len(asked)].ids[: asked[number % len(asked)].prompt_length] for number in range(settings.eval_samples)]
    watch = Watch(prompt_ids, place.new_tokens, place.seed, int(asked[0].ids[-1]))
    policy.eval()
    drawn = watch.sample(policy, processes)
    policy.train()
    return watch, drawn


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


def _tokeniser(place: Place, settings: OptimSettings) -> ResponseTokeniser:
    tokenizer = load_tokenizer(place.start)
    return ResponseTokeniser(tokenizer, settings.max_length, settings.max_prompt_length, place.form.separator, place.form.ending)


def _policy(place: Place, settings: OptimSettings, processes: Processes) -> Policy:
    model = add_adapters(load_model(place.start, torch_dtype(settings.dtype)), settings, place.seed)
    if settings.activation_checkpointing:
        model.activation_checkpointing_enable()
    policy = Policy(model, settings.share_prompts).to(processes.device)
    if settings.share_prompts and not policy.packed:
        place.say(f"models of type '{model.config.model_type}' are run padded: prompts are not shared")
    return policy


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"})


def _facts(tokeniser: ResponseTokeniser, policy: Policy, **more: Any) -> dict[str, Any]:
    parameters = list(policy.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return {**more, **asdict(tokeniser.counts), "parameters": sum(parameter.numel() for parameter in parameters), "trained_parameters": trained}


def style_seed(seed: int) -> int:
    """Return the seed of the house-style tuning's order, other than that of the supervised tuning proper."""
    return derive_seed(seed, "style")
