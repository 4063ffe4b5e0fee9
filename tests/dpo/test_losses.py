"""Losses, by hand and against figures of the public code's own functions."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo.losses import preference_loss, sequence_logps, sft_loss
from dpo.preferences import build_pairs, read_prompts, split_batches, visit_pairs, visit_responses
from dpo.schedule import lr_scale


@pytest.fixture(scope="module")
def upstream() -> dict[str, Any]:
    path = os.environ.get("UPSTREAM_GOLDEN") or Path(__file__).parents[1] / "fixtures" / "upstream.json"
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return content


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_upstream_preference_losses_and_rewards_agree(upstream: dict[str, Any]) -> None:
    for case in upstream["preference_loss"]:
        result = preference_loss(
            *(tensor(*case[f"{name}_logps"]) for name in ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")),
            beta=case["beta"], label_smoothing=case["label_smoothing"], loss="ipo" if case["ipo"] else "dpo", reference_free=case["reference_free"],
        )  # fmt: skip
        for ours, theirs in ((result.losses, "losses"), (result.chosen_rewards, "chosen_rewards"), (result.rejected_rewards, "rejected_rewards")):
            torch.testing.assert_close(ours, tensor(*case[theirs]), rtol=1e-12, atol=1e-12)


def test_upstream_sequence_log_probabilities_agree(upstream: dict[str, Any]) -> None:
    case = upstream["sequence_logps"]
    logits, labels = torch.tensor(case["logits"], dtype=torch.float64), torch.tensor(case["labels"])
    torch.testing.assert_close(sequence_logps(logits, labels), tensor(*case["sum"]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sequence_logps(logits, labels, average=True), tensor(*case["mean"]), rtol=1e-12, atol=1e-12)


def test_upstream_warm_up_agrees(upstream: dict[str, Any]) -> None:
    for case in upstream["lr_warmup150"]:
        assert lr_scale(case["step"], 2000, warmup=150) == pytest.approx(case["scale"], rel=1e-15)


@pytest.mark.parametrize(
    ("name", "key", "threshold", "epochs", "size"),
    [
        ("grouped_factscore_avg_epochs2_batch4", "factscore_avg", 0.0, 2, 4),
        ("grouped_aq_max_conf_avg_thresh0.1_epochs1_batch3", "aq_max_conf_avg", 0.1, 1, 3),
        ("chat_factscore_avg_epochs1_batch4", "factscore_avg", 0.0, 1, 4),
    ],
)
def test_upstream_pair_orders_agree(upstream: dict[str, Any], name: str, key: str, threshold: float, epochs: int, size: int) -> None:
    prompts, _ = build_pairs(upstream["rewards_file"], key, threshold)
    batches = split_batches(visit_pairs(prompts, "grouped", epochs, seed=0), size, drop_last=True)
    ours = [[(f" {prompts[p].responses[w]}", f" {prompts[p].responses[r]}") for p, w, r in batch] for batch in batches]
    assert ours == [[(pair["chosen"], pair["rejected"]) for pair in batch] for batch in upstream["orders"][name]]
    if not name.startswith("chat"):  # chat prompts wrap the question
        assert [[prompts[p].text for p, _, _ in batch] for batch in batches] == [[pair["prompt"] for pair in batch] for batch in upstream["orders"][name]]


def test_upstream_supervised_order_agrees(upstream: dict[str, Any]) -> None:
    prompts = read_prompts(upstream["rewards_file"])
    batches = split_batches(visit_responses(prompts, 2, seed=0), 4, drop_last=True)
    ours = [[{"prompt": prompts[p].text, "target": f" {prompts[p].responses[r]}"} for p, r in batch] for batch in batches]
    assert ours == upstream["orders"]["sft_epochs2_batch4"]


def test_upstream_pair_counts_agree(upstream: dict[str, Any]) -> None:
    for key, count in upstream["pair_counts"].items():
        assert build_pairs(upstream["rewards_file"], key)[1].pairs == count


def test_dpo_loss_of_one_pair_worked_by_hand() -> None:
    # Log-ratios: chosen -3 + 4 = 1, rejected -5 + 3 = -2; beta * gap = 0.5 * 3 = 1.5; -log sigmoid(1.5) = log(1 + e^-1.5).
    result = preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5)
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == (0.5, -1.0)


def test_conservative_dpo_mixes_both_directions() -> None:
    result = preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, label_smoothing=0.2)
    assert result.losses.item() == pytest.approx(0.8 * math.log1p(math.exp(-1.5)) + 0.2 * math.log1p(math.exp(1.5)))


def test_ipo_is_the_squared_distance_to_half_over_beta() -> None:
    # gap 3, target 1 / (2 * 0.25) = 2
    assert preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.25, loss="ipo").losses.item() == pytest.approx(1.0)


def test_reference_free_drops_the_reference_from_the_loss_but_not_from_the_rewards() -> None:
    result = preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, reference_free=True)
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-1.0)))
    assert result.chosen_rewards.item() == 0.5


def test_equal_policies_lose_ln_2() -> None:
    assert preference_loss(tensor(-3), tensor(-5), tensor(-3), tensor(-5), beta=0.7).losses.item() == pytest.approx(math.log(2), abs=1e-16)


def test_a_reward_gap_asks_for_a_margin() -> None:
    # beta * h = 1.5 as above; a gap of 0.4 at weight 2 asks for 0.8 of it: -log sigmoid(0.7).
    result = preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, gap_weight=2.0, reward_gaps=tensor(0.4))
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-0.7)))
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == (0.5, -1.0)  # a margin is no reward


def test_a_longer_chosen_response_needs_to_win_by_less_and_a_shorter_one_by_more() -> None:
    # beta * h = 1.5; 7 tokens more at 0.1 each add 0.7 inside the sigmoid, 7 fewer take 0.7 away.
    longer, shorter = (
        preference_loss(
            tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, length_weight=0.1, chosen_tokens=tensor(chosen), rejected_tokens=tensor(rejected)
        ).losses.item()
        for chosen, rejected in ((12, 5), (5, 12))
    )
    assert longer == pytest.approx(math.log1p(math.exp(-2.2)))
    assert shorter == pytest.approx(math.log1p(math.exp(-0.8)))


def test_a_likelihood_term_adds_the_nats_per_token_of_the_chosen_response() -> None:
    # -(-3) / 6 tokens = 0.5 nats, at weight 0.2
    result = preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, likelihood_weight=0.2, chosen_tokens=tensor(6))
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-1.5)) + 0.1)
    # to IPO's (3 - 2) ** 2 too; a chosen response that is masked as a whole has no tokens and adds nothing
    result = preference_loss(tensor(-3, 0), tensor(-5, -3), tensor(-4, 0), tensor(-3, 0), beta=0.25, loss="ipo", likelihood_weight=0.2, chosen_tokens=tensor(6, 0))
    assert result.losses.tolist() == pytest.approx([1.1, 1.0])


def test_margins_change_sign_with_the_label_that_smoothing_mixes_in() -> None:
    # inside the sigmoid 1.5 - 2 * 0.4 + 0.1 * (9 - 4) = 1.2
    result = preference_loss(
        tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, label_smoothing=0.2,
        gap_weight=2.0, reward_gaps=tensor(0.4), length_weight=0.1, chosen_tokens=tensor(9), rejected_tokens=tensor(4),
    )  # fmt: skip
    assert result.losses.item() == pytest.approx(0.8 * math.log1p(math.exp(-1.2)) + 0.2 * math.log1p(math.exp(1.2)))


def test_margins_work_without_a_reference() -> None:
    result = preference_loss(tensor(-3), tensor(-5), tensor(-4), tensor(-3), beta=0.5, reference_free=True, gap_weight=2.0, reward_gaps=tensor(0.4))
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-0.2)))


def test_weights_of_zero_leave_every_bit_as_it_was() -> None:
    draw = torch.Generator().manual_seed(0)
    logps = [50 * torch.rand(200, generator=draw) for _ in range(4)]
    more: dict[str, Any] = {"reward_gaps": torch.rand(200), "chosen_tokens": torch.full((200,), 7.0), "rejected_tokens": torch.full((200,), 9.0)}
    variants: list[dict[str, Any]] = [{}, {"label_smoothing": 0.1}, {"reference_free": True}, {"loss": "ipo"}]
    for settings in variants:
        plain, given = preference_loss(*logps, beta=0.1, **settings), preference_loss(*logps, beta=0.1, **settings, **more)
        assert all(torch.equal(one, other) for one, other in zip(plain, given, strict=True))
    gap = (logps[0] - logps[1]) - (logps[2] - logps[3])
    smoothed = -0.9 * torch.nn.functional.logsigmoid(0.1 * gap) - 0.1 * torch.nn.functional.logsigmoid(-0.1 * gap)
    assert torch.equal(preference_loss(*logps, beta=0.1, label_smoothing=0.1).losses, smoothed)


@pytest.mark.parametrize("settings", [
    {}, {"label_smoothing": 0.2}, {"reference_free": True}, {"loss": "ipo"}, {"gap_weight": 1.5}, {"length_weight": 0.05}, {"likelihood_weight": 0.7},
    {"loss": "ipo", "likelihood_weight": 0.7}, {"gap_weight": 1.5, "length_weight": 0.05, "likelihood_weight": 0.7, "label_smoothing": 0.2},
])  # fmt: skip
def test_gradients_are_those_of_the_losses(settings: dict[str, Any]) -> None:
    policy = [tensor(-3, -8, -20).requires_grad_(), tensor(-5, -6, -2).requires_grad_()]
    given = {"reward_gaps": tensor(0.4, 0.1, 0.9), "chosen_tokens": tensor(6, 9, 30), "rejected_tokens": tensor(8, 9, 4)}

    def losses(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return preference_loss(chosen, rejected, tensor(-4, -7, -18), tensor(-3, -6, -3), beta=0.3, **given, **settings).losses

    assert torch.autograd.gradcheck(losses, policy)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"loss": "dpoo"}, "expected 'dpo' or 'ipo'"),
    ({"beta": 0.0}, "beta = 0.0: expected more than 0"),
    ({"label_smoothing": 0.6}, "expected a probability from 0 to 0.5"),
    ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing = 0.1 means nothing to IPO"),
    ({"loss": "ipo", "gap_weight": 1.0}, "gap_weight = 1.0 means nothing to IPO"),
    ({"loss": "ipo", "length_weight": 0.1}, "length_weight = 0.1 means nothing to IPO"),
    ({"gap_weight": -1.0}, "gap_weight = -1.0: expected a finite number, 0 or more"),
    ({"length_weight": math.inf}, "length_weight = inf: expected a finite number"),
    ({"likelihood_weight": math.nan}, "likelihood_weight = nan: expected a finite number"),
    ({"gap_weight": 1.0}, r"gap_weight needs reward_gaps of shape \(1,\), one for each pair: given none"),
    ({"gap_weight": 1.0, "reward_gaps": torch.ones(1, 1)}, r"reward_gaps of shape \(1,\), one for each pair: given shape \(1, 1\)"),
    ({"length_weight": 1.0, "chosen_tokens": torch.ones(1)}, "length_weight needs rejected_tokens"),
    ({"likelihood_weight": 1.0}, "likelihood_weight needs chosen_tokens"),
])  # fmt: skip
def test_settings_without_meaning_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preference_loss(tensor(-3), tensor(-5), tensor(-3), tensor(-5), **{"beta": 0.1, **wrong})


def test_supervised_loss_is_nats_per_token() -> None:
    assert sft_loss(tensor(-1, -2, -3), 3).item() == 2.0


def test_cosine_ends_at_its_floor_and_warm_up_starts_above_zero() -> None:
    scales = [lr_scale(step, 11, warmup=1, schedule="cosine", floor=0.1) for step in range(11)]
    assert scales[0] == 0.5 and scales[1] == 1.0
    assert scales[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in zip(scales[1:], scales[2:], strict=False))
