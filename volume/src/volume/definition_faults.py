"""What is wrong with a dataset definition that no single value shows: unknown choices, names that nothing defines."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from volume.errors import suggest
from volume.policy_faults import decoder_faults, run_faults
from volume.settings import Definition, QuestionsSettings, SamplingSettings
from volume.training_settings import OptimSettings

_TRAINING = ("pretrain", "style", "sft", "dpo")

_DEVICES = ("auto", "cpu", "portable")

_CHOICES = {
    ("responses", "backend"): ("transformers", "openai"),
    ("answers", "backend"): ("transformers", "openai"),
    ("facts", "backend"): ("grammar", "llm", "rules"),
    ("retrieval", "backend"): ("bm25", "gtr"),
    ("verifier", "backend"): ("lexical", "llm", "local"),
    ("verifier", "passage_order"): ("rank", "page"),
    ("questions", "backend"): ("grammar", "llm", "rules"),
    ("entities", "backend"): ("grammar", "spacy"),
    ("entities", "spans"): ("entities", "noun_chunks", "both"),
    ("equivalence", "backend"): ("words", "suffix", "llm"),
    ("dpo", "order"): ("grouped", "shuffled"),
    ("dpo", "loss"): ("dpo", "ipo"),
    **{(section, "optimizer"): ("adamw", "rmsprop") for section in _TRAINING},
    **{(section, "schedule"): ("constant", "cosine") for section in _TRAINING},
    **{(section, "dtype"): ("float32", "bfloat16") for section in _TRAINING},
    **{(section, "offload"): ("none", "optimizer", "parameters") for section in _TRAINING},
}

_AT_LEAST_ONE = (
    ("facts", "gamma"), ("facts", "max_tokens"), ("retrieval", "k"), ("verifier", "max_tokens"), ("llm", "in_flight"), ("llm", "attempts"),
    *((section, key) for section in ("responses", "answers") for key in ("n", "max_new_tokens", "batch_rows", "topics_at_once", "samples_per_call")),
    ("completions", "in_flight"), ("completions", "attempts"), ("questions", "max_tokens"), ("equivalence", "max_tokens"), ("entities", "n"),
    *((section, "tokens_at_once") for section in _TRAINING),
)  # fmt: skip


def find_faults(definition: Definition) -> list[str]:
    """Return the faults that no single value shows."""
    faults = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", definition.name):
        faults.append(f"name = {definition.name!r}: expected letters, digits, '.', '_' and '-'")
    if definition.device not in _DEVICES:
        faults.append(f"device = {definition.device!r}: unknown.{suggest(definition.device, _DEVICES)}")
    if definition.device == "portable":
        for section in _TRAINING:  # docs/determinism.md
            settings = getattr(definition, section)
            if settings and settings.optimizer == "rmsprop":
                faults.append(f"{section}.optimizer = 'rmsprop': its square roots differ between vendors' processors; with device = 'portable' expected 'adamw'")
    for (section, key), choices in _CHOICES.items():
        settings = getattr(definition, section)
        value = getattr(settings, key) if settings else None
        if value is not None and value not in choices:
            faults.append(f"{section}.{key} = {value!r}: unknown.{suggest(value, choices)}")
    for section, key in _AT_LEAST_ONE:
        settings = getattr(definition, section)
        if settings and getattr(settings, key) < 1:
            faults.append(f"{section}.{key} = {getattr(settings, key)}: expected 1 or more")
    for place, name in named_models(definition).items():
        if name not in definition.models:
            faults.append(f"{place} = {name!r}: not under [models].{suggest(name, definition.models)}")
    if definition.questions and definition.questions.context < 0:
        faults.append(f"questions.context = {definition.questions.context}: expected 0 or more")
    if definition.questions and definition.questions.examples:
        faults += _examples_faults(definition, definition.questions)
    for section, key in (("rewards", "module"), ("entities", "model"), *((("questions", "examples"),) if definition.questions else ())):
        path = PurePosixPath(getattr(getattr(definition, section), key))
        if path.is_absolute() or ".." in path.parts:
            faults.append(f"{section}.{key} = {str(path)!r}: expected a path below the data volume, without '..'")
    for name, model in definition.models.items():
        if model.device_map not in ("", "auto", "balanced", "sequential"):
            faults.append(f"models.{name}.device_map = {model.device_map!r}: unknown.{suggest(model.device_map, ('auto', 'balanced', 'sequential'))}")
    for name in definition.runs:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):  # a folder's name, and a part of a setting's
            faults.append(f"runs.{name}: expected letters, digits, '_' and '-' in a run's name")
    for name, judge in definition.judges.items():
        if name in ("truth", "verifier", "plain"):
            faults.append(f"judges.{name}: that name stands for other figures of the evaluation; take another")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            faults.append(f"judges.{name}: expected letters, digits, '_' and '-' in a judge's name")
        for key in ("backend", "passage_order"):
            value, choices = getattr(judge, key), _CHOICES["verifier", key]
            if value not in choices:
                faults.append(f"judges.{name}.{key} = {value!r}: unknown.{suggest(value, choices)}")
    asking = {section: getattr(definition, section) for section in ("facts", "verifier", "questions", "equivalence")}
    for section, settings in {**asking, **{f"judges.{name}": judge for name, judge in definition.judges.items()}}.items():
        if settings and settings.backend == "llm" and not settings.model:
            faults.append(f"{section}.model: missing (the service's name of the model, for backend 'llm')")
    if definition.eval.split not in definition.splits:
        faults.append(f"eval.split = {definition.eval.split!r}: not one of splits {list(definition.splits)}")
    return [*faults, *run_faults(definition), *decoder_faults(definition), *_other_faults(definition), *_training_faults(definition), *_choice_faults(definition)]


def _examples_faults(definition: Definition, questions: QuestionsSettings) -> list[str]:
    """Return what does not go together with the public code's prompt for questions."""
    faults = []
    if questions.backend != "llm":
        faults.append(f"questions.examples: only for questions.backend = 'llm', not {questions.backend!r}")
    if questions.context:
        faults.append(f"questions.context = {questions.context}: expected 0 where questions.examples is given, whose prompt shows no other facts")
    if definition.eval.calibrated:
        faults.append("eval.calibrated: expected [] where questions.examples is given, whose prompt asks for no answer to compare with")
    return faults + [
        f"runs.{name}.reward = 'aq_samp_conf_avg': needs a fact's own answer, for which the prompt of questions.examples does not ask"
        for name, run in definition.runs.items() if run.reward == "aq_samp_conf_avg"
    ]  # fmt: skip


