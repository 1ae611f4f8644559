"""A task as one vector: the Fisher information of a fixed probe network's weights on its data.

After Task2Vec (Achille et al., ICCV 2019, arXiv 1902.03545, and the authors' code). Formulas that
the code does not have are marked. Two departures from the code, both named in its own comments or
by its algebra: evaluation mode throughout, and multiplication by the batch size, so that vectors do
not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

TINY = 1e-8
"""Added in the denominators of pairwise scaling, as in the authors' code."""
ALPHA = 0.15
"""How much the complexity of the source counts in the asymmetric distance (recalled)."""


def rows_of(squares: Mapping[str, Tensor]) -> Tensor:
    """Squared gradients by tensor, [rows, ...] each, as means within each row, joined: [F].

    A row is an output of a layer (a filter): the first dimension of its weight.
    """
    rows = (s.flatten(1).mean(1) if s.dim() > 1 else s.flatten() for s in squares.values())
    return torch.cat(list(rows))


def variational_vector(log_variances: Mapping[str, Tensor]) -> Tensor:
    """The precision exp(-log S) of the noise that a task allows in each row, joined: [F].

    At the optimum of the Lagrangian it is the Fisher information up to scale and a ridge.
    """
    return torch.cat([(-value).exp().flatten() for value in log_variances.values()])


def symmetric_distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cos( a/(a+b), b/(a+b) ) of vectors [F] that are not negative; in [0, 1].

    Pure magnitude is invisible to it: keep the norm beside the vector. Raises ValueError for
    vectors of unequal length, or with a negative number.
    """
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise ValueError(f"vectors of {len(first)} and {len(second)} numbers: use the same probe")
    both = first + second + TINY
    return _cosine_distance(first / both, second / both)


def asymmetric_distance(source: np.ndarray, target: np.ndarray, alpha: float = ALPHA) -> float:
    """d(source, target) - alpha d(source, trivial): lower where the source is complex (recalled).

    The trivial task is the vector of ones.
    """
    trivial = np.ones_like(_checked(source))
    return symmetric_distance(source, target) - alpha * symmetric_distance(source, trivial)


def normalised_distance(
    a: np.ndarray, b: np.ndarray, prior_a: np.ndarray, prior_b: np.ndarray
) -> float:
    """Cosine distance of variances over the prior's, both sides, [F] each (the authors' code)."""
    return _cosine_distance(_checked(prior_a) / (_checked(a) + TINY),
                            _checked(prior_b) / (_checked(b) + TINY))  # fmt: skip


def scaled_by_all(vectors: np.ndarray) -> np.ndarray:
    """Vectors [tasks, F], each coordinate divided by its root mean square over the tasks."""
    return np.asarray(vectors / np.sqrt(np.square(vectors).mean(0) + TINY))


def distances(vectors: np.ndarray, asymmetric: bool = False) -> np.ndarray:
    """[tasks, tasks] of vectors [tasks, F]; entry (i, j) goes from source i to target j."""
    measure = asymmetric_distance if asymmetric else symmetric_distance
    return np.array([[measure(a, b) for b in vectors] for a in vectors])


def plane(matrix: np.ndarray) -> np.ndarray:
    """Coordinates [tasks, 2] whose distances are like those of a symmetric matrix [tasks, tasks].

    Classical scaling (Torgerson 1952): the two largest components of the doubly centred squares.
    """
    count = len(matrix)
    centre = np.eye(count) - 1.0 / count
    products = -0.5 * centre @ np.square(matrix) @ centre
    values, vectors = np.linalg.eigh(products)
    top = np.argsort(values)[::-1][:2]
    return np.asarray(vectors[:, top] * np.sqrt(np.maximum(values[top], 0.0)))


def _checked(vector: np.ndarray) -> np.ndarray:
    values = np.asarray(vector, np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("a task vector holds numbers that are negative or not finite")
    return values


def _cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not norms:
        raise ValueError("a task vector is zero everywhere: its data moves no weight of the probe")
    return max(0.0, 1.0 - float(a @ b) / norms) if math.isfinite(norms) else math.nan
