"""Is the errors' variance the same everywhere? Breusch–Pagan, White; weighting by an estimated variance function."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from resnets.residuals.findings import Test
from resnets.residuals.judging import Judged, judged, untested
from resnets.residuals.linear import PRODUCTS_UP_TO, Floats, Model, knots, orthonormal, spline, standard, weighted

# Squared residuals are clipped here, in robust standard deviations, before a variance function is estimated from them.
_CLIP = 7.0


def equal_variance(model: Model) -> Judged:
    """Breusch & Pagan 1979 in Koenker's (1981) form; White 1980; judged as Glejser 1969 does.

    The verdict takes the same regressions of the residuals' absolute values instead of their squares (the smallest
    p-value, times the number of regressions): what one far case or a heavy tail does to squares is not unequal
    variance, and where normal errors differ much in deviation they see more.
    """
    sizes, looks, tests = np.abs(model.residuals), {}, []
    for name, columns in _regressors(model).items():
        title = "White" if name.startswith("squares") else "Breusch–Pagan"
        statistic, df, p, _ = lagrange(sizes**2, columns)
        if df == 0:
            continue
        tests.append(Test(title, statistic, p, f"squared residuals on {name}"))
        looks[name] = lagrange(sizes, columns)
        tests.append(Test("Glejser", looks[name][0], looks[name][2], f"absolute residuals on {name}"))
    measure = "ratio of the residuals' mean size, quarter of the cases where it is predicted largest to smallest"
    if not looks:
        return untested("equal-variance", measure, "Not tested: there is nothing on which the variance could depend.")
    best = min(looks, key=lambda name: (looks[name][2], -looks[name][0]))
    _, _, p_value, predicted = looks[best]
    ratio = spread(sizes, predicted)
    words = (
        f"sorted by the size to expect from the {best}, the residuals of the upper quarter of the cases are on average"
        f" {ratio:.2f} times as large as those of the lower quarter"
    )
    return judged(
        "equal-variance", "ratio of sizes", measure, p_value * len(looks), ratio, tests, words, clue=best, cases=model.n
    )


def _regressors(model: Model) -> dict[str, Floats]:
    """What the squared residuals are regressed on, each [n, m] with a constant."""
    data, rows = model.data, model.rows
    one = np.ones(model.n)
    columns = [standard(column[rows]) for column in data.predictors.values()]
    f = standard(model.fitted[rows])
    found = {}
    if columns:
        found["predictors"] = np.column_stack([one, *columns])
    if np.ptp(f) > 0 and not (len(columns) == 1 and abs(float(f @ columns[0])) / model.n > 0.999):
        found["fitted values"] = np.column_stack([one, f])
    if 1 <= len(columns) <= PRODUCTS_UP_TO:
        pairs = [columns[i] * columns[j] for i in range(len(columns)) for j in range(i, len(columns))]
        white = np.column_stack([one, *columns, *pairs])
        if white.shape[1] * 5 <= model.n:
            found["squares and products of predictors"] = white
    if not any(name.startswith("squares") for name in found) and np.ptp(f) > 0:
        found["squares of fitted values"] = np.column_stack([one, f, f * f])
    if data.order is not None:
        place = np.empty(len(data.order))
        place[data.order] = np.arange(len(data.order))
        found["place in the order"] = np.column_stack([one, standard(place[rows])])
    if others := _unused(model):
        found["unused columns"] = np.column_stack([one, *others.values()])
    return found


def _unused(model: Model) -> dict[str, Floats]:
    """The unused columns that the model still lacks, [n] each; none where they are too many for the cases."""
    columns = {name: c[model.rows] for name, c in model.data.unused.items() if name not in model.columns}
    columns = {name: standard(column) for name, column in columns.items() if np.ptp(column) > 0}
    return columns if (len(columns) + 1) * 8 <= model.n else {}


def lagrange(values: Floats, columns: Floats) -> tuple[float, int, float, Floats]:
    """Koenker's n R² of regressing `values` [n] on `columns` [n, m], degrees of freedom, p-value; predictions [n]."""
    basis, _, kept = orthonormal(columns)
    predicted = basis @ (basis.T @ values)
    centred = values - values.mean()
    whole = float(centred @ centred)
    rest = values - predicted
    statistic = len(values) * max(0.0, 1 - float(rest @ rest) / whole) if whole > 0 else 0.0
    df = len(kept) - 1
    return statistic, df, float(stats.chi2.sf(statistic, df)) if df else 1.0, predicted


