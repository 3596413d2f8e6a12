"""What a residual analysis is given, checked: bad input is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.errors import InputError, brief
from resnets.residuals.linear import Data, Floats, design, orthonormal

FEWEST = 8
LARGEST = 1e50  # the fourth powers of larger numbers, and of smaller ones than its inverse, have no place in float64


def checked(
    observed: Any,
    fitted: Any,
    predictors: Mapping[str, Any] | None,
    unused: Mapping[str, Any] | None,
    order: Any,
    names: Sequence[str] | None,
) -> tuple[Data, NDArray[np.float64] | None, tuple[str, ...]]:
    """The columns as float64, the order, and a name for every case."""
    y = numbers("observed", observed)
    f = numbers("fitted", fitted, len(y))
    if len(y) < FEWEST:
        raise InputError(f"a residual analysis needs at least {FEWEST} cases, and there are {len(y)}")
    inside, outside = _columns("predictors", predictors, len(y)), _columns("unused", unused, len(y))
    if both := sorted(inside.keys() & outside.keys()):
        raise InputError(
            f"column {brief(both[0])!r} is given as a predictor and as unused: it can be only one of the two"
        )
    errors = y - f
    tiny = 1e-10 * max(float(np.abs(y).max()), float(np.abs(f).max()))
    if float(np.abs(errors).max()) <= tiny:
        raise InputError("observed and fitted are equal: a perfect fit leaves no residuals to analyse")
    if float(np.ptp(errors)) <= tiny:
        raise InputError(f"all residuals are {errors[0]:.6g}: constant residuals say nothing about the errors")
    if len(inside) + 1 > len(y) - 5:
        raise InputError(f"{len(inside)} predictors are too many for {len(y)} cases: at least {len(inside) + 6} needed")
    if names is not None and len(names) != len(y):
        raise InputError(f"names holds {len(names)} names, and there are {len(y)} cases: give one name for each")
    time = None if order is None else numbers("order", order, len(y))
    if time is not None and np.ptp(time) == 0:
        raise InputError(
            f"order is {time[0]:.6g} for every case: give a time or number that orders them, or leave it out"
        )
    sorting = None if time is None else np.argsort(time, kind="stable")
    data = Data(y, f, inside, outside, sorting, time is not None, _spanned(f, inside, errors))
    _some_left(data)
    labels = tuple(map(str, names)) if names is not None else tuple(f"case {i}" for i in range(1, len(y) + 1))
    return data, time, labels


def numbers(name: str, values: Any, length: int | None = None) -> Floats:
    """The column `values` as float64 [n].

    Raises:
        InputError: not one column of numbers, none at all, of another length; NaN, infinite, or of no use squared.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers")
        column = array.astype(np.float64)
    except (TypeError, ValueError) as reason:
        raise InputError(f"{brief(name)} must hold numbers only: {brief(str(reason))}") from None
    if column.ndim == 2 and 1 in column.shape:
        column = column.reshape(-1)
    if column.ndim != 1:
        raise InputError(f"{brief(name)} must be one column of numbers, and has the shape {column.shape}")
    if length is not None and len(column) != length:
        raise InputError(f"{brief(name)} holds {len(column)} values, and observed holds {length}: give as many")
    bad = ~np.isfinite(column)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{brief(name)} holds {int(bad.sum())} values that are NaN or infinite, the first is value {first + 1}"
            " (counting from 1): leave these cases out"
        )
    largest = float(np.abs(column).max()) if len(column) else 0.0
    if largest > LARGEST or 0 < largest < 1 / LARGEST:
        said = f"above {LARGEST:g}" if largest > 1 else f"below {1 / LARGEST:g}"
        raise InputError(f"{brief(name)} reaches {largest:.3g}, and numbers {said} cannot be squared: change its unit")
    return column


def _columns(what: str, given: Mapping[str, Any] | None, length: int) -> dict[str, Floats]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be a mapping from name to column, not {type(given).__name__}")
    columns = {}
    for key, values in given.items():
        name = str(key)
        if name in columns:
            raise InputError(f"{what} holds the name {brief(name)!r} twice")
        column = numbers(f"{what[:-1] if what == 'predictors' else 'unused column'} {brief(name)!r}", values, length)
        if len(column) and np.ptp(column) == 0:
            raise InputError(f"column {brief(name)!r} is {column[0]:.6g} for every case: a constant explains nothing")
        columns[name] = column
    return columns


def _spanned(fitted: Floats, predictors: Mapping[str, Floats], errors: Floats) -> bool:
    """Whether the fitted values are a linear function of the predictors, up to rounding."""
    if not predictors:
        return False
    basis, _, _ = orthonormal(design(predictors, len(fitted)))
    off = fitted - basis @ (basis.T @ fitted)
    return float(off.std()) <= 0.02 * float(errors.std())


def _some_left(data: Data) -> None:
    basis, _, _ = orthonormal(design(data.predictors if data.linear else {"fitted": data.fitted}, len(data.observed)))
    left = data.observed - basis @ (basis.T @ data.observed)
    if float(np.abs(left).max()) <= 1e-10 * float(np.abs(data.observed).max()):
        raise InputError(
            "observed is a linear function of what is given, and only fitted is off: nothing random is left to analyse"
        )