def _other_faults(definition: Definition) -> list[str]:
    faults: list[str] = []
    topics, relevance = definition.topics, definition.relevance
    if topics and topics.questions > 0 and not topics.model:
        faults.append(f"topics.model: missing (the service's name of the model that writes {topics.questions} questions a topic)")
    for split in topics.splits if topics else ():
        if split not in ("train", "val", "test"):
            faults.append(f"topics.splits.{split}: expected train, val and test (dpoval has a setting of its own)")
    if relevance and relevance.backend != "llm":
        faults.append(f"relevance.backend = {relevance.backend!r}: expected llm")
    if relevance and not relevance.model:
        faults.append("relevance.model: missing (the service's name of the model)")
    faults += [f"rewards.flipped: {share:g}: expected shares above 0, up to 0.5" for share in definition.rewards.flipped if not 0 < share <= 0.5]
    return faults


def _training_faults(definition: Definition) -> list[str]:
    """Return what does not go together in the sections of training."""
    faults = []
    for section in _TRAINING:
        settings: OptimSettings | None = getattr(definition, section)
        if settings is None:
            continue
        stage = settings.zero_stage
        if stage not in (0, 1, 2, 3):
            faults.append(f"{section}.zero_stage = {stage}: expected 0, 1, 2 or 3")
        if settings.offload == "parameters" and stage != 3:
            faults.append(f"{section}.offload = 'parameters': needs {section}.zero_stage = 3, not {stage}")
        if settings.offload == "optimizer" and stage < 1:
            faults.append(f"{section}.offload = 'optimizer': needs {section}.zero_stage of 1 to 3, not {stage}")
        if settings.dtype == "bfloat16" and stage < 1:
            faults.append(f"{section}.dtype = 'bfloat16': needs {section}.zero_stage of 1 to 3, not {stage}; 1 will do with a single process too")
        if settings.lora_rank < 0:
            faults.append(f"{section}.lora_rank = {settings.lora_rank}: expected 0 (all weights are trained) or more")
    return [*faults, *_loss_faults(definition)]


