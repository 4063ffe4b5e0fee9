"""Measures a step of Direct Preference Optimization on one GPU with a random model of Llama-2-7B's shape in bfloat16.

    PYTHONPATH=volume/src:dpo/src python3 tests/bench/bench_dpo_gpu.py [--shape 7b|toy] [--steps 6] [--tokens 16384]

In this project's environment: .envs/dpo-paper/bin/python. Elsewhere any Python from 3.11 with PyTorch from 2.8, Transformers 5 and
their needs will do; DeepSpeed is used if it is there. Without a GPU the same code runs on a toy shape, which says nothing about speed.

A batch is 64 pairs in the public code's order, all 45 pairs of a prompt together, prompts of 64 tokens and responses of 192. Three
ways, each in a process of its own, the matrix peak measured just before each: the gradient alone, which fits into 80 GB; RMSprop on
float32 masters in plain PyTorch; and the trainer's own DeepSpeed engine. A way that does not fit into the card's memory is left out.

What counts as work: for every token that is run 6 floating-point operations per weight of the layers' matrices (2 forward, 4
backward), for every target 6 per weight of the output head, and 12 per layer and hidden unit for every query and key that the causal
mask lets meet. A prompt's tokens count once where they are run once. Padding, masked-out pairs, embedding look-ups, norms, softmax, a
forward that is run a second time and the optimizer count nothing: the share of the peak is what the mathematics needs over what the
card can do in the same time. An epoch is 12,960 pairs, by the mean step, with the reference pass over its 2,880 responses.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from dpo_groups import PAIRS, RESPONSES, Shape, make_groups
from torch import Tensor, nn

from dpo.batches import Batching
from dpo.gradient import take_gradient
from dpo.logprobs import Policy, response_logps
from dpo.objectives import Pair, PairData, PreferenceOptimisation
from dpo.processes import Processes, start_processes
from dpo.tokenise import TokenSequence
from volume.training_settings import DpoSettings

SHAPES = {
    "7b": Shape(hidden=4096, layers=32, heads=32, inner=11008, vocabulary=32000, prompt=64, shortest=192, longest=192),
    "toy": Shape(hidden=64, layers=2, heads=2, inner=128, vocabulary=256, prompt=8, shortest=4, longest=12),
}
BATCH, EPOCH = 64, 12960  # pairs; the epoch is that of the paper's 288 prompts
WAYS = {"gradient": "gradient alone", "rmsprop": "RMSprop, float32 masters", "deepspeed": "DeepSpeed, ZeRO 1"}
SETTINGS = DpoSettings(lr=5e-7, batch_size=BATCH, dtype="bfloat16", zero_stage=1)


@dataclass(frozen=True)
class Work:
    """What sequences need: tokens that are run, targets, and (query, key) pairs of causal attention."""

    tokens: int
    targets: int
    attended: int

    @classmethod
    def of(cls, sequences: Sequence[TokenSequence], shared: bool) -> Work:
        """Count the work of distinct sequences; with ``shared`` a prompt is run once, and no response's last token."""
        targets = sum(sequence.targets for sequence in sequences)
        if not shared:
            lengths = [len(sequence.ids) for sequence in sequences]
            return cls(sum(lengths), targets, sum(length * (length + 1) // 2 for length in lengths))
        prompts = {sequence.ids[: sequence.prompt_length].tobytes(): sequence.prompt_length for sequence in sequences}.values()
        tokens, attended = sum(prompts), sum(length * (length + 1) // 2 for length in prompts)
        for sequence in sequences:
            run = sequence.targets - 1
            tokens += run
            attended += run * sequence.prompt_length + run * (run + 1) // 2
        return cls(tokens, targets, attended)

    def operations(self, shape: Shape) -> float:
        """Return floating-point operations of forward and backward."""
        layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.inner
        matrices = self.tokens * shape.layers * layer + self.targets * shape.hidden * shape.vocabulary
        return 6.0 * matrices + 12.0 * self.attended * shape.hidden * shape.layers


class PlainEngine:
    """What `take_gradient` asks of DeepSpeed's engine, without it: gradients in the weights' own type, added up in place."""

    def __init__(self, policy: Policy) -> None:
        self.module = policy

    def __call__(self, *given: Any) -> Any:
        return self.module(*given)

    def set_gradient_accumulation_boundary(self, last: bool) -> None: ...

    def backward(self, loss: Tensor, scale_wrt_gas: bool = False) -> None:
        loss.backward()


class MasterRmsprop:
    """PyTorch's RMSprop on float32 copies of the weights, one tensor at a time so that the gradient is in float32 for one only."""

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float) -> None:
        self.parameters, self.lr = parameters, lr
        self.masters = [parameter.detach().float() for parameter in parameters]
        self.squares = [torch.zeros_like(master) for master in self.masters]

    @torch.no_grad()
    def step(self, max_norm: float, alpha: float = 0.99, epsilon: float = 1e-8) -> None:
        """Clip, update the masters, round them to the weights and drop the gradients."""
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(parameter.grad, dtype=torch.float32) for parameter in self.parameters]))
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for parameter, master, square in zip(self.parameters, self.masters, self.squares, strict=True):
            gradient = parameter.grad.float().mul_(scale)
            square.mul_(alpha).addcmul_(gradient, gradient, value=1.0 - alpha)
            master.addcdiv_(gradient, square.sqrt().add_(epsilon), value=-self.lr)
            parameter.copy_(master)
            parameter.grad = None


