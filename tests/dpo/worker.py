"""Trains a policy of the toy world; the tests run it in processes of its own, to kill it and to launch several.

    worker.py {pretrain|style|sft|dpo|draw} WORLD START OUT [name=value ...]

``kill_at=N`` ends the process with SIGKILL after N steps, ``stop_at=N`` asks it to stop there, ``code=NAME`` is the version of
the code; other names are fields of the settings.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import transformers.models.llama.modeling_llama  # noqa: F401  imported once, by the server that the processes are forked from

from dpo import deepspeed_engine
from dpo.logprobs import Policy
from dpo.models import load_model
from dpo.processes import start_processes
from dpo.samples import Watch
from dpo.tuning import Place, pretrain, tune_on_preferences, tune_on_responses, tune_on_style
from volume.training_settings import DpoSettings, OptimSettings, PretrainSettings

if __name__ == "worker":
    deepspeed_engine._import_deepspeed()
    import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401  ZeRO asks for it, and it takes seconds

COMMON = {
    "lr": 1e-2, "optimizer": "adamw", "warmup_steps": 0, "max_length": 40, "max_prompt_length": 12, "batch_size": 5, "max_grad_norm": 1.0,
    "log_every": 3, "checkpoint_every": 4,
}  # fmt: skip


def train(arguments: list[str]) -> list[Path]:
    """Run one training with the toy settings."""
    kind, world, start, out = arguments[0], *map(Path, arguments[1:4])
    values = {name: _value(text) for name, _, text in (argument.partition("=") for argument in arguments[4:])}
    kill_at, stop_at, code, steps = values.pop("kill_at", 0), values.pop("stop_at", 0), str(values.pop("code", "")), 0

    def after_step() -> bool:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return steps == stop_at

    place = Place(
        start, out / "log", out / "export", seed=3, candidates=out / "candidates", references=out / "references", new_tokens=20, code=code,
        log=lambda line: print(line, file=sys.stderr, flush=True), should_stop=after_step,
    )  # fmt: skip
    if kind == "draw":
        return draw(start, out)
    rewards, held_out = world / "rewards_train_6.json", world / "rewards_dpoval_6.json"
    if kind == "pretrain":
        settings = {**COMMON, "tokens_per_step": 120, "steps": 12, "schedule": "cosine", "weight_decay": 0.1, **values}
        return pretrain(place, PretrainSettings(**settings), world / "corpus.jsonl", world / "model_config.json")
    if kind == "style":
        return tune_on_style(place, OptimSettings(**{**COMMON, **values}), world / "style.jsonl")
    if kind == "sft":
        return tune_on_responses(place, OptimSettings(**{**COMMON, **values}), rewards)
    settings = {**COMMON, "epochs": 2, "eval_every": 5, "eval_samples": 4, **values}
    return tune_on_preferences(place, DpoSettings(**settings), "factscore_avg", rewards, held_out)


def draw(start: Path, out: Path) -> list[Path]:
    """Write what this process has of the samples of all."""
    from test_samples import END, PROMPTS

    processes = start_processes()
    drawn = Watch(PROMPTS[:5], 12, seed=1, end=END).sample(Policy(load_model(start), pack=True).eval(), processes)
    path = out / f"drawn_{processes.rank}.json"
    path.write_text(json.dumps([sequence.ids.tolist() for sequence in drawn]))
    return [path]


def launch(arguments: list[str], rank: int, processes: int, port: int) -> None:
    """Run as one of several processes, with the variables that `torchrun` sets."""
    if processes > 1:
        os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{processes}", "LOCAL_WORLD_SIZE": f"{processes}",
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}  # fmt: skip
    train(arguments)


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    train(sys.argv[1:])
