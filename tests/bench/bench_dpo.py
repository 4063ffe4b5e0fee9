"""Compares a step of Direct Preference Optimization with TRL's DPOTrainer and with the plain pairwise loop, side by side in one run.

    OMP_NUM_THREADS=1 PYTHONPATH=volume/src:dpo/src .envs/dpo-paper/bin/python tests/bench/bench_dpo.py [--quick]

The model is a random Llama of 25 million parameters in float32 on one thread: prompts of 64 tokens with 10 responses of 48 to 128
each, all 45 pairs of a prompt one after the other, as the public code visits them. Every way takes the same pairs in the same steps
with RMSprop, and the gradient of its first step is compared with the plain loop's. A step runs from one optimizer step to the next;
the first is a warm-up. "With reference" adds what the reference costs in an epoch: nothing more for the ways that run it inside
every step, a pass before training for those that keep its log-probabilities (over all pairs for TRL, over the responses here).
Memory is the peak beyond the loaded policy: reference model, gradient, optimizer and all that a step holds; the plain loop needs
8 GB at 64 pairs. Rates are per second of the processor's time. Ratios are to the better of TRL's two ways, column by column.
TRL is installed on the first run (trl.txt); without a network it is left out. The whole takes eight minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import trl_dpo
from dpo_groups import PAIRS, Groups, Shape, make_groups, write_model
from step_meter import Meter

FULL = Shape(hidden=640, layers=4, heads=10, inner=1728, vocabulary=4096, prompt=64, shortest=48, longest=128)
QUICK = replace(FULL, hidden=256, layers=2, heads=4, inner=688, vocabulary=2048, prompt=32, shortest=24, longest=64)
STEPS = {4: 9, 16: 4, 64: 2}  # of each batch size, the warm-up included
WAYS = {"plain": "plain pairwise loop", "trl": "TRL, reference in the step", "trl-cached": "TRL, reference before", "ours": "this trainer"}
LR, CLIP = 5e-7, 1e6  # so wide that it changes no gradient before it is compared; the norm is computed all the same


def plain(folder: Path, groups: Groups, plan: list[list[tuple[int, int]]], meter: Meter) -> None:
    """Train by the plain pairwise loop."""
    import torch
    from plain_dpo import pairwise_loss

    from dpo.models import load_model

    policy = load_model(folder)
    meter.loaded(policy)
    reference = load_model(folder).eval()
    optimizer = torch.optim.RMSprop(policy.parameters(), lr=LR)
    meter.reference()
    for pairs in plan:
        pairwise_loss(policy, reference, groups.sequences, pairs).backward()
        meter.gradient(policy)
        torch.nn.utils.clip_grad_norm_(policy.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        meter.step()


def ours(folder: Path, groups: Groups, plan: list[list[tuple[int, int]]], meter: Meter) -> None:
    """Train as the stage does: reference log-probabilities first, then the trainer's steps on its engine."""
    from dpo.batches import Batching
    from dpo.deepspeed_engine import open_engine
    from dpo.deepspeed_engine import step as step_engine
    from dpo.gradient import take_gradient
    from dpo.logprobs import Policy, response_logps
    from dpo.models import load_model
    from dpo.objectives import Pair, PairData, PreferenceOptimisation
    from dpo.processes import start_processes
    from volume.training_settings import DpoSettings

    processes = start_processes()
    import deepspeed  # noqa: F401  before memory counts, as TRL has it imported by then

    settings = DpoSettings(lr=LR, batch_size=len(plan[0]), max_grad_norm=CLIP)
    policy = Policy(load_model(folder), pack=settings.share_prompts)
    meter.loaded(policy.model)
    batching = Batching(policy.packed, settings.tokens_at_once)
    reference = response_logps(policy, batching, groups.sequences, processes)
    meter.reference()
    objective = PreferenceOptimisation(PairData(groups.sequences, reference), [[Pair(*pair) for pair in pairs] for pairs in plan], settings)
    engine = open_engine(policy, settings, processes)
    for step in range(objective.steps):
        take_gradient(engine, batching, objective.share(step, processes), processes)
        meter.gradient(policy.model)
        step_engine(engine, CLIP)
        meter.step()


