"""What a dataset needs that no stage of this project can make: files, models, keys, backends.

Looked at before anything starts, so that a run does not stop in its third hour for want of a key.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from volume.datasets import find_setting
from volume.definition_faults import named_models
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.policy_steps import run_model
from volume.records import Topics, find_fault
from volume.settings import Definition, LlmSettings, Mode
from volume.step import Step
from volume.topics import find_list

API_KEY = "OPENAI_API_KEY"
KEY_FILE = "OPENAI_API_KEY_FILE"
COMPLETIONS_KEY = "COMPLETIONS_API_KEY"  # of the server under [completions], which is not given the other one

# What a stage loads besides.
_SAMPLED = {"entities": ("answers",)}

NEEDS_GPU = 2.0  # GiB of weights from which a model is hopeless on a CPU

# Which sections a stage works with.
_USES = {
    "data": ("responses",), "factscore": ("facts", "retrieval", "verifier"), "questions": ("questions",), "answers": ("answers",),
    "entities": ("entities",), "rewards": ("equivalence",), "train": (), "eval": ("facts", "retrieval", "verifier"), "report": (),
}  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """One thing that is missing: what it is, which stages want it, and how to get it."""

    what: str
    wanted_by: tuple[str, ...]
    remedy: str


class _Missing:
    """Collects requirements; one that several stages want is listed once."""

    def __init__(self) -> None:
        self.found: dict[str, Requirement] = {}

    def need(self, what: str, target: str, remedy: str) -> None:
        before = self.found[what].wanted_by if what in self.found else ()
        self.found[what] = Requirement(what, before if target in before else (*before, target), remedy)


def read_key() -> str | None:
    """Return the service's key, from its environment variable or from the file that ``OPENAI_API_KEY_FILE`` names; None where neither is set.

    Raises:
        UsageError: The file cannot be read or is empty.
    """
    if os.environ.get(API_KEY) or not os.environ.get(KEY_FILE):
        return os.environ.get(API_KEY) or None
    path = Path(os.environ[KEY_FILE])
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{KEY_FILE}={path} cannot be read ({type(error).__name__}); expected a text file that holds the key alone.") from error
    if not key:
        raise UsageError(f"{KEY_FILE}={path} is empty; expected the key.")
    return key


def missing_requirements(definition: Definition, paths: DatasetPaths, data_dir: Path, steps: list[Step], llm_mode: Mode = "record") -> list[Requirement]:
    """Return what the given steps need and the volume or the machine lacks."""
    missing = _Missing()
    for step in steps:
        fault = _fault_of_questions(paths.questions(step.split)) if step.split and definition.world is None and definition.topics is None else None
        if step.id == "topics" and definition.topics:
            _need_list(missing, definition, paths, data_dir, llm_mode)
        if fault is not None and step.split:
            name = paths.questions(step.split).relative_to(data_dir)
            missing.need(f"questions file {name}{fault}", step.target, 'a list of {"topic", "topic_id", "questions"}; see the README, "Your own data"')
        if definition.pretrain is None:
            _need_models(missing, definition, data_dir, step)
        if definition.world is None and definition.knowledge and "facts" in _USES[step.target]:
            path, redirects, size = definition.knowledge.path, definition.knowledge.redirects, definition.knowledge.gib
            if not (data_dir / path).exists():
                missing.need(
                    f"knowledge base {path}" + (f" ({size:g} GiB)" if size else ""), step.target,
                    "`make assets` with the same DATASET (FActScore's Wikipedia of 2023-04-01), or any SQLite file documents(title, text)",
                )  # fmt: skip
            if redirects and not (data_dir / redirects).exists():
                missing.need(f"redirects {redirects}", step.target, 'a JSON file {"other title": "title"}, or take knowledge.redirects out')
        if step.target == "rewards" and definition.rewards.module and not (data_dir / definition.rewards.module).exists():
            missing.need(f"rewards of one's own {definition.rewards.module}", step.target, "a Python file; see the README, \"Your own reward\"")
        if step.target == "questions" and definition.questions and definition.questions.examples and not (data_dir / definition.questions.examples).exists():
            missing.need(f"examples of questions {definition.questions.examples}", step.target, "`make assets CHECKOUT=folder`, a checkout of the public code")
        if step.id.startswith("train-") and definition.dpo and definition.dpo.masked_spans and not (paths.root / definition.dpo.masked_spans).exists():
            name = (paths.root / definition.dpo.masked_spans).relative_to(data_dir)
            missing.need(f"masked spans {name}", step.target, "JSON lines; see docs/training.md, or take dpo.masked_spans out")
        judges = (*(f"judges.{name}" for name in definition.judges), "relevance") if step.target == "eval" else ()
        for section in (*_USES[step.target], *judges):
            _need_backend(missing, definition, section, step.target, llm_mode)
    return list(missing.found.values())


def _fault_of_questions(path: Path) -> str | None:
    """Return what is wrong with a questions file that the user gives, "" where there is none at all; None if nothing is."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except ValueError as error:
        return f" is not valid JSON: {error}"
    fault = find_fault(value, Topics, "$")
    if fault:
        return f": {fault}"
    twice = [topic for topic, times in Counter(entry["topic"] for entry in value).items() if times > 1]
    return f": topic {twice[0]!r} comes twice" if twice else None


