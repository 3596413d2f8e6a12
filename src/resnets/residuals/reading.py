"""A CSV file of observed and fitted values, read for a residual analysis; nothing is left out in silence."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnets.errors import InputError, brief, nearest
from resnets.residuals.given import LARGEST
from resnets.sheet import is_missing, read_sheet
from resnets.sheet import number as _number

Numbers = NDArray[np.float64]

LEVELS = 20  # different words up to which a column of text is a category; and no more than half the rows
_NAMES = ("name", "file", "path", "id")  # what a column that names the rows is called
_PARTS = ("observed", "fitted", "low", "high")  # of each target, in the predictions of a run


@dataclass
class Table:
    """The file as text: columns by name, and the line of each row."""

    path: str
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Cases:
    """The cases of a regression, as `resnets.residual_analysis` takes them.

    Attributes:
        path: of the file.
        observed, fitted: float64 [n].
        predictors: columns of the model by name, float64 [n] each; a category is an indicator column a level but the
            first, named `colour = red`.
        unused: the other columns; a category of more than two levels is an indicator column each.
        order: float64 [n], or None. Of dates, days since the first.
        order_label: what `order` is, for an axis.
        names: of the rows, from a column called name, file, path or id; else `line 17`, as an editor counts.
        notes: what was left out, and why.
    """

    path: str
    observed: Numbers
    fitted: Numbers
    predictors: Mapping[str, Numbers]
    unused: Mapping[str, Numbers]
    order: Numbers | None
    order_label: str
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_cases(
    path: str | os.PathLike[str],
    *,
    observed: str,
    fitted: str,
    predictors: Sequence[str] = (),
    order: str | None = None,
) -> Cases:
    """Read a CSV file as `resnets.sheet.read_sheet` does.

    Args:
        path: of the file.
        observed: name of a column of numbers.
        fitted: name of a column of numbers.
        predictors: names of columns of the model, numbers or categories.
        order: name of a column that orders the rows: numbers, or ISO dates such as 2026-11-22 or 2026-11-22T18:30.

    Raises:
        InputError: no such file, or no CSV; no such column; a header twice; a value of a needed column is missing, no
            number or not finite (told with its line); no rows.
    """
    table = _table(os.fspath(path))
    predictors = tuple(dict.fromkeys(predictors))
    wanted = [("--observed", observed), ("--fitted", fitted), *(("--predictor", name) for name in predictors)]
    for option, name in [*wanted, *([("--order", order)] if order is not None else [])]:
        if name not in table.columns:
            known = f"its columns are {brief(', '.join(table.columns), 300)}"
            raise InputError(f"{path} has no column '{name}' ({option}){nearest(name, table.columns) or f'; {known}'}")
    for place, (option, name) in enumerate(wanted):
        if earlier := [other for other, same in wanted[:place] if same == name]:
            raise InputError(f"the column '{name}' is given as {earlier[0]} and as {option}; each needs one of its own")
    when, label = _order(table, order) if order is not None else (None, "")
    model: dict[str, Numbers] = {}
    for name in predictors:
        model |= _predictor(table, name)
    needed = {name for _, name in wanted} | {order}
    names, named = _row_names(table, needed)
    unused: dict[str, Numbers] = {}
    left = [name for name in table.columns if name not in needed and name != named]
    if left and _is_predictions(list(table.columns)):
        table.notes.append("a run's predictions: the other columns are its other targets and intervals, no predictors")
        left = []
    if left and not predictors:
        table.notes.append(
            "no --predictor was given: the columns that are not named are taken as not in the model"
            f" ({brief(', '.join(left), 80)})"
        )
    for name in left:
        unused |= _unused(table, name)
    return Cases(
        path=table.path,
        observed=_numbers(table, observed),
        fitted=_numbers(table, fitted),
        predictors=model,
        unused=unused,
        order=when,
        order_label=label,
        names=names,
        notes=tuple(table.notes),
    )


def _table(path: str) -> Table:
    if "\0" in path or not Path(path).exists():
        raise InputError(f"no such file: {path}")
    sheet = read_sheet(Path(path), path)
    columns = {name: [str(cell) for cell in column] for name, column in zip(sheet.headers, sheet.columns, strict=True)}
    return Table(path, columns, sheet.lines.tolist(), list(sheet.notes))


def _is_text(column: Sequence[str]) -> bool:
    """Whether most of what is there are words: then the column is one of categories."""
    present = [_number(text) for text in column if not is_missing(text)]
    return sum(value is None for value in present) > len(present) / 2


def _numbers(table: Table, name: str) -> Numbers:
    """A needed column, which has to be of finite numbers."""
    values = [_number(text) for text in table.columns[name]]
    for line, text, value in zip(table.lines, table.columns[name], values, strict=True):
        if value is None or not abs(value) <= LARGEST:
            said = "empty" if not text else f"'{brief(text, 40)}'"
            expected = (
                "a finite number was" if value is None or not math.isfinite(value) else f"at most {LARGEST:g} was"
            )
            raise InputError(f"{table.path}, line {line}: '{name}' is {said}, where {expected} expected")
    column = np.array(values, np.float64)
    if 0 < np.abs(column).max() < 1 / LARGEST:
        raise InputError(f"{table.path}: all of '{name}' is below {1 / LARGEST:g}; write it in a smaller unit")
    return column


def _predictor(table: Table, name: str) -> dict[str, Numbers]:
    column = table.columns[name]
    if not _is_text(column):
        return {name: _numbers(table, name)}
    for line, text in zip(table.lines, column, strict=True):
        if is_missing(text):
            raise InputError(
                f"{table.path}, line {line}: '{name}' is missing, and a predictor needs a value in each row"
            )
    levels = sorted(set(column))
    if len(levels) > LEVELS:
        raise InputError(
            f"{table.path}: the predictor '{name}' has {len(levels):,} different words, such as"
            f" '{brief(levels[0], 40)}', more than a category's {LEVELS}"
        )
    return _indicators(name, column, levels[1:])


def _unused(table: Table, name: str) -> dict[str, Numbers]:
    """A column that the model did not have; with a note and nothing else if it cannot be looked at."""
    column = table.columns[name]
    missing = sum(is_missing(text) for text in column)
    if missing:
        table.notes.append(f"'{name}' was left out: {missing:,} of its {len(column):,} values are missing")
        return {}
    if len(set(column)) == 1:
        table.notes.append(f"'{name}' was left out: it is '{brief(column[0], 40)}' in every row")
        return {}
    if not _is_text(column):
        values = [_number(text) for text in column]
        for line, text, value in zip(table.lines, column, values, strict=True):
            if value is None or not abs(value) <= LARGEST:
                table.notes.append(f"'{name}' was left out: line {line} has '{brief(text, 40)}' and no finite number")
                return {}
        numbers = np.array(values, np.float64)
        if np.abs(numbers).max() < 1 / LARGEST:
            table.notes.append(f"'{name}' was left out: all of it is below {1 / LARGEST:g}")
            return {}
        return {name: numbers}
    levels = sorted(set(column))
    if len(levels) > min(LEVELS, len(column) // 2):
        dates = "; if it is a time, name it with --order" if _dates(column[:1]) else ""
        table.notes.append(f"'{name}' was left out: {len(levels):,} different words are no category{dates}")
        return {}
    return _indicators(name, column, levels[1:] if len(levels) == 2 else levels)


def _is_predictions(header: Sequence[str]) -> bool:
    """Whether this is the head of a regression run's `predictions-SPLIT.csv`."""
    targets = [name.removesuffix(" observed") for name in header[1::4]]
    return list(header) == ["name", *(f"{name} {part}" for name in targets for part in _PARTS)]


