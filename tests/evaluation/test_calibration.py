"""Calibration against Guo et al.'s definition, scikit-learn's and SciPy's figures, and temperatures that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from resnets.errors import InputError
from resnets.evaluation.calibration import ece, fit_temperature, reliability, scaled


def sampled(n: int, classes: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, classes], and labels drawn with the probabilities that they give."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (n, classes))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    return logits, labels


def by_definition(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Guo et al., section 2, equations 2 and 3, word by word."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.sum() / len(confidence) * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_is_that_of_its_definition(bins: int) -> None:
    generator = np.random.default_rng(bins)
    confidence = np.r_[generator.uniform(0.1, 1, 1000), 1.0, 0.2]
    correct = generator.random(1002) < confidence**2
    assert ece(confidence, correct, bins) == pytest.approx(by_definition(confidence, correct, bins))


def test_the_reliability_diagram_is_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.3, 1, 2000)
    correct = generator.random(2000) < confidence
    found = reliability(confidence, correct)
    share, mean = calibration_curve(correct, confidence, n_bins=15)
    filled = found.counts > 0
    np.testing.assert_allclose(found.accuracy[filled], share)
    np.testing.assert_allclose(found.confidence[filled], mean)
    assert found.counts.sum() == 2000
    assert not filled[:4].any()
    assert np.isnan(found.accuracy[0])
    assert found.mce == pytest.approx(np.abs(share - mean).max())
    assert found.ece < 0.03 < ece(confidence**0.2, correct)


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_found(true: float) -> None:
    logits, labels = sampled(20_000, 5, seed=2)
    found = fit_temperature(true * logits, labels)
    assert found.temperature == pytest.approx(true, rel=0.05)
    assert found.note is None
    assert found.loss_after == pytest.approx(
        log_loss(labels, np.exp(scaled(true * logits, found.temperature))), rel=1e-6
    )
    assert found.loss_before == pytest.approx(-log_softmax(true * logits, axis=1)[np.arange(20_000), labels].mean())
    assert found.ece_after < 0.02
    assert found.loss_after <= found.loss_before


def test_the_least_loss_is_the_one_that_scipy_finds_and_logits_do_as_well() -> None:
    logits, labels = sampled(700, 10, seed=3)
    logits = 3 * logits + np.random.default_rng(0).normal(0, 50, (700, 1))  # a constant of each image changes nothing
    found = fit_temperature(logits, labels)

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(700), labels].mean()

    expected = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
    assert np.log(found.temperature) == pytest.approx(expected.x, abs=1e-5)
    assert found.loss_after == pytest.approx(expected.fun, abs=1e-12)
    again = fit_temperature(log_softmax(logits, axis=1).astype(np.float32), labels)
    assert again.temperature == pytest.approx(found.temperature, rel=1e-4)
    assert json.loads(json.dumps(found.to_dict()))["temperature"] == found.temperature


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (50 * np.eye(3)[np.arange(60) % 3], np.arange(60) % 3, "errs on none of the 60 images"),
        (np.eye(3)[np.arange(60) % 3], (np.arange(60) + 1) % 3, "say nothing of the true classes"),
        (np.zeros((60, 1)), np.zeros(60, int), "same for every class"),
        (np.zeros((60, 4)), np.arange(60) % 4, "same for every class"),
        (np.random.default_rng(0).normal(size=(5, 3)), np.arange(5) % 3, "5 images are too few"),
    ],
)
def test_where_no_temperature_can_be_fitted_it_is_one_and_says_why(
    logits: np.ndarray, labels: np.ndarray, words: str
) -> None:
    found = fit_temperature(logits, labels)
    assert found.temperature == 1
    assert words in str(found.note)
    assert found.loss_after == found.loss_before
    assert found.ece_after == found.ece_before
    assert found.to_dict()["note"] == found.note


def test_huge_logits_are_no_trouble_and_those_that_are_not_finite_are_refused() -> None:
    logits, labels = sampled(500, 3, seed=4)
    assert fit_temperature(90 * logits, labels).temperature == pytest.approx(
        90 * fit_temperature(logits, labels).temperature, rel=1e-6
    )
    logits[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        fit_temperature(logits, labels)
    with pytest.raises(InputError, match="no image"):
        fit_temperature(np.empty((0, 3)), [])
