"""Known answers of calibration (assay, checks 1, 2, 3 and 5)."""

from __future__ import annotations

import numpy as np
import pytest

from rayforge.evaluation.calibration import (
    adaptive_error,
    brier,
    calibration_error,
    error_interval,
    fitted_temperature,
    negative_log_likelihood,
    reliability,
)


def test_six_predictions_of_the_sheet() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.65, 0.65, 0.55])
    correct = np.array([1, 1, 0, 1, 0, 0])
    assert calibration_error(confidence, correct) == pytest.approx(0.28333, abs=1e-5)
    assert [count for _, _, count in reliability(confidence, correct)] == [1, 2, 3]


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([1, 1])) == 0.0
    assert calibration_error(np.array([1.0, 0.0]), np.array([0, 1])) == 1.0


def test_calibrated_labels_have_almost_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(1_000_000)
    correct = rng.random(1_000_000) < confidence
    assert calibration_error(confidence, correct) < 0.003
    assert adaptive_error(confidence, correct) < 0.003


def test_a_constant_predictor() -> None:
    classes = 5
    labels = np.tile(np.arange(classes), 20)
    correct = labels == 0
    assert calibration_error(np.full(100, 1 / classes), correct) == pytest.approx(0)
    logits = np.zeros((100, classes))
    assert negative_log_likelihood(logits, labels) == pytest.approx(np.log(classes))
    assert brier(np.full((100, classes), 1 / classes), labels) == pytest.approx(1 - 1 / classes)


def test_temperature_never_makes_the_fitted_likelihood_worse_and_moves_no_decision() -> None:
    rng = np.random.default_rng(1)
    logits = 8 * rng.normal(size=(400, 4))
    labels = np.where(rng.random(400) < 0.6, logits.argmax(1), rng.integers(4, size=400))
    t = fitted_temperature(logits, labels)
    assert t > 1
    assert negative_log_likelihood(logits / t, labels) < negative_log_likelihood(logits, labels)
    assert (np.argsort(logits / t) == np.argsort(logits)).all()
    assert fitted_temperature(logits / t, labels) == pytest.approx(1, abs=1e-3)


def test_the_interval_holds_the_error_and_bad_input_is_refused() -> None:
    rng = np.random.default_rng(2)
    found = error_interval(rng.random(200), rng.random(200) < 0.3, samples=100)
    assert 0 <= found.low <= found.mean <= found.high
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        calibration_error(np.array([1.2]), np.array([1]))
    with pytest.raises(ValueError, match="pairs"):
        calibration_error(np.array([0.2, 0.1]), np.array([1]))