def _indicators(name: str, column: Sequence[str], levels: Sequence[str]) -> dict[str, Numbers]:
    words = np.array(column)
    return {f"{name} = {brief(level, 40)}": (words == level).astype(np.float64) for level in levels}


def _row_names(table: Table, needed: set[str | None]) -> tuple[tuple[str, ...], str | None]:
    """The names of the rows, and the column that they are from."""
    for wanted in _NAMES:
        for name, column in table.columns.items():
            if name.lower() == wanted and name not in needed and all(column):
                return tuple(column), name
    return tuple(f"line {line}" for line in table.lines), None


def _order(table: Table, name: str) -> tuple[Numbers, str]:
    """A column that orders the rows, and what it is."""
    column = table.columns[name]
    if not _is_text(column):
        return _numbers(table, name), name
    if (dates := _dates(column)) is None:
        for line, text in zip(table.lines, column, strict=True):
            if _dates([text]) is None:
                said = f"'{name}' is '{brief(text, 40)}'" if text else f"'{name}' is empty"
                expected = "a number or an ISO date such as 2026-11-22 or 2026-11-22T18:30 was expected"
                raise InputError(f"{table.path}, line {line}: {said}, where {expected}")
    first = min(dates or [])
    days = np.array([(date - first).total_seconds() / 86400 for date in dates or []], np.float64)
    return days, f"{name} (days since {first:%Y-%m-%d})"


def _dates(column: Sequence[str]) -> list[datetime] | None:
    """ISO dates, of which those without a time zone are in UTC; None if one is none."""
    try:
        found = [datetime.fromisoformat(text) for text in column]
    except ValueError:
        return None
    return [date if date.tzinfo else date.replace(tzinfo=UTC) for date in found]
