"""Bootstrap intervals against SciPy's, closed forms, and their own promise: how often they hold the true figure."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from resnets.evaluation.bootstrap import bootstrap, mean_interval, regression_intervals, share_interval


@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal"])
def test_the_interval_of_a_mean_is_scipys_bca(draw: str) -> None:
    values = getattr(np.random.default_rng(4), draw)(size=80)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    width = expected.high - expected.low
    found = mean_interval(values)
    assert found is not None
    assert found == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_the_intervals_of_a_regression_are_scipys_bca() -> None:
    generator = np.random.default_rng(5)
    observed = generator.normal(10, 3, 120)
    fitted = observed + generator.standard_t(5, 120)
    found = regression_intervals(observed, fitted)
    figures = {
        "mae": lambda y, f, axis: np.abs(y - f).mean(axis),
        "rmse": lambda y, f, axis: np.sqrt(((y - f) ** 2).mean(axis)),
        "r2": lambda y, f, axis: 1 - ((y - f) ** 2).mean(axis) / y.var(axis),
    }
    assert figures["r2"](observed, fitted, 0) == pytest.approx(r2_score(observed, fitted))
    for name, figure in figures.items():
        expected = stats.bootstrap(
            (observed, fitted), figure, paired=True, vectorized=True, n_resamples=9999, method="BCa", rng=2
        ).confidence_interval
        width = expected.high - expected.low
        assert found[name] == pytest.approx((expected.low, expected.high), abs=0.07 * width), name
        assert found[name] == regression_intervals(observed, fitted)[name]


def test_what_no_interval_can_be_had_of_is_none() -> None:
    assert mean_interval([3.0]) is None
    assert regression_intervals([1.0], [2.0]) == {"mae": None, "rmse": None, "r2": None}
    flat = regression_intervals([2.0, 2.0, 2.0], [1.0, 2.0, 4.0])  # nothing varies that R² could be a share of
    assert flat["r2"] is None
    assert flat["mae"] is not None


@pytest.mark.parametrize(("right", "n"), [(2741, 3000), (270, 300), (3, 40)])
def test_the_interval_of_a_share_is_that_of_its_zeros_and_ones(right: int, n: int) -> None:
    low, high = share_interval(right, n)
    assert low < right / n < high
    cases = np.r_[np.ones(right), np.zeros(n - right)]
    expected = stats.bootstrap((cases,), np.mean, n_resamples=9999, method="BCa", rng=3, batch=500).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=max(1.01 / n, 0.03 * (high - low)))


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 30), (355, 355)])
def test_where_all_or_none_are_right_the_interval_is_clopper_pearsons(right: int, n: int) -> None:
    expected = stats.binomtest(right, n).proportion_ci(method="exact")
    assert share_interval(right, n) == pytest.approx((expected.low, expected.high))


def test_paired_cases_stay_paired() -> None:
    generator = np.random.default_rng(6)
    hard = generator.exponential(size=400)  # what both networks find hard
    losses = np.stack([hard, hard + generator.normal(0.05, 0.1, 400)], axis=1)
    found = bootstrap(losses, lambda means: means[..., :1] - means[..., 1:])
    low, high = found.intervals()[0] or (0, 0)
    assert high < 0  # although the two intervals overlap nearly whole
    gap = losses[:, 0] - losses[:, 1]
    half = 1.96 * gap.std(ddof=1) / 20
    assert (low, high) == pytest.approx((gap.mean() - half, gap.mean() + half), abs=0.15 * half)
    assert found.p_values()[0] < 0.01
    assert bootstrap(losses - losses.mean(0)).p_values().min() > 0.5


def test_nineteen_of_twenty_intervals_hold_the_true_figure() -> None:
    generator = np.random.default_rng(7)
    held = {"mean": 0, "share": 0, "rmse": 0}
    for _ in range(120):
        values = generator.exponential(size=60)
        low, high = bootstrap(values, resamples=300).intervals()[0] or (0, 0)
        held["mean"] += low <= 1 <= high
        low, high = share_interval(int(generator.binomial(200, 0.9)), 200)
        held["share"] += low <= 0.9 <= high
        low, high = bootstrap(generator.normal(size=60) ** 2, np.sqrt, resamples=300).intervals()[0] or (0, 0)
        held["rmse"] += low <= 1 <= high
    # 95 % of 120 is 114, with a standard deviation of 2.4; bootstrap intervals of 60 skewed values are a little short.
    assert all(104 <= count <= 119 for count in held.values()), held


def test_fifty_thousand_images_take_seconds() -> None:
    values = np.random.default_rng(8).exponential(size=50_000).astype(np.float32)
    began = time.process_time()
    low, high = mean_interval(values) or (0, 0)
    assert time.process_time() - began < 10
    half = 1.96 * values.std() / np.sqrt(50_000)
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)


@pytest.mark.parametrize("runs", [2, 3])
def test_paired_shares_are_counted_as_integers(runs: int) -> None:
    right = np.random.default_rng(6).random((300, runs)) < 0.9
    found = bootstrap(100.0 * right, lambda means: (means[..., 0] - means[..., 1])[..., None])
    gap = int(right[:, 0].sum()) - int(right[:, 1].sum())
    gaps = np.rint(found.replicates[:, 0] * 3).astype(int)  # of 300 images, 100 points
    share = (np.mean(gaps < gap) + np.mean(gaps <= gap)) / 2
    bias, tails = stats.norm.ppf(share), stats.norm.ppf([0.025, 0.975])
    levels = stats.norm.cdf(bias + (bias + tails) / (1 - found.acceleration[0] * (bias + tails)))
    assert found.intervals()[0] == pytest.approx(np.quantile(gaps / 3, levels), abs=1e-9)
    expected = 2 * (min((gaps <= 0).sum(), (gaps >= 0).sum()) + 1) / (len(gaps) + 1)
    assert found.p_values()[0] == min(1, expected)