def measure(way: str, folder: Path, shape: Shape, batch: int) -> dict[str, float]:
    """Train by one way; return the meter's figures and the number of pairs that its reference pass serves."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    steps = STEPS[batch]
    groups = make_groups(shape, -(-batch * steps // PAIRS))
    plan = groups.plan(batch, steps)
    meter = Meter(folder / f"gradient_{way}_{batch}")
    if way == "plain":
        plain(folder, groups, plan, meter)
    elif way == "ours":
        ours(folder, groups, plan, meter)
    else:
        trl_dpo.train(folder, groups, plan, way == "trl-cached", LR, CLIP, folder / f"{way}_{batch}", meter)
    return meter.figures() | {"reference_pairs": {"trl-cached": batch * steps, "ours": len(groups.pairs)}.get(way, 0)}


def run_child(way: str, folder: Path, quick: bool, batch: int, site: Path | None) -> dict[str, float]:
    """Measure in a process of its own, the only one that sees TRL."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables |= {
        "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore", "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }  # fmt: skip
    if site:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), str(site)]))
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--batch", str(batch), *(["--quick"] if quick else [])]
    done = subprocess.run(command, env=variables, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way} failed at {batch} pairs a step:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def distance(folder: Path, way: str, batch: int) -> float:
    """Return how far a way's first gradient is from the plain loop's, relative to its norm."""
    one, other = (np.memmap(folder / f"gradient_{name}_{batch}", dtype=np.float32, mode="r").astype(np.float64) for name in (way, "plain"))
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def table(batch: int, found: dict[str, dict[str, float]], off: dict[str, float]) -> list[str]:
    """Return the lines of one batch size. TRL is the faster of its two ways, in each column."""
    steps = {way: batch / one["step"] for way, one in found.items()}
    extra = {way: one["reference"] / one["reference_pairs"] if one["reference_pairs"] else 0.0 for way, one in found.items()}
    whole = {way: 1 / (1 / steps[way] + extra[way]) for way in found}
    trl = [way for way in found if way.startswith("trl")]
    lines = []
    for way, one in found.items():
        line = f"{batch:4d}  {WAYS[way]:28s}{steps[way]:9.2f}{whole[way]:16.2f}{one['memory'] / 2**20:11.0f}{off[way]:13.1e}"
        if way == "ours":
            for name, others in (("TRL's", trl), ("the plain loop's", ["plain"])):
                if others:
                    faster, whole_faster = (rates[way] / max(rates[other] for other in others) for rates in (steps, whole))
                    memory = one["memory"] / min(found[other]["memory"] for other in others)
                    line += f"\n      {f'  of {name}':28s}{faster:8.1f}x{whole_faster:15.1f}x{memory:10.2f}x"
        lines.append(line)
    return lines


def main() -> None:
    """Measure each way in a process of its own, so that its peak of memory is its own too, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model and 64 pairs a step only: under a minute")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = QUICK if given.quick else FULL
    if given.way:
        print(json.dumps(measure(given.way, given.folder, shape, given.batch)))
        return
    site, trouble = trl_dpo.install(print)
    if trouble:
        print(f"TRL left out: {trouble}")
    ways = [way for way in WAYS if site or not way.startswith("trl")]
    os.environ["DS_ACCELERATOR"] = "cpu"  # else it looks for others, and says so
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, shape)
        print(f"{'':34s}{'pairs/s':>9s}{'with reference':>16s}{'peak MiB':>11s}{'gradient off':>13s}")
        for batch in [64] if given.quick else STEPS:
            found = {way: run_child(way, folder, given.quick, batch, site if way.startswith("trl") else None) for way in ways}
            print("\n".join(table(batch, found, {way: distance(folder, way, batch) for way in ways})), flush=True)


if __name__ == "__main__":
    main()
