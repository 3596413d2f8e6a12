"""The linear algebra under a residual analysis: a model, the changes a remedy makes to it, and terms added to it.

A `Model` is a linear regression of one target on a few columns, with its residuals. When the fitted values lie in the
span of the given predictors, these are its columns; otherwise its column is the fitted value itself, so that the fit
of any model at all (a network's too) can be examined. A remedy gives another Model, examined by the same tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
# With more predictors than this their products, k (k - 1) / 2 for k of them, are not looked through.
PRODUCTS_UP_TO = 6
KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)


@dataclass(frozen=True, eq=False)
class Data:
    """What was given. `linear`: the fitted values are a linear function of the predictors. `order` sorts the rows."""

    observed: Floats
    fitted: Floats
    predictors: Mapping[str, Floats]
    unused: Mapping[str, Floats]
    order: NDArray[np.intp] | None
    ordered: bool
    linear: bool


@dataclass(frozen=True, eq=False)
class Model:
    """A regression: target and columns of all cases, and what was done to them.

    Attributes:
        data: what was given.
        target: float64 [N], perhaps transformed.
        columns: of the design by name, float64 [N] each, without the constant.
        rows: intp [n], the cases that are left, in their present order.
        lift: takes a column [N] or [N, m] to what the regression sees, [n] or [n, m]: fewer rows, weighted, filtered.
        basis: float64 [n, p], orthonormal, of the lifted design with its constant.
        residuals: float64 [n].
        fitted: float64 [N], the fitted values, on the target's scale and before `lift`.
    """

    data: Data
    target: Floats
    columns: Mapping[str, Floats]
    rows: NDArray[np.intp]
    lift: Callable[[Floats], Floats] = field(repr=False)
    basis: Floats = field(repr=False)
    residuals: Floats = field(repr=False)
    fitted: Floats = field(repr=False)

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residuals."""
        return self.n - self.basis.shape[1]

    def leverage(self) -> Floats:
        """Hat values [n]."""
        return np.minimum(np.einsum("ij,ij->i", self.basis, self.basis), 1 - 1e-9)


@dataclass(frozen=True)
class Added:
    """What terms add to a model: F test (classic and with HC3 covariance), partial R² and degrees of freedom."""

    statistic: float
    p_classic: float
    p_robust: float
    share: float
    terms: int

    @property
    def p_value(self) -> float:
        """The larger of the two: unequal variances fool the first, a few cases of high leverage the second."""
        return max(self.p_classic, self.p_robust)


def model_of(data: Data) -> Model:
    """The model as it was given: its residuals less what the design itself still explains of them."""
    n = len(data.observed)
    columns = dict(data.predictors) if data.linear else {"fitted": data.fitted}
    return refit(data, data.observed, columns, np.arange(n), lambda column: column)


def refit(
    data: Data,
    target: Floats,
    columns: Mapping[str, Floats],
    rows: NDArray[np.intp],
    lift: Callable[[Floats], Floats],
) -> Model:
    """Ordinary least squares of the lifted target on the lifted columns and constant."""
    raw = design(columns, len(target))
    basis, triangle, kept = orthonormal(lift(raw))
    seen = lift(target)
    onto = basis.T @ seen
    residuals = seen - basis @ onto
    fitted = raw[:, kept] @ np.linalg.solve(triangle, onto)
    return Model(data, target, columns, rows, lift, basis, residuals, fitted)


def design(columns: Mapping[str, Floats], n: int) -> Floats:
    """The constant and the standardised columns, [n, 1 + k]: standardised, because their powers will be taken."""
    return np.column_stack([np.ones(n), *(standard(column) for column in columns.values())])


def formula(model: Model) -> dict[str, object]:
    """The coefficients: a constant, and of each column mean, sd and the coefficient of (column - mean) / sd."""
    table = design(model.columns, len(model.target))
    constant, *slopes = (float(value) for value in np.linalg.lstsq(table, model.fitted, rcond=None)[0])
    columns = {
        name: {"mean": float(column.mean()), "sd": float(column.std()), "coefficient": slope}
        for (name, column), slope in zip(model.columns.items(), slopes, strict=True)
    }
    return {"constant": constant, "columns": columns}


def standard(column: Floats) -> Floats:
    """The column with mean 0 and standard deviation 1."""
    spread = float(column.std())
    return (column - column.mean()) / (spread if spread > 0 else 1.0)


