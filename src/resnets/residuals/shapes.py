"""The terms that can be added to a bent model: powers, logarithm, exponential, step, products and splines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from resnets.residuals.linear import KNOTS, PRODUCTS_UP_TO, Floats, Model, knots, spline, standard

# Knots at these quantiles (Harrell 2015, table 2.3, and a finer one), and the cases from which they are tried.
_SPLINES = {
    "spline": (KNOTS, 0),
    "finer": ((0.025, 0.1833, 0.3417, 0.5, 0.6583, 0.8167, 0.975), 60),
    "finest": ((0.01, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 0.99), 90),
}
_RATES = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # of exponentials, for each standard deviation of the column
_SPLITS = np.linspace(0.05, 0.95, 37)  # quantiles at which a step is tried first
_SOME = 400  # and values between two of them, after that


def candidates(model: Model, kinds: tuple[str, ...]) -> dict[str, tuple[dict[str, object], Floats]]:
    """Terms of every predictor, or of the fitted value without one: how each is made, and its columns [N, m]."""
    data, terms = model.data, dict[str, tuple[dict[str, object], Floats]]()
    variables = dict(data.predictors) if data.linear else {"the fitted value": data.fitted, **data.predictors}
    for name, raw in variables.items():
        x, many = standard(raw), levels(raw)
        told: dict[str, object] = {"of": name, "mean": float(raw.mean()), "sd": float(raw.std())}
        if many > 2:
            terms |= {term: (told | more, column[:, None]) for term, more, column in _plain(name, raw, x, kinds)}
        if many > 6 and "step" in kinds and (step := _step(model, x)) is not None:
            at = float(raw.mean() + step * raw.std())
            terms[f"a step of {name} above {at:.4g}"] = ({"of": name, "above": at}, (x > step).astype(float)[:, None])
        for kind, (places, least) in _SPLINES.items():
            if kind in kinds and many > max(6, 2 * len(places) * (least > 0)) and model.n >= least:
                finer = f" with {len(places)} knots" if least else ""
                terms[f"a spline of {name}{finer}"] = (told | {"knots": knots(raw, places)}, spline(raw, places))
        if not data.linear and name in data.predictors:
            terms[f"{name} itself"] = (told, x[:, None])
    if "product" in kinds and data.linear and 2 <= len(variables) <= PRODUCTS_UP_TO:
        for one, other in combinations(variables, 2):
            column = standard(variables[one]) * standard(variables[other])
            terms[f"{one} times {other}"] = (_both(variables, one, other), column[:, None])
    return terms


def _both(variables: Mapping[str, Floats], one: str, other: str) -> dict[str, object]:
    return {name: {"mean": float(variables[name].mean()), "sd": float(variables[name].std())} for name in (one, other)}


def _plain(name: str, raw: Floats, x: Floats, kinds: tuple[str, ...]) -> list[tuple[str, dict[str, object], Floats]]:
    """Terms of one column, [N] each: powers of the standardised one, logarithm, exponentials."""
    terms: list[tuple[str, dict[str, object], Floats]] = []
    if "square" in kinds:
        terms.append((f"the square of {name}", {"power": 2}, x * x))
    if "cube" in kinds:
        terms.append((f"the cube of {name}", {"power": 3}, x**3))
    if "log" in kinds and raw.min() > 0:
        terms.append((f"the logarithm of {name}", {"function": "log"}, standard(np.log(raw))))
    if "exponential" in kinds:
        spread = float(raw.std())
        terms += [
            (
                f"the exponential of {name} times {rate / spread:.4g}",
                {"rate": rate / spread},
                standard(np.exp(rate * x)),
            )
            for rate in _RATES
            if float(np.abs(rate * x).max()) < 30
        ]
    return terms


def _step(model: Model, x: Floats) -> float | None:
    """Above which value of `x` [N] a step explains most of the residuals: 37 quantiles, then values around the best."""
    best = _best_split(model, x, np.unique(np.quantile(x, _SPLITS)))
    if best is None:
        return None
    low, split, high = best
    between = np.unique(x[(x >= low) & (x <= high)])
    if len(between) > _SOME:
        between = between[np.linspace(0, len(between) - 1, _SOME).astype(int)]
    rest = model.residuals
    seen = x[model.rows]
    sums = np.array([float(rest[seen > value].sum()) for value in between])
    above = np.array([int((seen > value).sum()) for value in between])
    inside = (above > 0) & (above < len(seen))
    if not inside.any():
        return split
    gain = np.where(inside, sums**2 / np.maximum(above * (len(seen) - above), 1), 0.0)
    return float(between[int(np.argmax(gain))])


def _best_split(model: Model, x: Floats, splits: Floats) -> tuple[float, float, float] | None:
    """The split that explains most, between its two neighbours; all are lifted and seen beside the model's design."""
    steps = (x[:, None] > splits).astype(float)
    lifted = model.lift(steps)
    left = lifted - model.basis @ (model.basis.T @ lifted)
    length = np.einsum("ij,ij->j", left, left)
    real = length > 1e-6 * len(left)
    if not real.any():
        return None
    gain = np.where(real, (left.T @ model.residuals) ** 2 / np.where(real, length, 1.0), 0.0)
    best = int(np.argmax(gain))
    return (
        float(splits[max(best - 1, 0)]),
        float(splits[best]),
        float(splits[min(best + 1, len(splits) - 1)]),
    )


def levels(column: Floats) -> int:
    """Different values among the first thousand."""
    return len(np.unique(column[:1000])) if len(column) else 0
