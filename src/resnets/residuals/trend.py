"""Do the residuals still follow the very columns of the model? No test of a refitted model can see that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from resnets.residuals.findings import Remedy, Test
from resnets.residuals.judging import LEVELS, Judged, judged
from resnets.residuals.linear import Added, Data, Floats, Model, added, design, formula, model_of

_FAULT = "miscalibrated fit"
_MEASURE = "share of the squared residuals that the model's own columns and constant explain"


def calibration(data: Data) -> Judged:
    """The F test of the residuals on the model's own design: the constant and its predictors, or the fitted value.

    Least squares leaves nothing there on the cases that it was fitted to. Wrong, shrunken or stretched coefficients do,
    and so may new cases (Mincer & Zarnowitz 1969). Judged as linearity is, by the same level and the same effect.
    """
    errors = data.observed - data.fitted
    model = model_of(data)
    look = _explained(data, errors, design(model.columns, len(errors)))
    if look is None:
        return Judged(judged("linearity", "partial R²", _MEASURE, 1.0, 0.0, (), "no residuals").finding)
    name, words, after, details = _remedy(data, model, errors, look)
    again = _explained(data, data.observed - after, design(model.columns, len(errors)))
    still = again is not None and _matters(again)
    remedy = Remedy(
        name, words, not still, again.p_value if again else 1.0, round(again.share, 12) if again else 0.0, details
    )
    before, best = (float(np.sqrt(np.mean(rest**2))) for rest in (errors, data.observed - after))
    words = (
        f"{_followed(data, model, errors)}; that is {look.share:.1%} of their squares, and without it the residuals'"
        f" root mean square would be {best:.4g} instead of {before:.4g}"
    )
    test = Test("F test", look.statistic, look.p_classic, "residuals on the model's own columns and constant")
    found = judged("linearity", "partial R²", _MEASURE, look.p_value, look.share, [test], words, fault=_FAULT)
    return Judged(replace(found.finding, remedy=remedy if found.flagged else None), None, found.severity)


def _matters(look: Added) -> bool:
    return look.p_value < LEVELS["linearity"] and look.share >= 0.02


def _explained(data: Data, errors: Floats, columns: Floats) -> Added | None:
    """What `columns` [n, m] explain of `errors` [n], of which nothing is taken out before, not even the mean."""
    n = len(errors)
    if float(errors @ errors) <= 0:
        return None
    nothing = np.empty((n, 0))
    raw = Model(data, data.observed, {}, np.arange(n), lambda column: column, nothing, errors, data.fitted)
    return added(raw, columns)


def _remedy(data: Data, model: Model, errors: Floats, look: Added) -> tuple[str, str, Floats, dict[str, object]]:
    """A straight line of the fitted value where that does as much as new coefficients; else those."""
    n = len(errors)
    along = _explained(data, errors, design({"fitted": data.fitted}, n))
    if along is not None and along.share > 0.9 * look.share:
        middle = data.fitted.mean()
        slope = 1.0
        if np.ptp(data.fitted) > 0:
            centred = data.fitted - middle
            slope = float(centred @ (data.observed - data.observed.mean()) / (centred @ centred))
        start = float(data.observed.mean() - slope * middle)
        words = (
            f"Recalibrate: take {start:.4g} {'+' if slope >= 0 else '−'} {abs(slope):.4g} · fitted instead of the"
            f" fitted value{'; or train longer, or shrink less' * (slope > 1.02)}."
        )
        return "recalibrate", words, start + slope * data.fitted, {"constant": start, "slope": slope}
    words = "Fit the coefficients of the same columns again, by least squares."
    return "refit", words, model.fitted, {"model": formula(model)}


def _followed(data: Data, model: Model, errors: Floats) -> str:
    """What the residuals follow: the constant, the fitted value, or the columns that matter most."""
    n = len(errors)
    whole, mean = float(errors @ errors), float(errors.mean())
    along = _explained(data, errors - mean, design({"fitted": data.fitted}, n)[:, 1:])
    centred = errors - mean
    rest = centred - (model.target - model.fitted)  # what the columns explain, without the constant
    parts = []
    if n * mean * mean >= 0.02 * whole:
        parts.append(f"the residuals are off by {mean:+.4g} on average")
    share = float(rest @ rest)
    if share >= 0.01 * whole:
        if along is not None and along.share * float(centred @ centred) > 0.9 * share:
            slope = 1 + float(centred @ (data.fitted - data.fitted.mean())) / (n * float(data.fitted.var()))
            what = "lie not far enough from each other" if slope > 1 else "lie too far from each other"
            what = "do not rise with the observed ones" if slope <= 0 else what
            parts.append(f"the fitted values {what}: observed rises by {slope:.3g} for each 1 of fitted")
        else:
            parts.append(f"the residuals still follow {_columns(model.columns, rest, share)}")
    return " and ".join(parts) or "the residuals still follow the model's own columns"


def _columns(columns: Mapping[str, Floats], rest: Floats, share: float) -> str:
    """The columns with which the residuals still rise or fall, by how much, those that explain most first."""
    table = design(columns, len(rest))[:, 1:]
    slopes = np.linalg.lstsq(table, rest, rcond=None)[0]
    ranked = sorted(zip(columns, slopes, strict=True), key=lambda pair: -abs(pair[1]))
    named = [
        f"{name} ({slope / float(columns[name].std()):+.4g} for each 1 of it)"
        for name, slope in ranked[:3]
        if len(rest) * slope * slope >= 0.02 * share
    ]
    return " and ".join(named) or ranked[0][0]
