"""A few outliers, or errors whose tails are heavy throughout? Two likelihoods, compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from resnets.residuals.linear import Floats
from resnets.residuals.normality import student

# By so much must the outliers' model be ahead, and so many standard deviations must the nearest of them lie apart.
# Simulated at 100 cases, this holds for one outlier at eight standard deviations and for two to five at six to ten in
# 95 % of the sets, for errors after Student's t with 2 or 3 degrees of freedom in 4 to 6 %.
_ONE, _SEVERAL = (-1.0, 6.0), (2.0, 5.0)


def apart(out: NDArray[np.bool_], t: Floats) -> bool:
    """Whether normal errors with these outliers [n] are likelier than Student's t for all, and leave a gap.

    `t` [n] are the studentised residuals: a case that draws the fit to itself is seen by how far it lies without it.
    """
    if not out.any():
        return False
    ahead, gap = _ONE if out.sum() == 1 else _SEVERAL
    return advantage(t, out) > ahead and bool(np.abs(t[out]).min() > gap)


def advantage(t: Floats, out: NDArray[np.bool_]) -> float:
    """Log-likelihood of normal errors with outliers, less that of Student's t."""
    errors = t - float(np.median(t))
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
