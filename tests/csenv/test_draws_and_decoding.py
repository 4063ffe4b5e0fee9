"""Counter-based draws and the inverse CDF, against hand-worked numbers and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from confscoring.decoding import candidates, choose_tokens, invert_cdf, token_probabilities
from confscoring.draws import uniforms


def test_a_draw_belongs_to_its_identity_alone() -> None:
    base = uniforms(1, "synth", "q", 0, 8)
    assert np.array_equal(base, uniforms(1, "synth", "q", 0, 8))
    assert np.array_equal(base[:3], uniforms(1, "synth", "q", 0, 3))  # more steps do not change the first
    for other in ((2, "synth", "q", 0), (1, "bio", "q", 0), (1, "synth", "r", 0), (1, "synth", "q", 1)):
        assert not np.intersect1d(base, uniforms(*other, 8)).size


def test_the_stream_is_fixed_for_good() -> None:
    """A change of these numbers changes every sampled text."""
    assert uniforms(0, "synth", "answers/Ada/Who?", 3, 3).tolist() == pytest.approx(FIXED, abs=0)


FIXED = [0.9408494083628105, 0.9021222772665595, 0.984154856097632]


def test_draws_are_uniform() -> None:
    values = np.concatenate([uniforms(0, "d", f"item {index}", 0, 50) for index in range(400)])
    assert 0 <= values.min() and values.max() < 1
    assert abs(values.mean() - 0.5) < 4 / math.sqrt(12 * len(values))
    counts = np.histogram(values, bins=10, range=(0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_the_inverse_cdf_takes_the_first_token_above_the_draw() -> None:
    p = torch.tensor([[0.1, 0.2, 0.0, 0.7]], dtype=torch.float64).expand(6, 4)
    u = torch.tensor([0.0, 0.0999, 0.1, 0.2999, 0.3001, 0.999999], dtype=torch.float64)
    tokens, margins = invert_cdf(p, u)
    assert tokens.tolist() == [0, 0, 1, 1, 3, 3]  # token 2 has no mass and is never drawn
    assert margins[1].item() == pytest.approx(0.0001, abs=1e-9)
    assert margins[4].item() == pytest.approx(0.0001, abs=1e-9)


def test_a_draw_next_to_one_never_takes_a_token_without_mass() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    assert invert_cdf(p, torch.tensor([1 - 2**-53], dtype=torch.float64))[0].tolist() == [1]


def test_inverting_equals_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.randn(200, 17, generator=generator, dtype=torch.float64) * 3, dim=-1)
    u = torch.rand(200, generator=generator, dtype=torch.float64)
    expected = []
    for row, draw in zip(p.tolist(), u.tolist(), strict=True):
        total, token = 0.0, 0
        for token, mass in enumerate(row):
            total += mass
            if total > draw:
                break
        expected.append(token)
    assert invert_cdf(p, u)[0].tolist() == expected


def test_top_k_and_top_p_keep_what_they_should() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert token_probabilities(logits, 1.0)[0].tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-6)
    assert token_probabilities(logits, 1.0, top_k=2)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-6)
    # 0.5 does not reach 0.6, so the token that crosses it is kept as well
    assert token_probabilities(logits, 1.0, top_p=0.6)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-6)
    halved = token_probabilities(logits, 0.5)[0]
    assert halved.tolist() == pytest.approx([x**2 / 0.365 for x in (0.5, 0.3, 0.15, 0.05)], abs=1e-6)


def test_temperature_zero_is_greedy_with_its_lead_as_margin() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    tokens, margins = choose_tokens(logits, None, 0.0, 0, 1.0)
    assert tokens.tolist() == [1] and margins.item() == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (5, 0.7), (50, 0.9), (50, 1.0), (0, 0.9), (0, 0.5), (0, 0.999), (1, 1.0)])
@pytest.mark.parametrize("vocabulary", [40, 300, 6000])
@pytest.mark.parametrize("ties", [False, True])
def test_a_few_candidates_have_the_distribution_of_the_whole_vocabulary(top_k: int, top_p: float, vocabulary: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(vocabulary + top_k)
    logits = torch.randn(40, vocabulary, generator=generator) * torch.linspace(0.2, 6, 40).unsqueeze(-1)
    if ties:
        logits = (logits * 4).round() / 4
    expected = token_probabilities(logits, 0.8, top_k, top_p)
    few = candidates(logits, 0.8, top_k, top_p)
    if few is not None:
        assert few[0].shape[1] < vocabulary or vocabulary <= 58
        assert bool((few[0].diff(dim=-1) > 0).all())  # in the order of the ids, so the draw is the same
        found = torch.zeros_like(expected).scatter(-1, few[0], few[1])
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    u = torch.rand(40, generator=generator, dtype=torch.float64)
    tokens, margins = choose_tokens(logits, u, 0.8, top_k, top_p)
    plain_tokens, plain_margins = invert_cdf(expected, u)
    assert tokens.tolist() == plain_tokens.tolist()
    torch.testing.assert_close(margins, plain_margins, rtol=1e-9, atol=1e-14)


def test_few_candidates_are_found_where_there_are_few() -> None:
    """Else the test above would compare the whole vocabulary with itself."""
    logits = torch.randn(40, 6000, generator=torch.Generator().manual_seed(0)) * 3
    for top_k, top_p, most in ((50, 1.0, 58), (50, 0.9, 58), (0, 0.9, 4096)):
        few = candidates(logits, 1.0, top_k, top_p)
        assert few is not None and few[0].shape[1] <= most
    peaked = logits * 5
    few = candidates(peaked, 1.0, 0, 0.9)
    assert few is not None and few[0].shape[1] == 256


def test_draws_from_the_top_three_have_the_right_shares() -> None:
    logits = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1] + [1e-6] * 60)).expand(20000, -1)
    u = torch.from_numpy(uniforms(0, "d", "shares", 0, 20000))
    tokens, _ = choose_tokens(logits, u, 1.0, 3, 1.0)
    for token, p in enumerate((4 / 9, 3 / 9, 2 / 9)):
        assert abs((tokens == token).double().mean().item() - p) < 4 * (p * (1 - p) / 20000) ** 0.5
    assert int(tokens.max()) == 2
