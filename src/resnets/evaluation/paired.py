"""Whether two runs differ, tested on the same cases: McNemar's test, the paired bootstrap, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnets.evaluation.bootstrap import Floats, Interval, bootstrap

ALPHA = 0.05
TESTS = {True: "McNemar's exact test", False: "paired bootstrap"}


@dataclass(frozen=True)
class Figure:
    """One figure of each of R runs on the same n cases.

    Attributes:
        name: what it is called: `top-1`, `loss`, `RMSE of price`.
        unit: of a difference.
        higher: whether more is better.
        digits: decimals that are shown; None: four digits that count.
        cases: float64 [n, R], one number of each case and run; the figure is the mean of a run's column.
        root: the figure is the square root of that mean.
        shares: the numbers are 0 and 100, wrong and right, which McNemar's test takes.
    """

    name: str
    unit: str
    higher: bool
    digits: int | None
    cases: Floats
    root: bool = False
    shares: bool = False

    def shown(self, value: float) -> str:
        """A value in words, without its unit."""
        return f"{value:.4g}" if self.digits is None else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Difference:
    """One figure of two runs on the same cases.

    Attributes:
        figure: its name.
        unit: of `difference` and `interval`.
        first: a run.
        second: another run.
        difference: the first run's figure less the second's.
        interval: its 95 % interval by the paired bootstrap (BCa); None for a single case.
        p_value: of there being no difference: `test` says by which test.
        adjusted: the same by Holm's method over all pairs of runs.
        test: the test.
        only_right: of top-1, the cases that only the first run gets right, and those that only the second does.
        better: the run that is shown to be better; None if no difference is shown: that takes an adjusted p-value below
            0.05 and an interval without zero.
        words: all this in a sentence.
    """

    figure: str
    unit: str
    first: str
    second: str
    difference: float
    interval: Interval | None
    p_value: float
    adjusted: float
    test: str
    only_right: tuple[int, int] | None
    better: str | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "figure": self.figure, "unit": self.unit, "first": self.first, "second": self.second,
            "difference": self.difference, "interval": list(self.interval) if self.interval else None,
            "p_value": self.p_value, "adjusted": self.adjusted, "test": self.test,
            "only_right": list(self.only_right) if self.only_right else None, "better": self.better,
            "words": self.words,
        }  # fmt: skip


def differences(figure: Figure, runs: Sequence[str]) -> list[Difference]:
    """Compare every pair of runs by one figure.

    Args:
        figure: of R runs.
        runs: their R names.
    """
    pairs = list(combinations(range(len(runs)), 2))
    left, right = np.array(pairs).T

    def gaps(means: Floats) -> Floats:
        values = np.sqrt(means) if figure.root else means
        gap: Floats = values[..., left] - values[..., right]
        return gap

    estimate = gaps(figure.cases.mean(0))
    resampled = bootstrap(figure.cases, gaps) if len(figure.cases) > 1 else None
    intervals = resampled.intervals() if resampled else [None] * len(pairs)
    counts: list[tuple[int, int] | None] = [None] * len(pairs)
    if figure.shares:
        hits = figure.cases > 0
        counts = [(_only(hits, a, b), _only(hits, b, a)) for a, b in pairs]
        p_values = np.array([mcnemar(*count) for count in counts if count])
    else:
        p_values = resampled.p_values() if resampled else np.ones(len(pairs))
    found = []
    for index, (adjusted, (a, b)) in enumerate(zip(holm(p_values), pairs, strict=True)):
        gap, ends = float(estimate[index]), intervals[index]
        shown = adjusted < ALPHA and ends is not None and (ends[0] > 0 or ends[1] < 0)
        better = (runs[a] if (gap > 0) == figure.higher else runs[b]) if shown else None
        found.append(
            Difference(
                figure.name, figure.unit, runs[a], runs[b], gap, ends, float(p_values[index]), float(adjusted),
                TESTS[figure.shares], counts[index], better,
                _words(figure, runs[a], runs[b], gap, ends, float(adjusted), better, len(pairs)),
            )
        )  # fmt: skip
    return found


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value of McNemar's test (Psychometrika 12:153-157, 1947).

    Of the cases that one of two runs gets right and the other wrong, either is as likely if the runs are equally good.
    It is the exact binomial test however many there are, so no approximation has to be good enough.
    """
    if first_only + second_only == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(first_only, first_only + second_only).pvalue)


def holm(p_values: ArrayLike) -> Floats:
    """p-values [m] of m tests, so adjusted that a false finding among all is rare (Scand. J. Stat. 6:65-70, 1979)."""
    found = np.asarray(p_values, np.float64)
    order = np.argsort(found, kind="stable")
    steps = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


def _only(hits: NDArray[np.bool_], one: int, other: int) -> int:
    return int((hits[:, one] & ~hits[:, other]).sum())


def _words(
    figure: Figure, first: str, second: str, gap: float, ends: Interval | None, p_value: float, better: str | None,
    pairs: int,
) -> str:  # fmt: skip
    unit = f" {figure.unit}" if figure.unit else ""
    chance = f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"
    test = f"{TESTS[figure.shares]}, {chance}{' after Holm' if pairs > 1 else ''}"
    if better is None:
        between = f", 95 % interval {figure.shown(ends[0])} to {figure.shown(ends[1])}" if ends else ""
        return (
            f"{figure.name}: no difference shown between {first} and {second}"
            f" ({figure.shown(gap)}{unit}{between}; {test})."
        )
    assert ends is not None
    low, high = sorted(abs(end) for end in ends)
    other = second if better == first else first
    return (
        f"{figure.name}: {better} is better than {other} by {figure.shown(abs(gap))}{unit}"
        f" ({figure.shown(low)} to {figure.shown(high)}; {test})."
    )