def _loss_faults(definition: Definition) -> list[str]:
    """Return what the loss of preference training cannot be computed with."""
    settings = definition.dpo
    if settings is None:
        return []
    faults = []
    if settings.beta <= 0:
        faults.append(f"dpo.beta = {settings.beta:g}: expected more than 0")
    if not 0 <= settings.label_smoothing <= 0.5:
        faults.append(f"dpo.label_smoothing = {settings.label_smoothing:g}: expected a probability from 0 to 0.5")
    for name in ("likelihood_weight", "gap_weight", "length_weight"):
        if getattr(settings, name) < 0:
            faults.append(f"dpo.{name} = {getattr(settings, name):g}: expected 0 or more")
    for name in ("label_smoothing", "gap_weight", "length_weight"):
        if settings.loss == "ipo" and getattr(settings, name):
            faults.append(f"dpo.{name} = {getattr(settings, name):g}: means nothing to loss = 'ipo', whose margin is 1 / (2 beta); set it to 0")
    if settings.masked_spans.startswith("/") or ".." in settings.masked_spans.split("/"):
        faults.append(f"dpo.masked_spans = {settings.masked_spans!r}: expected a file below the dataset's folder")
    if definition.pretrain is not None and definition.pretrain.lora_rank:
        faults.append(f"pretrain.lora_rank = {definition.pretrain.lora_rank}: a model that starts from nothing is trained as a whole; set it to 0")
    return faults


def _choice_faults(definition: Definition) -> list[str]:
    """Return what stands in the way of choosing between policies that were kept along the way."""
    number, rule = definition.dpo.candidates if definition.dpo else 0, definition.eval
    if number == 0:
        return []
    faults = []
    if number < 2:
        faults.append(f"dpo.candidates = {number}: expected 2 or more, or 0 to take the last policy")
    if not any(run.kind == "sft" for run in definition.runs.values()):
        faults.append(f"dpo.candidates = {number}: needs a run of kind 'sft', whose correct facts and empty responses a candidate is held against")
    if rule.select not in definition.splits:
        faults.append(f"eval.select = {rule.select!r}: dpo.candidates = {number} needs it, and it is not one of splits {list(definition.splits)}")
    elif rule.select in ("train", rule.split):
        why = "policies were trained on it" if rule.select == "train" else "it is eval.split, whose topics must not decide what is evaluated on them"
        faults.append(f"eval.select = {rule.select!r}: {why}; give another split to choose on")
    if not 0 <= rule.keep_correct <= 1:
        faults.append(f"eval.keep_correct = {rule.keep_correct:g}: expected a share from 0 to 1")
    if rule.more_empty < 0:
        faults.append(f"eval.more_empty = {rule.more_empty:g}: expected 0 or more percentage points")
    return faults


def named_models(definition: Definition) -> dict[str, str]:
    """Return {where a local model is named: its name under [models]}, for what the definition's backends load."""
    found: dict[str, str] = {}
    for section in ("responses", "answers"):
        sampling: SamplingSettings | None = getattr(definition, section)
        if sampling:
            found[f"{section}.model"] = sampling.model
    if definition.retrieval and definition.retrieval.backend == "gtr":
        found["retrieval.model"] = definition.retrieval.model
    found |= {f"runs.{name}.model": run.model for name, run in definition.runs.items() if run.model}
    verifiers = {"verifier": definition.verifier, **{f"judges.{name}": judge for name, judge in definition.judges.items()}}
    for place, verifier in verifiers.items():
        if verifier and verifier.backend == "local":
            found[f"{place}.model"] = verifier.model
        if verifier and verifier.npm:
            found[f"{place}.npm_model"] = verifier.npm_model
    return found
