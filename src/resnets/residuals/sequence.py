"""Do the errors depend on the ones before? Durbin–Watson, Ljung–Box; errors modelled as autoregressive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats
from statsmodels.stats.stattools import durbin_watson

from resnets.residuals.findings import Test
from resnets.residuals.judging import Judged, judged
from resnets.residuals.linear import Floats, Model, filtered, sequence


def independence(model: Model) -> Judged:
    """Durbin & Watson 1950; Ljung & Box 1978 over the first lag and over ten (fewer with under 50 cases)."""
    errors = model.residuals[sequence(model)]
    errors = errors - errors.mean()
    lags = max(2, min(10, len(errors) // 5))
    rho = autocorrelations(errors, lags)
    # statsmodels' acorr_ljungbox gives the same, in a time that grows with the square of the number of cases.
    box = len(errors) * (len(errors) + 2) * np.cumsum(rho**2 / (len(errors) - np.arange(1, lags + 1)))
    one, all_ = float(stats.chi2.sf(box[0], 1)), float(stats.chi2.sf(box[-1], lags))
    where = "in the given order" if model.data.ordered else "in the order of the rows, for none was given"
    tests = [
        Test("Durbin–Watson", float(durbin_watson(errors)), None, where),
        Test("Ljung–Box", float(box[0]), one, f"lag 1, {where}"),
        Test("Ljung–Box", float(box[-1]), all_, f"lags 1 to {lags}, {where}"),
    ]
    lag = 1 if one <= all_ or abs(rho[0]) >= 0.1 else int(np.argmax(np.abs(rho))) + 1
    words = f"the residuals' autocorrelation at lag {lag}, {where}, is {rho[lag - 1]:+.2f}"
    return judged(
        "independence", "autocorrelation", f"autocorrelation of the residuals at lag {lag}", 2 * min(one, all_),
        float(rho[lag - 1]), tests, words, clue=lag, cases=model.n,
    )  # fmt: skip


def autocorrelations(errors: Floats, lags: int) -> Floats:
    """Of centred residuals, at lags 1 … `lags`."""
    whole = float(errors @ errors)
    return np.array([float(errors[lag:] @ errors[:-lag]) / whole for lag in range(1, lags + 1)])


def model_errors(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedy: autoregressive errors of the lowest order that will do, estimated in turns with the coefficients."""
    longest = max(2, int(found.clue))
    orders = [p for p in (1, 2, 3, 5, 10, longest) if p <= max(longest, 10) and p * 6 < model.n]
    for p in sorted(set(orders)):
        after, phi = _in_turns(model, p)
        words = (
            f"Model the errors as autoregressive of order {p} (Cochrane–Orcutt), each with "
            + ", ".join(f"{value:+.2f} of the error {lag} before" for lag, value in enumerate(phi[:3], 1))
            + (", …" if p > 3 else "")
            + "; or give the model lagged values."
        )
        yield "autoregressive-errors", words, after, {"order": p, "coefficients": [float(value) for value in phi]}


def _in_turns(model: Model, p: int) -> tuple[Model, Floats]:
    """Cochrane & Orcutt 1949: coefficients of the errors (Yule–Walker), then of the model, five times."""
    errors, phi = model.residuals[sequence(model)], np.zeros(p)
    after = model
    for _ in range(5):
        phi = yule_walker(errors, p)
        after = filtered(model, phi)
        # The residuals of the whole fit, before the filter, by the new coefficients.
        whole = model.lift(model.target - after.fitted)
        errors = whole[sequence(model)]
    return after, phi


def yule_walker(errors: Floats, p: int) -> Floats:
    """Coefficients of an autoregression of order p."""
    rho = np.concatenate([[1.0], autocorrelations(errors - errors.mean(), p)])
    places = np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    return np.linalg.solve(rho[places], rho[1:])
