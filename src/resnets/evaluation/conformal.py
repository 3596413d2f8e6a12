"""Prediction intervals by split conformal calibration, which hold whatever the network and the noise are.

Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for Regression", 1604.04173:
algorithm 2 (split conformal), section 5.2 (locally weighted: residuals in units of a predicted scale). Of new cases
like those of the calibration set, which the network was not fitted to, at least `level` lie inside. NumPy alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resnets.errors import counted

LEVEL = 0.9

Floats = NDArray[np.float64]


def scores(observed: ArrayLike, fitted: ArrayLike, scale: ArrayLike | None = None) -> Floats:
    """How far each fitted value is off: |observed - fitted|, of a predicted scale (> 0) where one is given.

    All have the same shape, [n] or [n, T].
    """
    off = np.abs(np.asarray(observed, np.float64) - np.asarray(fitted, np.float64))
    return off if scale is None else off / np.asarray(scale, np.float64)


def quantile(scores: ArrayLike, level: float = LEVEL) -> Floats:
    """The score that a new case stays below with probability `level` or more: a finite-sample quantile.

    It is the ceil((n + 1) · level)-th smallest of n scores, and infinite where there is none: with fewer than
    `fewest(level)` cases only an infinite interval is sure to hold.

    Args:
        scores: [n] or [n, T], of cases that the network was not fitted to.
        level: between 0 and 1.

    Returns:
        float64 [] or [T].
    """
    found = np.asarray(scores, np.float64)
    rank = _rank(len(found), level)
    if rank > len(found):
        return np.full(found.shape[1:], np.inf)
    return np.asarray(np.partition(found, rank - 1, axis=0)[rank - 1])


def interval(fitted: ArrayLike, width: ArrayLike, scale: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Lower and upper end, as float64 of the shape of `fitted`, [n] or [n, T].

    Args:
        fitted: the values predicted.
        width: what `quantile` gave, [] or [T].
        scale: what the scores were taken in units of, like `fitted`.
    """
    middle = np.asarray(fitted, np.float64)
    half = np.asarray(width, np.float64) * (1.0 if scale is None else np.asarray(scale, np.float64))
    return middle - half, middle + half


def coverage(observed: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """The share of cases inside their interval, ends included: float64 [] or [T] of [n] or [n, T]."""
    truth = np.asarray(observed, np.float64)
    inside = (truth >= np.asarray(low, np.float64)) & (truth <= np.asarray(high, np.float64))
    return np.asarray(inside.mean(0))


def fewest(level: float = LEVEL) -> int:
    """The fewest calibration cases that give a finite interval: 9 for 90 %, 19 for 95 %."""
    n = max(1, math.floor(level / (1 - level)) - 1)
    while _rank(n, level) > n:
        n += 1
    return n


def shortage(n: int, level: float = LEVEL) -> str | None:
    """What to say where n calibration cases are too few for a finite interval; None where they are enough."""
    if _rank(n, level) <= n:
        return None
    verb = "is" if n == 1 else "are"
    return (
        f"{counted(n, 'validation case')} {verb} too few for {100 * level:g} % prediction intervals, which are infinite"
        f" now: {fewest(level)} or more are needed"
    )


def _rank(n: int, level: float) -> int:
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level:g}")
    return math.ceil((n + 1) * level - 1e-9)  # 0.9 is not quite nine tenths in binary