def orthonormal(matrix: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """An orthonormal basis of the columns, the triangle R and which columns were kept; dependent ones are left out."""
    q, r = np.linalg.qr(matrix)
    length = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    kept = np.flatnonzero(np.abs(np.diag(r)) > 1e-7 * np.where(length > 0, length, 1.0))
    if len(kept) < matrix.shape[1]:
        q, r = np.linalg.qr(matrix[:, kept])
    return q, r, kept


def added(model: Model, terms: Floats) -> Added | None:
    """The F test of adding columns `terms` [N, m] to the model (Frisch–Waugh); None where they add no direction."""
    lifted = model.lift(terms)
    left = lifted - model.basis @ (model.basis.T @ lifted)
    left -= model.basis @ (model.basis.T @ left)
    real = np.linalg.norm(left, axis=0) > 1e-5 * np.maximum(np.linalg.norm(lifted, axis=0), 1e-300)
    if not real.any():
        return None
    basis, _, _ = orthonormal(left[:, real])
    m, freedom = basis.shape[1], model.freedom - basis.shape[1]
    if freedom < 2:
        return None
    errors = model.residuals
    onto = basis.T @ errors
    whole = float(errors @ errors)
    share = min(float(onto @ onto) / whole, 1 - 1e-15)
    statistic = share / m / ((1 - share) / freedom)
    # HC3 (MacKinnon & White 1985): the coefficients on an orthonormal basis have this covariance.
    hat = np.minimum(model.leverage() + np.einsum("ij,ij->i", basis, basis), 1 - 1e-6)
    scaled = basis * ((errors - basis @ onto) / (1 - hat))[:, None]
    robust = float(onto @ np.linalg.lstsq(scaled.T @ scaled, onto, rcond=None)[0]) / m
    p_classic, p_robust = stats.f.sf([statistic, robust], m, freedom)
    return Added(statistic, float(p_classic), float(p_robust), share, m)


def with_terms(model: Model, terms: Mapping[str, Floats]) -> Model:
    """The model with further columns [N] in its design."""
    return refit(model.data, model.target, {**model.columns, **terms}, model.rows, model.lift)


def with_target(model: Model, target: Floats) -> Model:
    """The model of another target [N], such as a transformed one."""
    return refit(model.data, target, model.columns, model.rows, model.lift)


def weighted(model: Model, deviation: Floats) -> Model:
    """Weighted least squares: every case divided by `deviation` [n], the standard deviation of its error."""

    def lift(column: Floats) -> Floats:
        return (model.lift(column).T / deviation).T

    return refit(model.data, model.target, model.columns, model.rows, lift)


def without(model: Model, cases: NDArray[np.bool_]) -> Model:
    """The model fitted without the cases that are True in `cases` [n]."""
    kept = np.flatnonzero(~cases)
    return refit(model.data, model.target, model.columns, model.rows[kept], lambda column: model.lift(column)[kept])


def filtered(model: Model, coefficients: Floats) -> Model:
    """Every case less `coefficients` [p] times the p before it (Cochrane & Orcutt 1949); the first p are lost."""
    sorting, p = sequence(model), len(coefficients)

    def lift(column: Floats) -> Floats:
        ordered = model.lift(column)[sorting]
        out = ordered[p:].copy()
        for lag, coefficient in enumerate(coefficients, 1):
            out -= coefficient * ordered[p - lag : -lag]
        return out

    return refit(model.data, model.target, model.columns, model.rows[sorting][p:], lift)


def sequence(model: Model) -> NDArray[np.intp]:
    """What sorts the model's residuals into the order of the cases."""
    if model.data.order is None:
        return np.argsort(model.rows, kind="stable")
    place = np.empty(len(model.data.order), dtype=np.intp)
    place[model.data.order] = np.arange(len(place))
    return np.argsort(place[model.rows], kind="stable")


def with_residuals(model: Model, residuals: Floats, errors: Floats) -> Model:
    """The same design with other residuals [n]; `errors` [n] are those of another fit of it, such as a robust one."""
    raw = design(model.columns, len(model.target))
    onto = np.linalg.lstsq(model.lift(raw), model.lift(model.target) - errors, rcond=None)[0]
    return replace(model, residuals=residuals, fitted=raw @ onto)


def knots(column: Floats, knots_at: tuple[float, ...] = KNOTS) -> list[float]:
    """The knots of `spline`, on the standardised column."""
    return [float(knot) for knot in np.unique(np.quantile(standard(column), knots_at))]


def spline(column: Floats, knots_at: tuple[float, ...] = KNOTS) -> Floats:
    """The curved part [N, knots - 2] of a restricted cubic spline, knots at quantiles (Harrell 2015, section 2.4.5)."""
    return curves(standard(column), knots(column, knots_at))


def curves(x: Floats, places: Sequence[float]) -> Floats:
    """`spline` of standardised values at given knots."""
    if len(places) < 3:
        return np.empty((len(x), 0))
    last, before = places[-1], places[-2]

    def cube(knot: float) -> Floats:
        return np.maximum(x - knot, 0.0) ** 3

    parts = [
        cube(knot) - cube(before) * (last - knot) / (last - before) + cube(last) * (before - knot) / (last - before)
        for knot in places[:-2]
    ]
    return np.column_stack(parts) / (last - places[0]) ** 2