def _need_backend(missing: _Missing, definition: Definition, section: str, target: str, llm_mode: Mode) -> None:
    settings = find_setting(definition, section)
    if settings is None or (section == "entities" and not settings.enabled):
        return
    if settings.backend not in ("llm", "openai") or llm_mode == "replay":
        return
    if settings.backend == "openai" and definition.completions is not None:  # it is not given the key
        return
    # A server of one's own seldom wants a key; where it does, it says so at the first call.
    _need_key(missing, definition, target)


def _need_key(missing: _Missing, definition: Definition, target: str) -> None:
    if definition.llm.base_url == LlmSettings.base_url and read_key() is None:
        remedy = f"the key of the service; or {KEY_FILE}, a file that holds it; or llm.base_url of a server of your own; or LLM_MODE=replay"
        missing.need(f"environment variable {API_KEY}", target, remedy)


def _need_list(missing: _Missing, definition: Definition, paths: DatasetPaths, data_dir: Path, llm_mode: Mode) -> None:
    """Ask for the list of topics, for given files without fault, and for the key of the service where it writes the topics' questions."""
    for split in definition.splits:
        given = paths.given / paths.questions(split).name
        fault = _fault_of_questions(given)
        if fault:
            missing.need(f"questions file {given.relative_to(data_dir)}{fault}", "data", 'a list of {"topic", "topic_id", "questions"}')
        if paths.questions(split).exists() and not paths.journal("topics").exists() and not paths.manifest("topics").exists():
            name = paths.questions(split).relative_to(data_dir)
            missing.need(f"another place for {name}, which was not made here", "data", f"move it to {given.relative_to(data_dir)}: it is then taken instead of the list")
    assert definition.topics is not None
    try:
        find_list(definition, data_dir)
    except UsageError as error:
        missing.need(f"list of topics {definition.topics.path}", "data", str(error))
    if definition.topics.questions and llm_mode != "replay":
        _need_key(missing, definition, "data")


def _need_models(missing: _Missing, definition: Definition, data_dir: Path, step: Step) -> None:
    target = step.target
    names = [name for place, name in named_models(definition).items() if _loads(definition, place.partition(".")[0], target)]
    if target in ("train", "eval") and "--run" in step.args:  # it trains, or samples from, the run's model
        names.append(run_model(definition, step.args[step.args.index("--run") + 1]))
    for name in dict.fromkeys(names):
        model = definition.models[name]
        if not (data_dir / model.path / "config.json").exists():
            size = f", {model.gib:g} GiB" if model.gib else ""
            revision = f" at revision {model.revision}" if model.revision else ""
            what = f"model '{name}' in {model.path}" + (f" ({model.source}{revision}{size})" if model.source else "")
            missing.need(what, target, "`make assets` with the same DATASET, or put its Hugging Face folder (config, tokenizer, weights) there")
        if model.gib >= NEEDS_GPU and shutil.which("nvidia-smi") is None:
            missing.need(f"an NVIDIA GPU for models of {model.gib:g} GiB", target, "a host where `nvidia-smi` answers; training needs several times the weights' memory")


def _loads(definition: Definition, section: str, target: str) -> bool:
    """Return whether a stage loads the local models that a section names; those of a sampler on a server it does not."""
    if section in ("responses", "answers") and getattr(definition, section).backend == "openai":
        return False
    return section in (*_USES[target], *_SAMPLED.get(target, ()), *(("judges",) if target == "eval" else ()))


def show_requirements(definition: Definition, missing: list[Requirement], file: TextIO | None = None) -> None:
    """Print what is missing, or that nothing is."""
    file = file or sys.stdout
    if not missing:
        print("Everything that this needs is here.", file=file)
        return
    print(f"Missing for '{definition.name}' ({len(missing)}):", file=file)
    for item in missing:
        print(f"  - {item.what}\n      for: {', '.join(item.wanted_by)}\n      remedy: {item.remedy}", file=file)
