"""How a row of a table becomes a network's input; it travels with the weights as `Preprocessing` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.rows import TableSplit
from resnets.errors import InputError, brief, nearest
from resnets.sheet import is_missing

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
        _check(where, isinstance(self.name, str), f"name must be text, not {brief(self.name)}")
        for key in ("mean", "std", "median"):
            value = getattr(self, key)
            _check(where, _finite(value), f"{key} must be a finite number, not {brief(value)}")
        _check(where, self.std > 0, f"std must be positive, not {brief(self.std)}")
        _check(where, isinstance(self.indicator, bool), f"indicator must be true or false, not {brief(self.indicator)}")

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
        _check(where, isinstance(self.name, str), f"name must be text, not {brief(self.name)}")
        words = isinstance(self.levels, tuple) and all(isinstance(level, str) for level in self.levels)
        _check(where, words and len(set(self.levels)) == len(self.levels), "levels must be words, each another")
        _check(where, len(self.levels) <= MOST_LEVELS, f"levels must be {MOST_LEVELS} or fewer, not {len(self.levels)}")
        _check(where, isinstance(self.missing, bool), f"missing must be true or false, not {brief(self.missing)}")
        _check(where, bool(self.levels), "levels must name one or more")

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={level}" for level in [*self.levels, *["missing"] * self.missing])


@dataclass(frozen=True)
class TableEncoding:
    """The columns that a network takes, in its order, and those that it does not, with the reason.

    Attributes:
        columns: in the order of their features.
        left_out: (header, reason) of each column of the training table that is no predictor.
        notes: what was done to the training table that a person should know; not kept in `to_dict`.
    """

    columns: tuple[Numeric | Category, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        where = "the encoding"
        _check(where, bool(self.columns), "columns must name one or more")
        names = [column.name for column in self.columns] + [name for name, _ in self.left_out]
        name, count = max(Counter(names).items(), key=lambda item: item[1])
        _check(where, count == 1, f"column '{brief(name)}' is there {'twice' if count == 2 else f'{count} times'}")

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the F features: `age`, `age missing`, `colour=red`."""
        return tuple(name for column in self.columns for name in column.features)

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, split: TableSplit) -> NDArray[np.float32]:
        """Encode rows of this table or of another: float32 [n, F]; columns are found by name, in any order.

        Raises:
            InputError: a column is missing, or has text or an infinity where the training rows had numbers.
        """
        return self.encode(split)[0]

    def encode(self, split: TableSplit) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """As `rows`, and what a person should be told: what was filled in, and words that are not known.

        Raises:
            InputError: as `rows`.
        """
        absent = [column.name for column in self.columns if column.name not in split.columns]
        if absent:
            plural = "column" if len(absent) == 1 else "columns"
            raise InputError(
                f"{split.title} lacks the {plural} {', '.join(brief(name, 40) for name in absent[:10])}"
                f"{', …' if len(absent) > 10 else ''}, which the network takes (it has"
                f" {', '.join(brief(name, 40) for name in list(split.columns)[:20])})"
            )
        matrix = np.zeros((len(split), len(self)), dtype=np.float32)
        notes: list[str] = []
        place = 0
        for column in self.columns:
            width = len(column.features)
            here = matrix[:, place : place + width]
            notes += _numeric(split, column, here) if isinstance(column, Numeric) else _category(split, column, here)
            place += width
        known = {column.name for column in self.columns} | {name for name, _ in self.left_out}
        extra = [name for name in split.columns if name not in known]
        if extra:
            plural = "column" if len(extra) == 1 else "columns"
            notes.append(f"{split.title}: the network does not take the {plural} {_listed(extra)}: ignored")
        return matrix, tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, which `from_dict` reads."""
        return {
            "kind": "table",
            "columns": [
                {"name": c.name, "kind": "numeric", "mean": c.mean, "std": c.std, "median": c.median,
                 "indicator": c.indicator}
                if isinstance(c, Numeric)
                else {"name": c.name, "kind": "category", "levels": list(c.levels), "missing": c.missing}
                for c in self.columns
            ],
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableEncoding:
        """Read `to_dict`'s form.

        Raises:
            InputError: an unknown or missing key, or a value out of range.
        """
        _check_keys("the encoding", data, ("kind", "columns", "left_out"))
        if data["kind"] != "table":
            raise InputError(f"the encoding: kind must be 'table', not {brief(data['kind'])}")
        for key in ("columns", "left_out"):
            _check("the encoding", isinstance(data[key], list | tuple), f"{key} must be a list, not {brief(data[key])}")
        left_out = []
        for item in data["left_out"]:
            _check_keys("a left_out column of the encoding", item, ("name", "reason"))
            words = isinstance(item["name"], str) and isinstance(item["reason"], str)
            _check("the encoding", words, "name and reason of left_out must be text")
            left_out.append((item["name"], item["reason"]))
        return cls(tuple(map(_column, data["columns"])), tuple(left_out))


def _column(data: object) -> Numeric | Category:
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind == "numeric":
        _check_keys("a numeric column of the encoding", data, ("name", "kind", "mean", "std", "median", "indicator"))
        assert isinstance(data, Mapping)
        numbers = [float(data[key]) if _finite(data[key]) else data[key] for key in ("mean", "std", "median")]
        return Numeric(data["name"], numbers[0], numbers[1], numbers[2], data["indicator"])
    if kind == "category":
        _check_keys("a category of the encoding", data, ("name", "kind", "levels", "missing"))
        assert isinstance(data, Mapping)
        levels = data["levels"]
        return Category(data["name"], tuple(levels) if isinstance(levels, list) else levels, data["missing"])
    raise InputError(f"a column of the encoding: kind must be 'numeric' or 'category', not {brief(kind)}")


def _check_keys(where: str, data: object, known: tuple[str, ...]) -> None:
    """Refuse what is no JSON object with exactly these keys."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is a JSON object, not {type(data).__name__}")
    for key in data:
        if key not in known:
            raise InputError(f"{where}: unknown key '{brief(key)}' (known: {', '.join(known)}){nearest(key, known)}")
    missing = [key for key in known if key not in data]
    if missing:
        raise InputError(f"{where} needs {', '.join(known)}; it lacks {', '.join(missing)}")


