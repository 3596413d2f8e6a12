"""Whether the residuals rise or fall with the fitted value: the one fault that no test of a refitted model can see."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_EFFECT = 0.02  # R² from which on it is told: a small effect (Cohen 1988, section 9.2)
_LEVEL = 0.003  # of the test: as strict as the others of a residual analysis


def told_of_trend(observed: NDArray[np.float64], fitted: NDArray[np.float64]) -> str | None:
    """Return a sentence if observed = a + b · fitted with a b that is not 1, else None.

    Least squares makes b 1 on the cases that it was fitted to; a network, a shrunken fit or new cases may have another
    (Mincer and Zarnowitz, 1969). Both the effect (R² of the residuals on the fitted value) and the p-value must speak.

    Args:
        observed: float64 [n].
        fitted: float64 [n].
    """
    if len(observed) < 4 or np.ptp(fitted) == 0 or np.ptp(observed - fitted) == 0:
        return None
    from scipy.stats import linregress, t

    line = linregress(fitted, observed - fitted)
    if not (line.pvalue < _LEVEL and line.rvalue**2 >= _EFFECT):
        return None
    slope, half = 1 + line.slope, float(t.ppf(0.975, len(observed) - 2)) * line.stderr
    before = math.sqrt(float(((observed - fitted) ** 2).mean()))
    after = math.sqrt(float(((observed - slope * fitted - line.intercept) ** 2).mean()))
    what = "lie not far enough from each other" if slope > 1 else "lie too far from each other"
    if slope <= 0:
        what = "do not rise with the observed ones"
    sign = "+" if slope >= 0 else "−"
    p_value = "< 0.0001" if line.pvalue < 1e-4 else f"= {line.pvalue:.4f}"
    return (
        f"The fitted values {what}: observed ≈ {line.intercept:.4g} {sign} {abs(slope):.3f} · fitted (95 % interval of"
        f" the slope {slope - half:.3f} to {slope + half:.3f}, p {p_value}). Corrected by this line, the root mean"
        f" squared residual would be {after:.4g} instead of {before:.4g}. The verdicts are of what is left after it."
    )
