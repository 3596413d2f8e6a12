"""What the columns of a table hold, and the encoding that follows from its training rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resnets.data.columns import LARGEST, MOST_LEVELS, Category, Numeric
from resnets.data.encoding import TableEncoding
from resnets.data.rows import TableSplit
from resnets.errors import InputError, brief
from resnets.sheet import number

_CODES = 20  # different numbers beside words; more are no codes but measurements


def fit_encoding(split: TableSplit) -> TableEncoding:
    """Measure an encoding on training rows.

    A column whose words are all numbers is numeric, any other a category of its `MOST_LEVELS` commonest words; but one
    of mostly numbers, of which more than 20 differ, has a slip in it. Left
    out: columns that are missing in every row or have one value only, and words that name the row (each another).

    Raises:
        InputError: NaN, an infinity, numbers too large to be standardised, a word among measurements, or no column that
            could help.
    """
    columns: list[Numeric | Category] = []
    left_out: list[tuple[str, str]] = []
    notes: list[str] = []
    for name in split.columns:
        found = _fit_column(split, name, notes)
        if isinstance(found, str):
            left_out.append((name, found))
            notes.append(f"{split.title}: column '{brief(name)}' left out: {found}")
        else:
            columns.append(found)
    if not columns:
        reasons = "; ".join(f"'{brief(name, 40)}': {reason}" for name, reason in left_out[:5]) or "there is none"
        raise InputError(f"{split.title} has no column to predict from ({reasons}); add one")
    return TableEncoding(tuple(columns), tuple(left_out), tuple(notes))


def numbers(split: TableSplit, name: str) -> NDArray[np.float64] | None:
    """A column as float64 [n], NaN where it is missing; None where some cell holds a word, or every one is missing.

    Raises:
        InputError: NaN or an infinity.
    """
    values, word = split.numbers(name)
    return None if word is not None or np.isnan(values).all() else values


def _fit_column(split: TableSplit, name: str, notes: list[str]) -> Numeric | Category | str:
    """The column's encoding, or the reason why it cannot help."""
    values, word = split.numbers(name)
    if word is not None:
        return _fit_category(split, name, notes, numeric=int(np.isfinite(values).sum()), word=word)
    missing = np.isnan(values)
    present = values[~missing]
    if not len(present):
        return "every value is missing"
    with np.errstate(over="ignore", invalid="ignore"):
        median = float(np.median(present))
        filled = np.where(missing, median, values)
        mean, std = float(filled.mean()), float(filled.std())
    if not all(abs(value) < LARGEST for value in (mean, std, median)):  # not so NaN
        raise InputError(f"{split.title}: the numbers of column '{brief(name)}' are too large; give it another unit")
    if present.min() == present.max() or std == 0:
        if not missing.any():
            return f"every value is {present[0]:g}"
        std = 1.0  # what tells the rows apart is whether they have the value
    if missing.any():
        notes.append(
            f"{split.title}: column '{brief(name)}' is missing in {missing.sum():,} of {len(values):,} training rows:"
            f" the median {median:g} stands for it, with a feature that says so"
        )
    return Numeric(name, mean, std, median, bool(missing.any()))


def _fit_category(split: TableSplit, name: str, notes: list[str], *, numeric: int, word: int) -> Category | str:
    cells = split.columns[name]
    missing = split.missing(name)
    levels, counts = np.unique(cells[~missing].astype(str), return_counts=True)
    where = f"{split.title}: column '{brief(name)}'"
    if len(levels) == 1 and not missing.any():
        return f"every value is '{brief(str(levels[0]), 40)}'"
    if 2 * numeric > counts.sum() and sum(number(str(level)) is not None for level in levels) > _CODES:
        what = f"'{brief(cells[word], 40)}' among {numeric:,} numbers; correct it or leave it empty"
        raise InputError(f"{split.name(word)}, column '{brief(name)}': {what}")
    if len(levels) == counts.sum() > 2:
        return f"text that differs in every row, such as '{brief(cells[word], 40)}'"
    if numeric:
        notes.append(
            f"{where} is taken as words: {split.name(word)} has '{brief(cells[word], 40)}' among {numeric:,} numbers"
        )
    if missing.any():
        notes.append(f"{where} is missing in {missing.sum():,} of {len(cells):,} training rows: a level of its own")
    if len(levels) > MOST_LEVELS:
        commonest = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
        share = 100 * counts[commonest].sum() / counts.sum()
        notes.append(
            f"{where} has {len(levels):,} levels: the {MOST_LEVELS} commonest are kept ({share:.0f} % of rows)"
        )
        levels = levels[np.sort(commonest)]
    return Category(name, tuple(map(str, levels)), bool(missing.any()))
