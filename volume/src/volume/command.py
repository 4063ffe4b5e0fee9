"""The command line by which the host runs a stage inside its environment."""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path

from volume.files import write_bytes
from volume.settings import Definition
from volume.step import Step
from volume.steps import asks_service

# Stages over topics that may run a local model: their topics are shared out among processes, one for each GPU.
_SHARED = ("confscoring.responses", "confscoring.answers", "confscoring.entities", "factscoring.factscore", "factscoring.rejudge")

# Training: all processes work on each of its steps. Not dpo.pretrain: its model is tiny, and from one process it has the same
# bytes whatever GPUS is, and so has all that is sampled from it.
_TOGETHER = ("dpo.train",)

# torchrun on this host alone. `--standalone` would take port 29400 in PyTorch 1.13 and 2.0, where two launches at once then meet;
# port 0 is a free one. They also look only every 5 s whether their processes have ended.
_TORCHRUN = ("--nnodes", "1", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "--monitor_interval", "0.5")

# PyTorch 1.13 on Python 3.11 cannot read its own default, no redirection (an enum's iteration skips 0 since then), and ends with
# an AttributeError. A mapping for one process is read well; it takes the last index it may name, since few hosts have ten cards.
# Later ones read it, too (2.8 in dpo, and in all environments of the current stack).
_REDIRECTS = ("--redirects", "9:1", "--tee", "9:1")


def stage_command(step: Step, definition: Definition, given: argparse.Namespace, module: str = "") -> list[str]:
    """Return the command of a step; ``@data`` stands for the volume.

    Args:
        given: The pipeline's own command line.
        module: Another module that takes the stage's arguments, e.g. its estimate; it runs in one process.
    """
    processes = 1 if module else count_processes(step, definition, given.gpus)
    launcher = ["python"]
    if processes > 1:
        torchrun = "dpo.torchrun" if step.module in _TOGETHER else "torch.distributed.run"
        launcher += ["-m", torchrun, *_TORCHRUN, "--rdzv_id", uuid.uuid4().hex, *_REDIRECTS, "--nproc_per_node", str(processes)]
    # What follows "--" is the stage's: newer versions of torchrun would take --run for an abbreviation of their own --run-path.
    command = [*launcher, "-m", *(["--"] if processes > 1 else []), module or step.module, "--dataset", dataset_argument(given), "--data-dir", "@data", *step.args]
    flags = ["seed", "scale", "limit", *(("llm_mode", "max_cost") if asks_service(step, definition) else ())]
    for flag in flags:
        if getattr(given, flag) is not None:
            command += [f"--{flag.replace('_', '-')}", f"{getattr(given, flag)}"]
    return command


def count_processes(step: Step, definition: Definition, gpus: int) -> int:
    """Return how many processes a step is run in: one for each GPU, or one alone where they would only queue for a service."""
    if step.module in _TOGETHER:
        return gpus
    if step.module not in _SHARED:
        return 1
    return gpus if not asks_service(step, definition) or _runs_model(step, definition) else 1


def _runs_model(step: Step, definition: Definition) -> bool:
    """Return whether a step that asks a service runs a local model besides."""
    if step.module == "confscoring.entities":
        return definition.answers is not None and definition.answers.backend == "transformers"
    if not step.module.startswith("factscoring."):
        return False
    verifier = definition.judges[step.args[-1]] if step.module == "factscoring.rejudge" else definition.verifier
    dense = definition.retrieval is not None and definition.retrieval.backend == "gtr"
    return dense or (verifier is not None and (verifier.backend == "local" or verifier.npm))


def place_definition(dataset: str, data_dir: Path, definition: Definition) -> None:
    """Copy a user's own definition to the volume, where a container can read it; and its list of topics, where that lies beside it."""
    if not _is_own(dataset):
        return
    source = Path(dataset)
    listed = source.with_name(definition.topics.path) if definition.topics and source.suffix == ".toml" else source
    for path in dict.fromkeys((source, *((listed,) if listed.is_file() else ()))):
        target = data_dir / "definitions" / path.name
        if path.resolve() != target.resolve() and not (target.exists() and target.read_bytes() == path.read_bytes()):
            write_bytes(target, path.read_bytes())


def dataset_argument(given: argparse.Namespace) -> str:
    """Return the dataset as a stage's command line names it: a user's own definition as it lies on the volume."""
    return f"@data/definitions/{Path(given.dataset).name}" if _is_own(given.dataset) else str(given.dataset)


def _is_own(dataset: str) -> bool:
    return dataset.endswith((".toml", ".csv"))