def _check(where: str, holds: bool, message: str) -> None:
    if not holds:
        raise InputError(f"{where}: {message}")


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST  # not so NaN


def _numeric(split: TableSplit, column: Numeric, out: NDArray[np.float32]) -> Iterator[str]:
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


def _category(split: TableSplit, column: Category, out: NDArray[np.float32]) -> Iterator[str]:
    cells = split.columns[column.name]
    words = cells if cells.dtype == object else np.array(["" if np.isnan(v) else f"{v:g}" for v in cells], dtype=object)
    missing = np.array([is_missing(cell) for cell in words], dtype=bool)
    place = {level: k for k, level in enumerate(column.levels)}
    where = np.array([place.get(cell, -1) for cell in words], dtype=np.int64)
    where[missing] = len(column.levels) if column.missing else -1
    known = where >= 0
    out[np.flatnonzero(known), where[known]] = 1
    unknown = sorted({str(word) for word in words[~known & ~missing]})
    if unknown and len(column.levels) < MOST_LEVELS:
        yield (
            f"{split.title}: column '{brief(column.name)}' has {_listed(unknown)}, which the training rows do not, in"
            f" {int((~known & ~missing).sum()):,} of {len(words):,} rows: none of its levels"
        )
    if missing.any() and not column.missing:
        yield (
            f"{split.title}: column '{brief(column.name)}' is missing in {missing.sum():,} of {len(words):,} rows, but"
            " never was in the training rows: none of its levels"
        )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"'{brief(word, 40)}'" for word in words[:5]) + (", …" if len(words) > 5 else "")
