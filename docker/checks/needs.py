"""What a dataset asks of the host: a card or none, memory for its models, room on the volume, files, keys and servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checks.basics import Finding
from checks.cards import Card
from checks.places import judge_server
from volume.definition_faults import named_models
from volume.paths import DatasetPaths
from volume.requirements import NEEDS_GPU, Requirement
from volume.settings import Definition, ModelSettings
from volume.training_settings import OptimSettings

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_STATE = {"rmsprop": 4, "adamw": 8}  # bytes per weight: one or two running means, float32
_PROCESS_GIB = 1.0  # a stage of a small model: PyTorch, Transformers and DeepSpeed take 0.3 to 0.5 GiB imported (2026-11-28)
_WORLD_GIB = 1.0  # the volume of a generated world at SCALE=1, generously


@dataclass(frozen=True)
class Load:
    """Models that one stage holds at the same time. Attributes: what, in words; gib, their weights; spread, whether they may share out cards."""

    what: str
    gib: float
    spread: bool = False


def runs_on_cpu(definition: Definition) -> bool:
    """Return whether a dataset uses no card even where there is one."""
    return definition.device != "auto"


def needs_card(definition: Definition) -> bool:
    """Return whether a dataset is hopeless without a card."""
    return not runs_on_cpu(definition) and any(definition.models[name].gib >= NEEDS_GPU for name in named_models(definition).values())


def heaviest_load(definition: Definition) -> Load | None:
    """Return the models that the stage which loads most of them holds at once; None where no size is known.

    A sampler loads one model, a scoring stage its retriever's and its verifier's, a judge its own; those of a server are not here.
    """
    stages: dict[str, set[str]] = {}
    for place, name in named_models(definition).items():
        section = place.partition(".")[0]
        if section in ("responses", "answers") and getattr(definition, section).backend == "openai":
            continue
        stage = {"retrieval": "factscore", "verifier": "factscore", "judges": place.rpartition(".")[0], "runs": place.rpartition(".")[0]}.get(section, section)
        stages.setdefault(stage, set()).add(name)
    loads = [
        Load(
            f"{stage} ({' + '.join(sorted(names))})", sum(definition.models[name].gib for name in names),
            all(definition.models[name].device_map != "" for name in names if definition.models[name].gib),
        )
        for stage, names in stages.items()
    ]  # fmt: skip
    return max((load for load in loads if load.gib), key=lambda load: load.gib, default=None)


def count_parameters(model: ModelSettings) -> float:
    """Return how many weights a model has, from the size of its files."""
    return model.gib * 2**30 / _BYTES.get(model.dtype, 2)


def training_gib(parameters: float, settings: OptimSettings, processes: int) -> tuple[float, float]:
    """Return what training holds before activations: GiB on each card, and GiB in the host's memory.

    ZeRO shares out optimizer state and masters (1), gradients (2) and weights (3); docs/training.md has the same figures as a table.
    """
    weight, master = _BYTES[settings.dtype], 4 if settings.zero_stage else 0
    if settings.lora_rank:  # its trained part is some thousandths of the model
        return parameters * weight * (1 / processes if settings.zero_stage == 3 else 1) / 2**30, 0.0
    shared = [(weight, 3), (4, 2), (master + _STATE[settings.optimizer], 1)]  # bytes per weight, the ZeRO stage from which they are shared out
    offloaded = {"none": (), "optimizer": shared[1:], "parameters": shared}[settings.offload]
    on_card = sum(size / (processes if settings.zero_stage >= stage else 1) for size, stage in shared if (size, stage) not in offloaded)
    return parameters * on_card / 2**30, parameters * sum(size for size, _ in offloaded) / 2**30


def judge_memory(definition: Definition, cards: Sequence[Card], processes: int, jobs: int, total: float, free: float) -> list[Finding]:
    """Return what is to be said of memory.

    Args:
        cards: Those that a run would use; none: it runs on the CPU.
        processes: Of a step with a model.
        jobs: Steps side by side.
        total, free: GiB of the host's memory.
    """
    load = heaviest_load(definition)
    ours = f"{total:.1f} GiB, {free:.1f} free"
    if load is None:
        need = _PROCESS_GIB * jobs * processes
        if total < need:
            fewer = max(1, int(total / _PROCESS_GIB / processes))
            return [Finding("memory", "warning", f"{ours}; {jobs * processes} processes may take {need:g} GiB", f"run fewer steps side by side: JOBS={fewer}")]
        return [Finding("memory", "ok", f"{ours}; {jobs * processes} processes side by side take up to {need:g} GiB")]
    found = []
    together = load.gib * processes
    what = f"{ours}; weights of {load.what}: {load.gib:.3g} GiB" + (f", {together:.3g} in {processes} processes" if processes > 1 else "")
    if total < load.gib:
        found.append(Finding("memory", "missing", what, "a host with more memory: weights pass through it on their way to a card"))
    elif total < together:
        found.append(Finding("memory", "warning", what, f"start fewer processes (GPUS={int(total / load.gib)}): each loads the weights"))
    else:
        found.append(Finding("memory", "ok", what))
    if not cards or runs_on_cpu(definition):
        return found
    return [*found, *_judge_cards(definition, load, cards[:processes], processes, total)]


def _judge_cards(definition: Definition, load: Load, cards: Sequence[Card], processes: int, memory: float) -> list[Finding]:
    """Return what is to be said of the cards' memory: for weights alone, and for training."""
    known = [card for card in cards if card.total is not None and not card.mig]
    if not known:
        return [Finding("memory", "warning", f"nvidia-smi does not tell the memory of {cards[0].name}", f"weights of {load.what} take {load.gib:.3g} GiB")]
    smallest = min(known, key=lambda card: card.total or 0)
    size, free = (smallest.total or 0) / 1024, (smallest.free if smallest.free is not None else smallest.total or 0) / 1024
    what = f"{smallest.name}: {size:.1f} GiB, {free:.1f} free; weights of {load.what}: {load.gib:.3g} GiB"
    found = []
    if load.gib > size and not load.spread:
        found.append(Finding("memory", "missing", what, "a card with more memory, or device_map = \"auto\" under [models] with several cards"))
    elif load.gib > free and not load.spread:
        found.append(Finding("memory", "warning", what, "something else uses the card: `nvidia-smi` shows what"))
    else:
        found.append(Finding("memory", "ok", what))
    trained = definition.models[definition.responses.model] if definition.responses else None
    parts = [(name, settings) for name, settings in (("sft", definition.sft), ("dpo", definition.dpo)) if settings is not None]
    if trained is None or not trained.gib or not parts:
        return found
    needs = {name: training_gib(count_parameters(trained), settings, processes) for name, settings in parts}
    name = max(needs, key=lambda part: needs[part][0])
    on_card, on_host = needs[name][0], max(host for _, host in needs.values())
    besides = f" and {on_host:.1f} GiB on the host" if on_host else ""
    what = f"training [{name}] holds {on_card:.1f} GiB on each of {processes} card(s) of {size:.1f} GiB{besides}"
    if on_card > size or on_host > memory:
        remedy = f"more cards (GPUS={2 * processes}), or offload or lora_rank in [sft] and [dpo]: docs/training.md, \"Memory\""
        return [*found, Finding("memory", "warning", f"{what}, before activations", remedy)]
    return [*found, Finding("memory", "ok", f"{what}, before activations")]


