"""Known answers of the information in nats (spec checks 5 and 6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rayforge.information.gaussian import (
    best_noise,
    divergence,
    gaussian_information,
    lagrangian_change,
    learnt_noise,
    prior_variance_of,
    rows_information,
)


def test_one_weight_of_the_sheet() -> None:
    h, w, beta, prior = torch.tensor([4.0]), torch.tensor([0.5]), 0.1, 1.0
    noise = best_noise(h, beta, prior)
    assert float(noise) == pytest.approx(0.024390, abs=1e-6)
    kl = gaussian_information(w, h, beta, prior)
    assert float(kl) == pytest.approx(1.49398, abs=1e-5)
    assert float(lagrangian_change(h, noise, kl, beta)) == pytest.approx(0.198179, abs=1e-6)
    half = torch.tensor([0.012346])  # the printed width
    worse = lagrangian_change(h, half, divergence(w, half, prior), beta)
    assert float(worse) == pytest.approx(0.207531, abs=1e-5)


def test_closed_form_of_the_sheet() -> None:
    torch.manual_seed(0)
    h, w, beta, prior = torch.rand(7) * 5, torch.randn(7), 0.3, 2.0
    ridge = h + beta / prior
    k = len(w)
    closed = (
        0.5 * ridge.log().sum()
        + k / 2 * np.log(prior / beta)
        - k / 2
        + (w.square().sum() + beta * (1 / ridge).sum()) / (2 * prior)
    )
    assert float(gaussian_information(w, h, beta, prior)) == pytest.approx(float(closed), rel=1e-5)


def test_gibbs_identity_on_a_grid() -> None:
    grid = np.linspace(-4, 4, 4001)
    prior = np.exp(-(grid**2) / 2)
    prior /= prior.sum()
    loss = (grid - 0.7) ** 2

    def optimum(beta: float) -> float:
        return float(-beta * np.log((prior * np.exp(-loss / beta)).sum()))

    beta, step = 0.3, 1e-5
    best = prior * np.exp(-loss / beta)
    best /= best.sum()
    kl = float((best * np.log(np.maximum(best, 1e-300) / prior)).sum())
    slope = (optimum(beta + step) - optimum(beta - step)) / (2 * step)
    assert slope == pytest.approx(kl, rel=1e-5)


def test_learnt_noise_finds_the_optimum_of_a_quadratic() -> None:
    curvature = torch.tensor([0.5, 4.0, 40.0])[:, None].expand(3, 50)
    weights = {"w": torch.zeros(3, 50) + 0.1}
    beta, prior = 0.02, 1.0

    def loss(values: dict[str, Tensor]) -> Tensor:
        return 0.5 * (curvature * (values["w"] - weights["w"]).square()).sum()

    logs = learnt_noise(loss, weights, beta, prior, steps=600)
    expected = best_noise(curvature[:, 0], beta, prior)
    torch.testing.assert_close(logs["w"].exp(), expected, rtol=0.2, atol=0)
    nats = rows_information(weights, logs, prior)["w"]
    closed = gaussian_information(weights["w"].flatten(), curvature.flatten(), beta, prior)
    assert nats == pytest.approx(float(closed), rel=0.02)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="beta"):
        best_noise(torch.ones(2), 0.0, 1.0)
    with pytest.raises(ValueError, match="negative"):
        best_noise(torch.tensor([1.0, -1.0]), 0.1, 1.0)
    assert prior_variance_of({"w": torch.full((4,), 3.0)}) == pytest.approx(9.0)
