"""From values per seed to a finding: confidence intervals, effect sizes, verdicts.

The same seed gives the same split and the same order of images to every case, so cases are compared seed by seed
(paired), which takes the luck of the split out of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from resnets.studies.numbers import number
from resnets.studies.study import Finding

LEVEL = 0.95


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float] | None:
    """Mean and Student's t interval of the mean; None with fewer than two values, or one that is not finite.

    Values that are all equal, but for rounding, give an interval of no width: they are what they are.
    """
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        return None
    if math.isclose(min(values), max(values), rel_tol=1e-9, abs_tol=1e-12):
        return float(values[0]), float(values[0]), float(values[0])
    from scipy import stats

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * spread / math.sqrt(n)
    return mean, mean - half, mean + half


def differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Seed by seed, `first` minus `second`."""
    return [a - b for a, b in zip(first, second, strict=True)]


def finding(
    claim: str, values: Sequence[float], *, unit: str, above: float = 0.0, positive: bool = True, paper: str = "",
    of: str = "seeds",
) -> Finding:  # fmt: skip
    """Judge the claim that the mean of `values` lies above (not `positive`: below) the boundary `above`.

    Args:
        claim: as a sentence, without a full stop.
        values: one a seed: differences, or differences of differences. One that is not finite, of a run that diverged,
            leaves the claim undecided: to judge by the others would be to select the runs that survived.
        unit: of the values.
        above: the boundary; 0 for a difference.
        positive: whether the claim says above.
        paper: what the paper reports.
        of: what the values are one of each.
    """
    values = [float(value) for value in values]
    n, lost = len(values), sum(not math.isfinite(value) for value in values)
    found = interval(values)
    if found is None:
        effect = values[0] if n == 1 and not lost else math.nan
        words = f"Not decided: one value ({number(effect, signed=True)} {unit}) has no spread; take more {of}."
        if not n or lost:
            why = f"{lost} of {n} {of} diverged or have no value" if n else "no value"
            words = f"Not decided: {why}: {claim}."
        return Finding(claim, "not shown", effect, None, None, unit, n, None, words, paper)
    mean, low, high = found
    size = (mean - above) / float(np.std(values, ddof=1)) if low < high else None
    side = 1 if low > above else -1 if high < above else 0
    shown = "not shown" if side == 0 else "shown" if (side > 0) == positive else "opposite"
    shown_mean, shown_low, shown_high = (number(value, signed=True) for value in (mean, low, high))
    figures = f"{shown_mean} {unit}, 95 % interval {shown_low} to {shown_high}, n = {n} {of}"
    holds = f"the interval holds {above:g}"
    if size is not None:
        figures += f", effect size d = {number(size, signed=True)}"
    else:
        figures = f"{shown_mean} {unit}, all n = {n} {of} alike, so there is no spread to take an interval from"
        holds = f"that is {above:g} itself"
    said = {
        "shown": f"Shown: {claim} ({figures}).",
        "opposite": f"The opposite is shown: it is not so that {_lower(claim)} ({figures}).",
        "not shown": f"Not shown at this scale: {claim} ({figures}; {holds}).",
    }
    return Finding(claim, shown, mean, low, high, unit, n, size, said[shown], paper)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