def volume_gib(definition: Definition, data_dir: Path) -> float:
    """Return the GiB that a dataset will still take on the volume, about: what has to be put there, policies, and two checkpoints of one."""
    if definition.world is not None:
        return _WORLD_GIB * max(1.0, definition.world.scale) ** 2
    names = set(named_models(definition).values())
    put = sum(definition.models[name].gib for name in names if not (data_dir / definition.models[name].path / "config.json").exists())
    if definition.knowledge and not (data_dir / definition.knowledge.path).exists():
        put += definition.knowledge.gib
    trained = definition.models[definition.responses.model] if definition.responses else None
    if trained is None or definition.sft is None:
        return put
    part = definition.dpo or definition.sft
    weight = _BYTES[part.dtype]
    checkpoint = weight + (0 if part.lora_rank else _STATE[part.optimizer] + (4 if part.zero_stage else 0))
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    policies = sum(run.kind != "base" and not paths.export(name).is_dir() for name, run in definition.runs.items())
    return put + count_parameters(trained) * ((2 * checkpoint if policies else 0) + policies * weight) / 2**30


def judge_requirements(missing: Sequence[Requirement]) -> list[Finding]:
    """Return what a dataset lacks, as `make plan` lists it."""
    if not missing:
        return [Finding("dataset", "ok", "all files, models and keys that it needs are here")]
    return [Finding("dataset", "missing", f"{item.what}, for {', '.join(item.wanted_by)}", item.remedy) for item in missing]


def judge_servers(definition: Definition, asks: bool) -> list[Finding]:
    """Return whether servers of one's own answer that the definition names, where it asks any."""
    found = judge_server("llm", definition.llm.base_url) if asks else []
    if asks and definition.completions is not None:
        found += judge_server("completions", definition.completions.base_url)
    return found
