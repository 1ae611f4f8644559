"""Which labels of preference pairs are flipped: a mixture of each pair's evidence and its negation.

Evidence of a pair is anything that says by how much its chosen side is better: the policy's own
log-probability of one side minus that of the other, the belief of an agent that acts on both.
Swapping the sides negates it. So a flipped pair has the negated evidence of a right one:

    x | right   ~ N(mu, S)
    x | flipped ~ N(-mu, S)        with P(flipped) = rate

and by Bayes log P(flipped | x) / P(right | x) = log(rate / (1 - rate)) - 2 mu' S^-1 x: one line,
whatever the number of kinds of evidence. Fitted by EM (Dempster, Laird, Rubin 1977); the symmetric
form is designed here. The labels are taken to be right more often than not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TOLERANCE = 1e-10
_LEAST = 1e-4
"""Of a rate: at 0 the posterior could never leave it."""


class FlipMixture(NamedTuple):
    """What EM found."""

    rate: float
    """P(flipped), in (0, 0.5]."""
    mean: np.ndarray
    """mu float64 [d], of pairs whose label is right."""
    covariance: np.ndarray
    """S float64 [d, d]."""
    log_likelihood: float
    """Nats a pair."""


def fit_flips(evidence: np.ndarray, steps: int = 500) -> FlipMixture:
    """Fit the module's mixture to evidence float [n, d], at least two pairs.

    E: r_i = P(flipped | x_i). M: rate = mean r; mu = mean (1 - 2 r_i) x_i; S = mean x x' - mu mu'.
    Starts at a fifth flipped and ends when the likelihood rises no more, or after `steps`.

    Raises ValueError for another shape or evidence that is not finite.
    """
    x = _checked(evidence)
    second = x.T @ x / len(x)
    # A little of its own spread on the diagonal: evidence that is the same for all has none.
    ridge = 1e-6 * np.diag(np.maximum(np.diag(second), 1e-12))
    rate, mean = 0.2, x.mean(0)
    mixture = FlipMixture(rate, mean, second - np.outer(mean, mean) + ridge, -np.inf)
    for _ in range(steps):
        r = flip_posterior(x, mixture)
        rate = float(np.clip(r.mean(), _LEAST, 1 - _LEAST))
        mean = ((1 - 2 * r)[:, None] * x).mean(0)
        if rate > 0.5:
            rate, mean = 1 - rate, -mean
        covariance = second - np.outer(mean, mean) + ridge
        found = FlipMixture(rate, mean, covariance, _likelihood(x, rate, mean, covariance))
        if found.log_likelihood - mixture.log_likelihood < _TOLERANCE:
            return max(found, mixture, key=lambda m: m.log_likelihood)
        mixture = found
    return mixture


def flip_posterior(evidence: np.ndarray, mixture: FlipMixture) -> np.ndarray:
    """P(flipped | x) of each pair, float64 [n], for evidence [n, d]."""
    x = _checked(evidence)
    slope = 2 * np.linalg.solve(mixture.covariance, mixture.mean)
    log_odds = np.log(mixture.rate) - np.log1p(-mixture.rate) - x @ slope
    found: np.ndarray = 0.5 * (1 + np.tanh(0.5 * log_odds))  # a sigmoid that does not overflow
    return found


def _likelihood(x: np.ndarray, rate: float, mean: np.ndarray, covariance: np.ndarray) -> float:
    _, log_determinant = np.linalg.slogdet(covariance)
    constant = -0.5 * (len(mean) * np.log(2 * np.pi) + log_determinant)
    parts = []
    for weight, centre in ((1 - rate, mean), (rate, -mean)):
        away = x - centre
        squares = np.einsum("nd,nd->n", away, np.linalg.solve(covariance, away.T).T)
        parts.append(np.log(weight) - 0.5 * squares)
    return float(constant + np.logaddexp(*parts).mean())


def _checked(evidence: np.ndarray) -> np.ndarray:
    x = np.asarray(evidence, np.float64)
    if x.ndim != 2 or len(x) < 2 or not x.shape[1]:
        raise ValueError(f"evidence must be [pairs, kinds] of at least two pairs, got {x.shape}")
    wrong = np.flatnonzero(~np.isfinite(x).all(1))
    if wrong.size:
        raise ValueError(f"the evidence of pair {wrong[0]} is {x[wrong[0]]}: it must be finite")
    return x
