"""Intervals of figures by the bootstrap: how far a figure would move had other cases of the same kind been drawn.

Every figure here is a function of means over the cases, so a resample is a vector of means. Intervals are BCa
(Efron, "Better bootstrap confidence intervals", JASA 82:171-185, 1987), which are right for skewed figures too. All is
seeded: the same cases give the same interval. Needs NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
RESAMPLES = (2000, 5000)  # at least and at most: fewer of many cases, where the same time is spent
_KINDS = 16  # with so few different cases, how often each is drawn is one multinomial draw
_TIED = 1e-9  # of the replicates' spread: what is equal but for the rounding of sums
_NORMAL = NormalDist()

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Resampled:
    """Figures of a set of cases, and the same figures of resamples of it.

    Attributes:
        estimate: float64 [m], of the cases as they are.
        replicates: float64 [resamples, m].
        acceleration: float64 [m], by the jackknife: how the spread of a figure changes with its value.
    """

    estimate: Floats
    replicates: Floats
    acceleration: Floats

    def intervals(self, level: float = LEVEL) -> list[Interval | None]:
        """The BCa interval of each figure; None for one that is not finite."""
        return [
            bca(self.replicates[:, k], float(self.estimate[k]), float(self.acceleration[k]), level=level)
            for k in range(len(self.estimate))
        ]

    def p_values(self) -> Floats:
        """Of each figure, float64 [m]: two-sided p-value of being zero; the smallest is 2 in `resamples` + 1."""
        zero = _TIED * (self.replicates.max(0) - self.replicates.min(0))
        below, above = (self.replicates <= zero).sum(0), (self.replicates >= -zero).sum(0)
        return np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (len(self.replicates) + 1))


def bootstrap(
    cases: ArrayLike,
    statistic: Callable[[Floats], Floats] = lambda means: means,
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> Resampled:
    """Resample cases with replacement; memory is that of a few copies of the cases.

    Args:
        cases: [n] or [n, k], n at least 2: k numbers of each case. What belongs together (two networks on one image)
            stands in one row, and so stays paired.
        statistic: from the means of the columns, float64 [..., k], to figures, float64 [..., m].
        resamples: how many; by default 5,000, and down to 2,000 from 10,000 cases on.
        seed: of the draws.
    """
    rows = np.asarray(cases, np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    n = len(rows)
    if n < 2:
        raise ValueError("one case has no spread to resample")
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have no spread where R² needs one
        estimate = statistic(rows.mean(0))
        replicates = statistic(
            _means(
                rows, resamples or min(max(RESAMPLES[0], 20_000_000 // n), RESAMPLES[1]), np.random.default_rng(seed)
            )
        )
        without = statistic((rows.sum(0) - rows) / (n - 1))
        offsets = without.mean(0) - without
        spread = (offsets**2).sum(0)
        acceleration = np.where(spread > 0, (offsets**3).sum(0) / (6 * spread**1.5), 0.0)
    return Resampled(estimate, replicates, acceleration)


def bca(replicates: Floats, estimate: float, acceleration: float, *, level: float = LEVEL) -> Interval | None:
    """The interval that replicates of one figure give; None where too few are finite.

    Args:
        replicates: float64 [resamples].
        estimate: the figure itself.
        acceleration: of the figure.
        level: share of such intervals that hold the true figure.
    """
    finite = replicates[np.isfinite(replicates)]
    if not math.isfinite(estimate) or 2 * len(finite) < len(replicates) or not len(finite):
        return None
    tied = _TIED * (finite.max() - finite.min())
    share = (np.mean(finite < estimate - tied) + np.mean(finite <= estimate + tied)) / 2
    tails = [(1 - level) / 2, (1 + level) / 2]
    if 0 < share < 1 and math.isfinite(acceleration):
        bias = _NORMAL.inv_cdf(float(share))
        points = [bias + _NORMAL.inv_cdf(tail) for tail in tails]
        if all(acceleration * point < 1 for point in points):
            tails = [_NORMAL.cdf(bias + point / (1 - acceleration * point)) for point in points]
    low, high = np.quantile(finite, tails)
    return float(low), float(high)


def mean_interval(values: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval | None:
    """The interval of a mean of [n] values, whatever their order; None for fewer than two of them."""
    found = np.sort(np.asarray(values, np.float64))
    return bootstrap(found, seed=seed).intervals(level)[0] if len(found) > 1 else None


def share_interval(right: int, n: int, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """The interval of a share, in [0, 1]: `right` of `n` cases, n at least 1.

    The bootstrap of a share is a binomial distribution, which is drawn from directly. Where all or none are right there
    is nothing to resample: then it is the exact interval of Clopper and Pearson (Biometrika 26:404-413, 1934).
    """
    share = right / n
    if right in (0, n):
        beyond = float(((1 - level) / 2) ** (1 / n))
        return (beyond, 1.0) if right else (0.0, 1 - beyond)
    replicates = np.random.default_rng(seed).binomial(n, share, 20_000) / n
    found = bca(replicates, share, (1 - 2 * share) / (6 * math.sqrt(n * share * (1 - share))), level=level)
    assert found is not None
    return found


def regression_intervals(
    observed: ArrayLike, fitted: ArrayLike, *, level: float = LEVEL, seed: int = 0
) -> dict[str, Interval | None]:
    """The intervals of MAE, RMSE and R² of [n] observed and fitted values, by `mae`, `rmse` and `r2`.

    None for each with fewer than two cases, and for an R² that is not defined since all observed values are equal.
    """
    truth, said = np.asarray(observed, np.float64), np.asarray(fitted, np.float64)
    order = np.lexsort((said, truth))  # so that it is the same in whatever order the cases come
    truth, error = truth[order], (truth - said)[order]
    if len(truth) < 2:
        return {"mae": None, "rmse": None, "r2": None}
    centred = truth - truth.mean()  # R² is the same, and its sum of squares keeps its digits
    cases = np.stack([np.abs(error), error**2, centred, centred**2], axis=1)

    def figures(means: Floats) -> Floats:
        absolute, squared, first, second = np.moveaxis(means, -1, 0)
        return np.stack([absolute, np.sqrt(squared), 1 - squared / (second - first**2)], axis=-1)

    found = bootstrap(cases, figures, seed=seed).intervals(level)
    return dict(zip(("mae", "rmse", "r2"), found, strict=True))


def _means(rows: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """float64 [resamples, k]: means over n cases drawn with replacement from [n, k]."""
    n = len(rows)
    if len(np.unique(rows[:256], axis=0)) <= _KINDS:
        kinds, counts = np.unique(rows, axis=0, return_counts=True)
        if len(kinds) <= _KINDS:
            drawn: Floats = generator.multinomial(n, counts / n, resamples) @ kinds / n
            return drawn
    means = np.empty((resamples, rows.shape[1]))
    for index in range(resamples):  # one at a time: counts of n cases stay in the processor's cache
        means[index] = np.bincount(generator.integers(0, n, n), minlength=n) @ rows / n
    return means
