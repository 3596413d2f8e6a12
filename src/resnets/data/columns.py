"""One column of a table as features: numbers standardised, words as levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnets.data.rows import TableSplit
from resnets.errors import InputError, brief

LARGEST = 1e300  # of the numbers of an encoding
MOST_LEVELS = 50  # of a category; rarer ones are treated as one that is unknown


@dataclass(frozen=True)
class Numeric:
    """A column of numbers x: the feature (x - mean) / std, with the median in place of missing ones.

    Attributes:
        name: the header.
        mean, std: of the training rows, after the median was put in (std divides by n).
        median: of those that are there.
        indicator: a second feature, 1 where the number is missing; where training rows miss some.
    """

    name: str
    mean: float
    std: float
    median: float
    indicator: bool = False

    def __post_init__(self) -> None:
        where = f"column '{brief(self.name)}' of the encoding"
        check(where, isinstance(self.name, str), f"name must be text, not {brief(self.name)}")
        for key in ("mean", "std", "median"):
            value = getattr(self, key)
            check(where, is_finite(value), f"{key} must be a finite number, not {brief(value)}")
        check(where, self.std > 0, f"std must be positive, not {brief(self.std)}")
        check(where, isinstance(self.indicator, bool), f"indicator must be true or false, not {brief(self.indicator)}")

    @property
    def features(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} missing") if self.indicator else (self.name,)


@dataclass(frozen=True)
class Category:
    """A column of words: a feature for each level, 1 where the row has it.

    Attributes:
        name: the header.
        levels: sorted; an unknown word has none of them.
        missing: whether a last level stands for rows without a word; where training rows miss some.
    """

    name: str
    levels: tuple[str, ...]
    missing: bool = False

    def __post_init__(self) -> None:
        where = f"column '{brief(self.name)}' of the encoding"
        check(where, isinstance(self.name, str), f"name must be text, not {brief(self.name)}")
        words = isinstance(self.levels, tuple) and all(isinstance(level, str) for level in self.levels)
        check(where, words and len(set(self.levels)) == len(self.levels), "levels must be words, each another")
        check(where, len(self.levels) <= MOST_LEVELS, f"levels must be {MOST_LEVELS} or fewer, not {len(self.levels)}")
        check(where, isinstance(self.missing, bool), f"missing must be true or false, not {brief(self.missing)}")
        check(where, bool(self.levels), "levels must name one or more")

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={level}" for level in [*self.levels, *["missing"] * self.missing])


def check(where: str, holds: bool, message: str) -> None:
    """Refuse what does not hold: InputError, in which `where` names the thing."""
    if not holds:
        raise InputError(f"{where}: {message}")


def is_finite(value: object) -> bool:
    """Whether a value may be one of an encoding's numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST  # not so NaN


def fill_numeric(split: TableSplit, column: Numeric, out: NDArray[np.float32]) -> Iterator[str]:
    """Write the features of a column of numbers into `out`, [n, its features]; yield what a person should be told.

    Raises:
        InputError: a word, NaN, an infinity, or a number too large for float32.
    """
    values, word = split.numbers(column.name)
    if word is not None:
        cell = split.columns[column.name][word]
        raise InputError(
            f"{split.name(word)}, column '{brief(column.name)}': '{brief(cell, 40)}' is no number, which the training"
            " rows hold there; correct it or leave it empty"
        )
    missing = np.isnan(values)
    filled = np.where(missing, column.median, values)
    with np.errstate(over="ignore"):
        scaled = ((filled - column.mean) / column.std).astype(np.float32)
    if np.isinf(scaled).any():
        row = int(np.flatnonzero(np.isinf(scaled))[0])
        raise InputError(f"{split.name(row)}, column '{brief(column.name)}': {filled[row]:g} is too large; correct it")
    out[:, 0] = scaled
    if column.indicator:
        out[:, 1] = missing
    elif missing.any():
        yield (
            f"{split.title}: column '{brief(column.name)}' is missing in {missing.sum():,} of {len(values):,} rows, but"
            f" never was in the training rows: their median {column.median:g} stands for it"
        )


def fill_category(split: TableSplit, column: Category, out: NDArray[np.float32]) -> Iterator[str]:
    """As `fill_numeric`, of a column of words, into an `out` of zeros.

    Raises:
        InputError: NaN.
    """
    cells = split.columns[column.name]
    words = cells if cells.dtype == object else np.array(["" if np.isnan(v) else f"{v:g}" for v in cells], dtype=object)
    missing = split.missing(column.name)
    place = {level: k for k, level in enumerate(column.levels)}
    where = np.array([place.get(cell, -1) for cell in words], dtype=np.int64)
    where[missing] = len(column.levels) if column.missing else -1
    known = where >= 0
    out[np.flatnonzero(known), where[known]] = 1
    unknown = sorted({str(word) for word in words[~known & ~missing]})
    if unknown and len(column.levels) < MOST_LEVELS:
        yield (
            f"{split.title}: column '{brief(column.name)}' has {listed(unknown)}, which the training rows do not, in"
            f" {int((~known & ~missing).sum()):,} of {len(words):,} rows: none of its levels"
        )
    if missing.any() and not column.missing:
        yield (
            f"{split.title}: column '{brief(column.name)}' is missing in {missing.sum():,} of {len(words):,} rows, but"
            " never was in the training rows: none of its levels"
        )


def listed(words: Sequence[str]) -> str:
    """The first five words, quoted."""
    return ", ".join(f"'{brief(word, 40)}'" for word in words[:5]) + (", …" if len(words) > 5 else "")
