"""Are the errors normal? Shapiro–Wilk or Jarque–Bera; transformations of the target; errors after Student's t."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import special, stats
from scipy.optimize import minimize_scalar
from statsmodels.stats.stattools import jarque_bera

from resnets.residuals.findings import Test
from resnets.residuals.judging import Judged, judged
from resnets.residuals.linear import Floats, Model, orthonormal, standard, with_residuals, with_target
from resnets.residuals.outliers import reweighted

# Shapiro and Wilk's test is used up to here, as SciPy's p-value (Royston 1995) is good up to 5,000 cases.
_SHAPIRO_UP_TO = 5000
_LAMBDA_ROWS = 20_000
_QUANTILES = 2000
_FREEDOMS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 30.0)


def normality(model: Model) -> Judged:
    """Shapiro & Wilk 1965 for up to 5,000 cases, else Jarque & Bera 1980; the effect by skewness and kurtosis.

    Shapiro and Wilk's test has Geary's (1935) beside it, which sees heavy tails that it misses: of the two the smaller
    p-value counts, doubled.
    """
    errors = model.residuals - model.residuals.mean()
    bera, p_bera, skew, kurtosis = (float(value) for value in jarque_bera(errors))
    excess = kurtosis - 3
    if len(errors) <= _SHAPIRO_UP_TO:
        w, p_value = (float(value) for value in stats.shapiro(errors / errors.std()))  # it warns of a tiny range
        # Mean deviation over standard deviation, √(2/π) for normal errors, less with heavy tails.
        ratio = float(np.abs(errors).mean() / errors.std())
        p_geary = float(stats.norm.cdf((ratio - np.sqrt(2 / np.pi)) * np.sqrt(len(errors)) / 0.2123))
        tests = [Test("Shapiro–Wilk", w, p_value), Test("Geary", ratio, p_geary, "against heavy tails")]
        p_value = 2 * min(p_value, p_geary)
    else:
        p_value, tests = p_bera, [Test("Jarque–Bera", bera, p_bera)]
    lean = _lean(errors)
    # With heavy tails the sample's skewness is that of its farthest case: quantiles decide which of the two it is.
    skewed = abs(skew) >= 0.5 and lean * skew > 0 and abs(lean) > 0.15 + 2 / np.sqrt(len(errors))
    if skewed or (abs(skew) >= 0.5 and abs(excess) < 0.8):
        side = "right" if skew > 0 else "left"
        words = f"the residuals' skewness is {skew:+.2f}, with a long tail to the {side}"
        fault, kind, measure, effect = "skewness", "skewness", "skewness of the residuals", skew
    else:
        fault = "heavy tails" if excess >= 0 else "short tails"
        words = f"the residuals' excess kurtosis is {excess:+.2f}, where normal errors have 0"
        words += "; intervals that count on normal errors come out a little too wide" * (excess < 0)
        kind, measure, effect = "excess kurtosis", "excess kurtosis of the residuals", excess
    return judged("normality", kind, measure, p_value, effect, tests, words, fault=fault, clue=fault, cases=model.n)


def _lean(errors: Floats) -> float:
    """Skewness by quantiles (Bowley's with the 5th and 95th percentile), between -1 and 1."""
    low, middle, high = np.quantile(errors, [0.05, 0.5, 0.95])
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def transform(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedies: Box & Cox's transformation (1964) of a positive target, Yeo & Johnson's (2000) of any."""
    if found.clue == "short tails":
        return
    y = model.target
    if y.min() > 0:
        unit = float(np.exp(np.log(y).mean()))
        best = _profile(model, lambda power, part: special.boxcox(part / unit, power), np.log(y / unit))
        for power in dict.fromkeys((_round(best), best)):
            name = {0.0: "its logarithm", 0.5: "its square root", -1.0: "its inverse"}.get(
                power, f"its power {power:.2f}"
            )
            words = f"Transform the target: take {name} (Box–Cox, λ = {power:.2f})."
            after = with_target(model, special.boxcox(y / unit, power))
            yield "box-cox", words, after, {"lambda": power, "scale": unit}
    centre, unit = float(np.median(y)), float(y.std())
    z = (y - centre) / unit
    slope = np.sign(z) * np.log1p(np.abs(z))
    power = _profile(model, lambda power, part: stats.yeojohnson((part - centre) / unit, power), slope)
    words = (
        f"Transform the target by Yeo–Johnson with λ = {power:.2f}, after subtracting {centre:.4g} and dividing by"
        f" {unit:.4g}."
    )
    after = with_target(model, stats.yeojohnson(z, power))
    yield "yeo-johnson", words, after, {"lambda": power, "centre": centre, "scale": unit}


def _round(power: float) -> float:
    """The nearest power that has a name, if it is near."""
    named = min((-1.0, 0.0, 0.5, 2.0), key=lambda value: abs(value - power))
    return named if abs(named - power) < 0.15 else power


def _profile(model: Model, transformed: Callable[[float, Floats], Floats], slope: Floats) -> float:
    """The power with the largest likelihood, with the best coefficients for each (Box & Cox 1964, section 3).

    `slope` is the logarithm of the transformation's derivative for each unit of the power, [N].
    """
    n = len(model.target)
    some = np.arange(n) if n <= _LAMBDA_ROWS else np.linspace(0, n - 1, _LAMBDA_ROWS).astype(int)
    columns = np.column_stack([np.ones(len(some)), *(c[some] for c in map(standard, model.columns.values()))])
    basis, _, _ = orthonormal(columns)
    part, jacobian = model.target[some], float(slope[some].sum())

    def loss(power: float) -> float:
        values = transformed(power, part)
        left = values - basis @ (basis.T @ values)
        return 0.5 * len(some) * np.log(max(float(left @ left), 1e-300)) - power * jacobian

    return float(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-3}).x)


def student_errors(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedy of heavy tails: a fit by maximum likelihood under Student's t, which says so instead of mending it.

    The residuals are examined after the mapping that takes this t distribution to the normal one: they look normal
    exactly if t describes them.
    """
    if found.clue != "heavy tails":
        return
    freedom, scale, _ = student(model.residuals)
    for _ in range(2):
        errors, _ = reweighted(model, _weights(freedom))
        freedom, scale, _ = student(errors)
    mapped = np.sign(errors) * stats.norm.isf(np.maximum(stats.t.sf(np.abs(errors) / scale, freedom), 1e-300)) * scale
    words = (
        f"Fit robustly, with errors after Student's t with {freedom:.3g} degrees of freedom (or Huber's loss), and take"
        " intervals from it: the errors stay heavy-tailed, but the fit no longer counts on their being normal."
    )
    yield "student-t", words, with_residuals(model, mapped, errors), {"degrees_of_freedom": freedom, "scale": scale}


def _weights(freedom: float) -> Callable[[Floats], Floats]:
    """Weights of the likelihood of Student's t, for residuals in normalised median absolute deviations."""
    unit = 0.6745 / float(stats.t.isf(0.25, freedom))
    return lambda t: (freedom + 1) / (freedom + (t / unit) ** 2)


def student(errors: Floats) -> tuple[float, float, float]:
    """Degrees of freedom, scale and mean log-likelihood of Student's t, by maximum likelihood around 0.

    Of many errors 2,000 quantiles stand for all; degrees of freedom are taken from a list of eleven.
    """
    values = errors if len(errors) <= _QUANTILES else np.quantile(errors, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    squares = values**2
    best = (0.0, 1.0, -np.inf)
    scale = max(float(np.median(squares)), 1e-300)
    for freedom in _FREEDOMS:
        for _ in range(25):
            scale = float(np.mean((freedom + 1) * squares / (freedom + squares / scale)))
        likelihood = float(stats.t.logpdf(values / scale**0.5, freedom).mean()) - 0.5 * float(np.log(scale))
        if likelihood > best[2]:
            best = (freedom, scale**0.5, likelihood)
    return best
