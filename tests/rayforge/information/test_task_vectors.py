"""Known answers of task vectors (spec checks 1, 2, 3, 5, 6 and 7)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rayforge.information.gaussian import learnt_noise
from rayforge.information.task_vectors import (
    asymmetric_distance,
    distances,
    normalised_distance,
    plane,
    rows_of,
    scaled_by_all,
    symmetric_distance,
    variational_vector,
)


def test_distances_of_the_sheet() -> None:
    a, b = np.array([1.0, 3.0]), np.array([3.0, 1.0])
    assert symmetric_distance(a, b) == pytest.approx(0.4)
    assert symmetric_distance(a, a) == pytest.approx(0.0, abs=1e-12)
    assert symmetric_distance(a, np.ones(2)) == pytest.approx(0.131758, abs=2e-6)
    assert asymmetric_distance(a, b) == pytest.approx(0.380236, abs=1e-6)
    assert symmetric_distance(np.array([10.0, 10.0]), np.ones(2)) == pytest.approx(0, abs=1e-12)


@given(
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
)
def test_the_symmetric_distance_is_symmetric_and_within_zero_and_one(
    a: list[float], b: list[float]
) -> None:
    there, back = (
        symmetric_distance(np.array(a), np.array(b)),
        symmetric_distance(np.array(b), np.array(a)),
    )
    assert there == pytest.approx(back)
    assert 0 <= there <= 1


def test_a_logistic_head_on_known_inputs_and_a_dead_feature() -> None:
    torch.manual_seed(0)
    x = torch.randn(20000, 3) * torch.tensor([1.0, 2.0, 0.5])
    head = torch.tensor([0.8, 0.0])  # the second hidden feature is dead
    body = torch.eye(2, 3)
    p = torch.sigmoid(x @ body.T @ head)
    y = torch.bernoulli(p)
    residual = (y - p)[:, None, None]
    gradients = residual * head[None, :, None] * x[:, None, :]
    squares = {"body": gradients.square().mean(0)}
    exact = (p * (1 - p))[:, None] * (0.8 * x).square()
    torch.testing.assert_close(squares["body"][0], exact.mean(0), rtol=0.1, atol=0)
    vector = rows_of(squares)
    assert vector.shape == (2,)
    assert float(vector[1]) == 0.0


def test_planted_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    blocks = np.repeat([[5.0, 0.2], [0.2, 5.0]], 6, axis=0)  # tasks that read disjoint halves
    vectors = np.repeat(blocks, 20, axis=1) * rng.lognormal(0, 0.3, (12, 40))
    matrix = distances(scaled_by_all(vectors))
    nearest = (matrix + np.eye(12) * 9).argmin(1)
    assert ((nearest < 6) == (np.arange(12) < 6)).all()
    map_ = plane(matrix)
    assert np.sign(map_[:6, 0]).sum() == -np.sign(map_[6:, 0]).sum() != 0
    assert distances(vectors, asymmetric=True).shape == (12, 12)


def test_the_variational_vector_is_the_curvature_up_to_scale_and_ridge() -> None:
    curvature = torch.tensor([1.0, 5.0, 25.0])[:, None].expand(3, 40)
    weights = {"w": torch.zeros(3, 40)}
    beta, prior = 0.01, 1.0

    def loss(values: dict[str, Tensor]) -> Tensor:
        return 0.5 * (curvature * values["w"].square()).sum()

    vector = variational_vector(learnt_noise(loss, weights, beta, prior, steps=600))
    torch.testing.assert_close(vector, curvature[:, 0] / beta + 1 / prior, rtol=0.25, atol=0)


def test_bad_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="same probe"):
        symmetric_distance(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="negative"):
        symmetric_distance(np.array([-1.0, 1.0]), np.ones(2))
    with pytest.raises(ValueError, match="zero everywhere"):
        symmetric_distance(np.zeros(2), np.ones(2))


def test_the_normalised_distance_compares_variances_over_their_priors() -> None:
    a, b, one = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.ones(2)
    # 1/a = (1, 1/2) and 1/b = (1/2, 1): their cosine is 1 / (5/4).
    assert normalised_distance(a, b, one, one) == pytest.approx(0.2)
    # Each side's variances and prior in another unit change nothing.
    assert normalised_distance(3 * a, 5 * b, 3 * one, 5 * one) == pytest.approx(0.2)
    # A task that leaves every variance at its prior is the same for any prior.
    assert normalised_distance(a, b, a, b) == pytest.approx(0.0, abs=1e-9)
