"""What a policy writes while it is trained: its samples, and the divergence from the reference."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import CPU

from dpo.batches import Batching
from dpo.logprobs import Policy, response_logps
from dpo.models import load_model, new_model
from dpo.processes import Processes
from dpo.samples import Watch, watch_figures
from dpo.tokenise import TokenSequence

END = 2
PROMPTS = [np.array([1, 4 + index % 3, 6][: 2 + index % 2], dtype=np.int32) for index in range(300)]


def test_samples_are_drawn_from_the_model_s_own_distribution(start: Path) -> None:
    """The first token of 300 draws after each of three prompts, against the model's probabilities: chi-squared over tokens of 1 % or more."""
    policy = Policy(load_model(start), pack=True).eval()
    for prompt in (PROMPTS[0], PROMPTS[1], PROMPTS[2]):
        drawn = Watch([prompt] * 300, 1, seed=5, end=END).sample(policy, CPU)
        with torch.no_grad(), policy.own_attention() as model:
            expected = 300 * model(torch.tensor(prompt)[None].long()).logits[0, -1].double().softmax(-1).numpy()
        seen = np.bincount([sequence.ids[len(prompt)] for sequence in drawn], minlength=len(expected))
        common = expected >= 3
        statistic = float((((seen - expected) ** 2) / expected)[common].sum())
        freedom = int(common.sum()) - 1
        assert statistic < freedom + 4 * math.sqrt(2 * freedom)  # four standard deviations above its mean
        assert len(set(seen[common])) > 1


def test_a_sample_belongs_to_its_prompt_s_number_not_to_its_company(start: Path) -> None:
    policy = Policy(load_model(start), pack=True).eval()
    watch = Watch(PROMPTS[:70], 12, seed=1, end=END)
    state = torch.get_rng_state()
    together = watch.sample(policy, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    alone = Watch(PROMPTS[:3], 12, seed=1, end=END).sample(policy, CPU)
    assert [sequence.ids.tolist() for sequence in alone] == [sequence.ids.tolist() for sequence in together[:3]]
    other = Watch(PROMPTS[:70], 12, seed=2, end=END).sample(policy, CPU)
    assert [sequence.ids.tolist() for sequence in other] != [sequence.ids.tolist() for sequence in together]
    for prompt, sequence in zip(PROMPTS, together, strict=False):
        assert sequence.ids[: sequence.prompt_length].tolist() == prompt.tolist()
        assert END not in sequence.ids[sequence.prompt_length : -1]
        assert sequence.targets <= 12


def test_the_policy_is_packed_again_after_sampling(start: Path) -> None:
    policy = Policy(load_model(start), pack=True).eval()
    sequences = [TokenSequence(np.array([1, 4, 5, 6, END], dtype=np.int32), 2)]
    before = response_logps(policy, Batching(True, 100), sequences, CPU)
    Watch(PROMPTS[:2], 8, seed=1, end=END).sample(policy, CPU)
    assert torch.equal(response_logps(policy, Batching(True, 100), sequences, CPU), before)


def test_divergence_is_the_mean_difference_in_nats_and_length_counts_no_end() -> None:
    drawn = [TokenSequence(np.array([1, 5, 6, END], dtype=np.int32), 1), TokenSequence(np.array([1, END], dtype=np.int32), 1)]
    figures = watch_figures(drawn, END, torch.tensor([-3.0, -1.0]), torch.tensor([-4.0, -1.5]))
    assert figures == {"kl": 0.75, "sampled_tokens": 1.0, "sampled_empty": 0.5}


def test_the_estimate_of_the_divergence_is_near_what_enumeration_gives(world: Path) -> None:
    """Two models over 27 tokens, responses of one token: KL(reference || policy) summed over all tokens."""
    reference, policy = (Policy(new_model(world / "model_config.json", seed), pack=True).eval() for seed in (1, 2))
    prompt = PROMPTS[0]
    distributions = []
    for each in (reference, policy):
        with torch.no_grad(), each.own_attention() as model:
            distributions.append(model(torch.tensor(prompt)[None].long()).logits[0, -1].double().log_softmax(-1))
    exact = float((distributions[0].exp() * (distributions[0] - distributions[1])).sum())
    watch = Watch([prompt] * 2000, 1, seed=3, end=END)
    drawn = watch.sample(reference, CPU)
    logps = [response_logps(each, Batching(True, 4000), drawn, CPU)[:, 0] for each in (reference, policy)]
    estimate = watch_figures(drawn, END, *logps)["kl"]
    spread = float((logps[0] - logps[1]).std()) / math.sqrt(len(drawn))
    assert exact > 0.1
    assert estimate == pytest.approx(exact, abs=4 * spread)


def test_two_processes_draw_what_one_draws(world: Path, start: Path, tmp_path: Path) -> None:
    from toy import run_workers

    assert run_workers("draw", str(world), str(start), str(tmp_path), processes=2) == [0, 0]
    one = Watch(PROMPTS[:5], 12, seed=1, end=END).sample(Policy(load_model(start), pack=True).eval(), Processes(0, 1, torch.device("cpu")))
    for rank in range(2):
        assert json.loads((tmp_path / f"drawn_{rank}.json").read_text()) == [sequence.ids.tolist() for sequence in one]
