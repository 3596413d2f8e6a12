"""How a row of a table becomes a network's input; it travels with the weights as `Preprocessing` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.columns import Category as Category
from resnets.data.columns import Numeric as Numeric
from resnets.data.columns import check, fill_category, fill_numeric, is_finite, listed
from resnets.data.rows import TableSplit
from resnets.errors import InputError, brief, nearest


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
        check(where, bool(self.columns), "columns must name one or more")
        names = [column.name for column in self.columns] + [name for name, _ in self.left_out]
        name, count = max(Counter(names).items(), key=lambda item: item[1])
        check(where, count == 1, f"column '{brief(name)}' is there {'twice' if count == 2 else f'{count} times'}")

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
            if isinstance(column, Numeric):
                notes += fill_numeric(split, column, here)
            else:
                notes += fill_category(split, column, here)
            place += width
        known = {column.name for column in self.columns} | {name for name, _ in self.left_out}
        extra = [name for name in split.columns if name not in known]
        if extra:
            plural = "column" if len(extra) == 1 else "columns"
            notes.append(f"{split.title}: the network does not take the {plural} {listed(extra)}: ignored")
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
            check("the encoding", isinstance(data[key], list | tuple), f"{key} must be a list, not {brief(data[key])}")
        left_out = []
        for item in data["left_out"]:
            _check_keys("a left_out column of the encoding", item, ("name", "reason"))
            words = isinstance(item["name"], str) and isinstance(item["reason"], str)
            check("the encoding", words, "name and reason of left_out must be text")
            left_out.append((item["name"], item["reason"]))
        return cls(tuple(map(_column, data["columns"])), tuple(left_out))


def _column(data: object) -> Numeric | Category:
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind == "numeric":
        _check_keys("a numeric column of the encoding", data, ("name", "kind", "mean", "std", "median", "indicator"))
        assert isinstance(data, Mapping)
        numbers = [float(data[key]) if is_finite(data[key]) else data[key] for key in ("mean", "std", "median")]
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