def spread(sizes: Floats, predicted: Floats) -> float:
    """Ratio of the mean of `sizes` in the upper quarter of `predicted` to that in the lower quarter."""
    ranked, quarter = np.argsort(predicted, kind="stable"), max(2, len(sizes) // 4)
    low, high = (float(np.mean(sizes[part])) for part in (ranked[:quarter], ranked[-quarter:]))
    return high / low if low > 0 else float("inf")


def weight(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedies: weighted least squares, by variance functions from the simplest to the most supple."""
    for name, terms in _functions(model).items():
        columns = np.column_stack([np.ones(model.n), *(column for _, column in terms)])
        if columns.shape[1] * 8 > model.n:
            continue
        now, deviation, coefficients = model, np.ones(model.n), np.zeros(columns.shape[1])
        for _ in range(3):
            coefficients = _log_variance(now.residuals * deviation, columns)
            deviation = _deviation(columns, coefficients)
            now = weighted(model, deviation)
        low, high = (float(v) for v in np.quantile(deviation, [0.1, 0.9]))
        words = (
            f"Weight every case by the inverse of its variance, estimated from {name}; the standard deviation runs from"
            f" {low:.3g} (lower tenth) to {high:.3g} (upper tenth)."
        )
        details: dict[str, object] = {
            "from": name, "deviation_low": low, "deviation_high": high,
            "log_variance": {
                "constant": float(coefficients[0]),
                "terms": [
                    {**told, "coefficient": float(value)}
                    for (told, _), value in zip(terms, coefficients[1:], strict=True)
                ],
            },
        }  # fmt: skip
        yield "weighting", words, now, details


def _functions(model: Model) -> dict[str, list[tuple[dict[str, object], Floats]]]:
    """Candidate functions for the logarithm of the variance: their terms, each told and as a column [n]."""
    data, rows = model.data, model.rows
    functions: dict[str, list[tuple[dict[str, object], Floats]]] = {}
    columns = {name: column[rows] for name, column in data.predictors.items()}
    f = model.fitted[rows]
    if np.ptp(f) > 0:
        functions["the fitted value"] = _powers("fitted", f, 1)
    if columns:
        functions["the predictors"] = [term for name, x in columns.items() for term in _powers(name, x, 1)]
    if np.ptp(f) > 0:
        functions["the fitted value and its square"] = _powers("fitted", f, 2)
        functions["a spline of the fitted value"] = _bent("fitted", f)
    if columns:
        functions["the predictors and their squares"] = [
            term for name, x in columns.items() for term in _powers(name, x, 2)
        ]
        # A deviation in proportion to a power of |x|.
        raw = {name: np.abs(column[rows]) / float(column.std()) for name, column in data.predictors.items()}
        functions["the logarithms of the predictors' absolute values"] = [
            ({"term": f"log(|{name}| / scale + 0.01)", "scale": float(data.predictors[name].std())}, np.log(x + 0.01))
            for name, x in raw.items()
        ]
        functions["splines of the predictors"] = [term for name, x in columns.items() for term in _bent(name, x)]
    if data.order is not None:
        place = np.empty(len(data.order))
        place[data.order] = np.arange(len(data.order))
        functions["the order"] = _powers("place", place[rows], 2)
    if others := _unused(model):
        raw = {name: data.unused[name][rows] for name in others}
        functions["the unused columns"] = [term for name, x in raw.items() for term in _powers(name, x, 1)]
        functions["the unused columns and their squares"] = [
            term for name, x in raw.items() for term in _powers(name, x, 2)
        ]
    return functions


def _powers(name: str, column: Floats, highest: int) -> list[tuple[dict[str, object], Floats]]:
    x, told = standard(column), {"mean": float(column.mean()), "sd": float(column.std())}
    terms: list[tuple[dict[str, object], Floats]] = [({"term": f"({name} - mean) / sd", **told}, x)]
    return terms + [({"term": f"the square of ({name} - mean) / sd", **told}, x * x)] * (highest > 1)


def _bent(name: str, column: Floats) -> list[tuple[dict[str, object], Floats]]:
    curves = spline(column)
    told = {"mean": float(column.mean()), "sd": float(column.std()), "knots": knots(column)}
    return _powers(name, column, 1) + [
        ({"term": f"part {m + 1} of the restricted cubic spline of ({name} - mean) / sd", **told}, curves[:, m])
        for m in range(curves.shape[1])
    ]


def _log_variance(errors: Floats, columns: Floats) -> Floats:
    """Coefficients of log variance on `columns`: a gamma regression of squared errors (Harvey 1976), Fisher scoring."""
    scale = max(float(np.median(np.abs(errors))) / 0.6745, 1e-300)
    squares = np.clip(errors / scale, -_CLIP, _CLIP) ** 2
    inverse = np.linalg.pinv(columns)
    coefficients = np.zeros(columns.shape[1])
    coefficients[0] = np.log(squares.mean())
    for _ in range(30):
        step = inverse @ (squares * np.exp(np.clip(-columns @ coefficients, -30, 30)) - 1)
        longest = float(np.abs(step).max())
        coefficients = coefficients + step * min(1.0, 1.0 / max(longest, 1e-300))
        if longest < 1e-5:
            break
    coefficients[0] += 2 * np.log(scale)
    return coefficients


def _deviation(columns: Floats, coefficients: Floats) -> Floats:
    half = columns @ coefficients / 2
    middle = float(np.median(half))
    # A weight a million times another's rests on nothing that was seen.
    return np.exp(np.clip(half, middle - 4.0, middle + 4.0))