def matrix_peak(device: torch.device, size: int) -> float:
    """Return operations per second of a bfloat16 matrix product of random numbers: the median of twenty."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(25):
        begin = now(device)
        left @ right
        times.append(now(device) - begin)
    return 2.0 * size**3 / statistics.median(times[5:])


def now(device: torch.device) -> float:
    """Return seconds, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def new_policy(shape: Shape, device: torch.device) -> Policy:
    """Return a random policy in bfloat16, made on the device."""
    import transformers

    torch.manual_seed(0)
    with device:
        model = transformers.AutoModelForCausalLM.from_config(shape.config(), dtype=torch.bfloat16, attn_implementation="sdpa")
    policy = Policy(model.train(), pack=SETTINGS.share_prompts)
    policy.to(device)
    return policy


def measure(way: str, shape: Shape, steps: int, tokens: int = SETTINGS.tokens_at_once) -> dict[str, float]:
    """Take two steps to warm up and then ``steps``, with at most ``tokens`` in a forward; return figures."""
    processes = start_processes()
    device = processes.device
    peak = matrix_peak(device, 8192 if device.type == "cuda" else 512)
    groups = make_groups(shape, -(-BATCH * (steps + 2) // PAIRS))
    policy = new_policy(shape, device)
    batching = Batching(policy.packed, tokens)
    response_logps(policy, batching, groups.sequences[: 2 * RESPONSES], processes)  # warm
    begin = now(device)
    reference = response_logps(policy, batching, groups.sequences, processes)
    found = {"reference": (now(device) - begin) / len(groups.sequences), "peak": peak, "packed": float(policy.packed)}
    plan = groups.plan(BATCH, steps + 2)
    objective = PreferenceOptimisation(PairData(groups.sequences, reference), [[Pair(*pair) for pair in pairs] for pairs in plan], SETTINGS)
    take = stepper(way, policy, batching, objective, processes)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times, losses = [], []
    for step in range(steps + 2):
        begin = now(device)
        losses.append(take(step))
        times.append(now(device) - begin)
    work = [Work.of(objective.share(step, processes).sequences, policy.packed) for step in range(2, steps + 2)]
    found |= {"step": statistics.mean(times[2:]), "spread": max(times[2:]) / min(times[2:]) - 1.0, "loss": losses[0]}
    found["tokens"] = statistics.mean(one.tokens for one in work)
    found["operations"] = statistics.mean(one.operations(shape) for one in work)
    found["memory"] = float(torch.cuda.max_memory_allocated()) if device.type == "cuda" else 0.0
    return found


def stepper(
    way: str, policy: Policy, batching: Batching, objective: PreferenceOptimisation, processes: Processes
) -> Callable[[int], float]:
    """Return what takes one step and returns its loss."""
    if way == "deepspeed":
        from dpo.deepspeed_engine import open_engine
        from dpo.deepspeed_engine import step as step_engine

        opened = open_engine(policy, SETTINGS, processes)

        def deepspeed_step(step: int) -> float:
            loss = take_gradient(opened, batching, objective.share(step, processes), processes).loss
            step_engine(opened, SETTINGS.max_grad_norm)
            return float(loss.detach())

        return deepspeed_step
    engine = PlainEngine(policy)
    parameters = list(policy.parameters())
    optimizer = MasterRmsprop(parameters, SETTINGS.lr) if way == "rmsprop" else None

    def plain_step(step: int) -> float:
        loss = take_gradient(engine, batching, objective.share(step, processes), processes).loss
        if optimizer:
            optimizer.step(SETTINGS.max_grad_norm)
        else:
            for parameter in parameters:
                parameter.grad = None
        return float(loss.detach())

    return plain_step


def run_child(way: str, shape: str, steps: int, tokens: int) -> dict[str, float] | str:
    """Measure in a process of its own; return figures, or why there are none."""
    if way == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        return "DeepSpeed is not installed"
    command = [sys.executable, __file__, "--way", way, "--shape", shape, "--steps", str(steps), "--tokens", str(tokens)]
    variables = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", **os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found
    if "OutOfMemoryError" in done.stderr:
        return f"does not fit into this card's {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
    raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")


def line(way: str, found: dict[str, float]) -> str:
    """Return a way's line of the table."""
    share = found["operations"] / found["step"] / found["peak"]
    reference = found["reference"] * EPOCH / PAIRS * RESPONSES
    text = f"{WAYS[way]:26s}{BATCH / found['step']:9.1f}{found['step'] * 1000:10.0f}{found['spread']:9.1%}{found['memory'] / 2**30:11.1f}{share:12.1%}"
    return text + f"{reference:13.1f}{found['step'] * EPOCH / BATCH + reference:11.1f}{found['loss']:12.6f}"


def main() -> None:
    """Measure each way in a process of its own, so that its memory is its own, and print the table."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="7b" if gpu else "toy")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of 64 pairs")
    told = "of one forward: with fewer than a batch has it takes less memory, and one more forward"
    parser.add_argument("--tokens", type=int, default=SETTINGS.tokens_at_once, help=told)
    parser.add_argument("--quick", action="store_true", help="two timed steps")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    steps = 2 if given.quick else given.steps
    if given.way:
        print(json.dumps(measure(given.way, SHAPES[given.shape], steps, given.tokens)))
        return
    where = torch.cuda.get_device_name() if gpu else "no GPU: the same code on this processor, whose speed says nothing"
    print(f"{where}; torch {torch.__version__}; shape '{given.shape}', batches of {BATCH} pairs, {steps} timed steps")
    heading = f"{'':26s}{'pairs/s':>9s}{'ms/step':>10s}{'spread':>9s}{'peak GiB':>11s}{'of matrix':>12s}"
    heading += f"{'reference s':>13s}{'epoch s':>11s}{'first loss':>12s}"
    headed = False
    for way in WAYS:
        found = run_child(way, given.shape, steps, given.tokens)
        if isinstance(found, str):
            print(f"{WAYS[way]}: left out, {found}", flush=True)
            continue
        if not headed:
            prompts = "run once" if found["packed"] else "run with every response"
            print(f"{found['tokens']:.0f} tokens and {found['operations'] / 1e12:.3g} TFLOP a step, prompts {prompts}; ", end="")
            print(f"matrix peak {found['peak'] / 1e12:.3g} TFLOP/s")
            print(heading)
            headed = True
        print(line(way, found), flush=True)


if __name__ == "__main__":
    main()
