"""Split conformal intervals: the promise they make, counted; and the quantile against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resnets.evaluation import conformal


def simulated(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observed, fitted and predicted scale of [n] cases: skewed noise of uneven size, a scale half too large."""
    size = generator.uniform(0.5, 3, n)
    fitted = generator.normal(0, 5, n)
    return fitted + size * (generator.exponential(size=n) - 0.7), fitted, 1.5 * size


@pytest.mark.parametrize("scaled", [False, True], ids=["absolute", "in units of a scale"])
def test_nine_of_ten_cases_lie_inside_ninety_percent_intervals(scaled: bool) -> None:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        observed, fitted, scale = simulated(500, generator)
        width = conformal.quantile(conformal.scores(observed, fitted, scale if scaled else None), 0.9)
        observed, fitted, scale = simulated(1000, generator)
        low, high = conformal.interval(fitted, width, scale if scaled else None)
        found.append(conformal.coverage(observed, low, high))
    assert 0.88 <= np.mean(found) <= 0.92
    # Of each set: a beta distribution about 0.9 (calibration), and a binomial one about that (test).
    assert np.mean([0.88 - 0.03 <= share <= 0.92 + 0.03 for share in found]) > 0.99


@pytest.mark.parametrize("n", [9, 10, 19, 99, 100, 999])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_the_quantile_is_the_one_of_its_definition(n: int, level: float) -> None:
    scores = np.random.default_rng(n).permutation(n).astype(float)
    rank = next((k for k in range(1, n + 1) if k * 100 >= (n + 1) * round(100 * level)), None)  # whole numbers
    expected = math.inf if rank is None else sorted(scores)[rank - 1]
    assert conformal.quantile(scores, level) == expected
    assert (conformal.shortage(n, level) is None) == math.isfinite(expected)


def test_the_scale_makes_intervals_as_wide_as_each_case_needs() -> None:
    generator = np.random.default_rng(1)
    observed, fitted, scale = simulated(2000, generator)
    width = conformal.quantile(conformal.scores(observed, fitted, scale))
    low, high = conformal.interval(fitted, width, scale)
    np.testing.assert_allclose((high - low) / scale, 2 * width)
    small = scale < np.median(scale)
    assert abs(conformal.coverage(observed[small], low[small], high[small]) - 0.9) < 0.03
    plain = conformal.interval(fitted, conformal.quantile(conformal.scores(observed, fitted)))
    assert conformal.coverage(observed[small], plain[0][small], plain[1][small]) > 0.95  # too wide there


def test_several_targets_are_calibrated_each_for_itself() -> None:
    generator = np.random.default_rng(2)
    observed, fitted = generator.normal(size=(2, 300, 2)) * [1, 100]
    width = conformal.quantile(conformal.scores(observed, fitted), 0.8)
    assert width.shape == (2,)
    for target in range(2):
        assert width[target] == conformal.quantile(np.abs(observed - fitted)[:, target], 0.8)
    share = conformal.coverage(observed, *conformal.interval(fitted, width))
    np.testing.assert_allclose(share, 241 / 300)  # the 241st smallest of 300


def test_too_few_cases_give_infinite_intervals_and_words() -> None:
    assert conformal.fewest(0.9) == 9
    assert conformal.fewest(0.95) == 19
    assert conformal.quantile([1.0] * 8, 0.9) == math.inf
    low, high = conformal.interval([3.0], conformal.quantile(np.ones((8, 1)), 0.9))
    assert (low, high) == (-math.inf, math.inf)
    assert "8 validation cases are too few for 90 %" in str(conformal.shortage(8))
    assert conformal.shortage(9) is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal.quantile([1.0], 90)
