"""A few outliers, or errors whose tails are heavy throughout? Two likelihoods, compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from resnets.residuals.linear import Floats, Model
from resnets.residuals.normality import student

# By so much must the outliers' model be ahead, and so many standard deviations must the nearest of them lie apart.
# Simulated at 100 cases, this holds for two to five outliers at six to ten standard deviations in 95 % of the sets, for
# errors after Student's t with 2 or 3 degrees of freedom in 5 %.
_AHEAD, _APART = 2.5, 5.0


def apart(model: Model, out: NDArray[np.bool_], t: Floats) -> bool:
    """Whether normal errors with these outliers [n] are likelier than Student's t for all, and leave a gap.

    `t` [n] are the studentised residuals.
    """
    return advantage(model, out) > _AHEAD and bool(np.abs(t[out]).min() > _APART)


def advantage(model: Model, out: NDArray[np.bool_]) -> float:
    """Log-likelihood of normal errors with outliers, less that of Student's t."""
    errors = model.residuals - float(np.median(model.residuals))
    n, k = len(errors), int(out.sum())
    if k == 0 or k > 0.2 * n:
        return -np.inf
    inside, outside = errors[~out], np.abs(errors[out])
    scale = float(inside.std())
    share = k / n
    low, high = 4.0 * scale, max(float(outside.max()), 5.0 * scale)
    normal = (n - k) * (np.log1p(-share) - np.log(scale) - 0.5 * np.log(2 * np.pi)) - 0.5 * float(
        inside @ inside
    ) / scale**2
    wide = k * (np.log(share) - np.log(2 * (high - low)))
    freedom, unit, _ = student(errors)
    # Of all errors: the quantiles by which t was fitted to many leave out the farthest.
    heavy = float(stats.t.logpdf(errors / unit, freedom).sum()) - n * np.log(unit)
    return float(normal + wide - heavy)
