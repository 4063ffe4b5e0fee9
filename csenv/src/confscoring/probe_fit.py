"""Probes of attention heads, and the directions in which they are shifted (ITI, arXiv 2306.03341, section 3). Pure functions of tensors.

A probe is a logistic regression on a head's output: whether the fact that the model has just read is true. Heads whose probes are
most often right about facts of other topics are shifted from the mean of false facts to that of true ones ("mass mean shift", the
best of the paper's directions). All heads of a layer are fitted side by side, in float64, by Newton's method, which has no randomness.
"""

from __future__ import annotations

import torch
from torch import Tensor

from volume.errors import VolumeError

_ROUNDS = 100  # of Newton's method; about ten are needed
_HALVINGS = 40
_SMALL = 1e-8  # of the gradient, per fact: there the loss is at its minimum


def fit_logistic(features: Tensor, labels: Tensor) -> Tensor:
    """Return the weights that minimise |w|^2 / 2 + sum log(1 + exp(-y (w x + b))), y = 1 or -1, for every head.

    That is scikit-learn's LogisticRegression with its own settings, as in the authors' code: features as they are, C = 1, and an
    intercept b that costs nothing.

    Args:
        features: Shape (heads, facts, size).
        labels: Shape (facts,), 1 for true and 0 for false; both occur.

    Returns:
        Shape (heads, size + 1), float64; the intercept is last.

    Raises:
        VolumeError: The method does not converge: the features are not finite.
    """
    x = with_ones(features)
    y = labels.double()
    cost = torch.ones(x.shape[-1], dtype=torch.float64)
    cost[-1] = 0
    weights = torch.zeros(x.shape[0], x.shape[-1], dtype=torch.float64)
    for _ in range(_ROUNDS):
        p = torch.sigmoid(_apply(x, weights))
        gradient = (x.mT @ (p - y).unsqueeze(-1)).squeeze(-1) + cost * weights
        if bool((gradient.abs().amax(dim=-1) <= _SMALL * len(y)).all()):
            return weights
        curvature = (x * (p * (1 - p)).unsqueeze(-1)).mT @ x + torch.diag(cost)
        step = torch.linalg.solve(curvature, gradient)
        weights = weights - step_size(x, y, cost, weights, step, (gradient * step).sum(dim=-1)).unsqueeze(-1) * step
    raise VolumeError("the probes of the attention heads do not converge: the model's states are not finite, or too large. Try models dtype float32.")


def logistic_loss(x: Tensor, y: Tensor, cost: Tensor, weights: Tensor) -> Tensor:
    """Return what `fit_logistic` minimises, shape (heads,).

    Args:
        x: Features with ones, shape (heads, facts, size + 1).
        y: 1 for true and 0 for false.
        cost: Of each squared weight.
    """
    logits = _apply(x, weights)
    return (torch.nn.functional.softplus(logits) - y * logits).sum(dim=-1) + (cost * weights**2).sum(dim=-1) / 2


def step_size(x: Tensor, y: Tensor, cost: Tensor, weights: Tensor, step: Tensor, slope: Tensor) -> Tensor:
    """Return, per head, the part of Newton's step that lowers the loss by what it should: far from the minimum a whole one may go too far."""
    before = logistic_loss(x, y, cost, weights)
    size = torch.ones_like(slope)
    for _ in range(_HALVINGS):
        too_far = logistic_loss(x, y, cost, weights - size.unsqueeze(-1) * step) > before - 1e-4 * size * slope + 1e-12 * before
        if not bool(too_far.any()):
            break
        size = torch.where(too_far, size / 2, size)
    return size


def probe_accuracy(features: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the share of facts on which each head's probe is right, shape (heads,), float64."""
    return ((_apply(with_ones(features), weights) > 0) == labels.bool()).double().mean(dim=-1)


def with_ones(features: Tensor) -> Tensor:
    """Return the features in float64 with a 1 after them, for the intercept."""
    x = features.double()
    return torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)


def _apply(x: Tensor, weights: Tensor) -> Tensor:
    return (x @ weights.unsqueeze(-1)).squeeze(-1)


def choose_heads(accuracy: Tensor, number: int) -> list[tuple[int, int]]:
    """Return the heads whose probes are most often right, as (layer, head), the best first; of equals the earlier one.

    Args:
        accuracy: Shape (layers, heads).
        number: How many, at most as many as there are.
    """
    places = [(layer, head) for layer in range(accuracy.shape[0]) for head in range(accuracy.shape[1])]
    return sorted(places, key=lambda place: (-float(accuracy[place]), place))[:number]


def mean_shift(outputs: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Return the unit vector from the mean of false facts to that of true ones, and the standard deviation of the outputs along it.

    Args:
        outputs: A head's, shape (facts, size).
        labels: Shape (facts,), 1 for true and 0 for false; both occur.
    """
    outputs, true = outputs.double(), labels.bool()
    difference = outputs[true].mean(dim=0) - outputs[~true].mean(dim=0)
    direction = difference / difference.norm().clamp(min=torch.finfo(torch.float64).tiny)
    return direction, float((outputs @ direction).std(correction=0))
