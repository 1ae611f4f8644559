"""Calibration: does a confidence of 0.8 mean right four times in five.

Pure functions of confidences, labels and logits. Sources: the evaluation library of Wenzel et al.
(NeurIPS 2022, arXiv 2207.09239) for the expected calibration error; Nixon et al. (2019) for bins of
equal counts; Brier (1950).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from rayforge.evaluation.intervals import Interval

BINS = 10


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """ECE = sum_b (n_b / n) |accuracy_b - confidence_b| over `bins` equal bins of [0, 1].

    `confidence` [n] in [0, 1]; `correct` [n], bool. Empty bins count 0; a confidence of 1 falls in
    the last bin. NaN where there is nothing. Raises ValueError for shapes that differ or a
    confidence out of range.
    """
    p, y = _checked(confidence, correct)
    if not len(p):
        return float("nan")
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    return _error_by(place, p, y, bins)


def adaptive_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """The same over bins that hold equally many predictions: no bin is empty or crowded."""
    p, y = _checked(confidence, correct)
    if not len(p):
        return float("nan")
    rank = np.argsort(np.argsort(p, kind="stable"), kind="stable")
    return _error_by(rank * bins // len(p), p, y, bins)


def error_interval(
    confidence: np.ndarray, correct: np.ndarray, seed: int = 0, samples: int = 500
) -> Interval:
    """The calibration error with a 95 % bootstrap interval over predictions.

    The error of a resample is biased upwards, as the error itself is where bins are small; the
    interval is shifted back by that bias (the basic bootstrap), and never below 0.
    """
    p, y = _checked(confidence, correct)
    found = calibration_error(p, y)
    if len(p) < 2:
        return Interval(found, np.nan, np.nan, len(p))
    rng = np.random.default_rng(seed)
    drawn = np.empty(samples)
    for k in range(samples):
        rows = rng.integers(len(p), size=len(p))
        drawn[k] = calibration_error(p[rows], y[rows])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(found, max(0.0, 2 * found - float(high)), max(found, 2 * found - float(low)),
                    len(p))  # fmt: skip


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance of probabilities [n, K] from the labels int [n] as one-hot rows; in
    [0, 2]."""
    p = np.asarray(probabilities, np.float64)
    hot = np.zeros_like(p)
    hot[np.arange(len(p)), np.asarray(labels)] = 1.0
    return float(np.square(p - hot).sum(1).mean())


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean -log p of the labels int [n] under logits [n, K], in nats."""
    log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
    return float(-log_p[np.arange(len(log_p)), np.asarray(labels)].mean())


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that makes logits / T likeliest on these labels (Guo et al. 2017).

    T = 1 is among those tried, so the likelihood on the same labels never falls; no decision and
    no rank changes under it.
    """

    def loss(log_t: float) -> float:
        return negative_log_likelihood(np.asarray(logits) / np.exp(log_t), labels)

    found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def reliability(
    confidence: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, count) of each bin that holds something."""
    p, y = _checked(confidence, correct)
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    return [
        (float(p[place == b].mean()), float(y[place == b].mean()), int((place == b).sum()))
        for b in range(bins)
        if (place == b).any()
    ]


def _error_by(place: np.ndarray, p: np.ndarray, y: np.ndarray, bins: int) -> float:
    confidence = np.bincount(place, p, minlength=bins)
    accuracy = np.bincount(place, y, minlength=bins)
    return float(np.abs(accuracy - confidence).sum() / len(p))


def _checked(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"calibration needs pairs: {p.shape} confidences and {y.shape} outcomes")
    wrong = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if wrong.size:
        raise ValueError(f"confidence {wrong[0]} is {p[wrong[0]]}: it must be in [0, 1]")
    return p, y
