"""Rows of a table: a split of them as they stand in the file, and loaded, as a network takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.errors import InputError, brief
from resnets.sheet import is_missing, is_nan, number


@dataclass(frozen=True, eq=False)
class TableSplit:
    """Rows of a table; `Split` among the tables.

    Attributes:
        columns: the predictors, float64 [n] (NaN is missing) or object [n] of str as in the file, by header.
        labels: float64 [n, T], the targets; T is 0 where the rows are only to be predicted.
        title: of the table: `folder/table.csv` as it was named, or `diabetes` where it has no lines.
        lines: int64 [n], the line of each row in the file, counted as an editor does; or its place in the table.
        file: whether the table is a file.
    """

    columns: Mapping[str, NDArray[Any]]
    labels: NDArray[np.float64]
    title: str
    lines: NDArray[np.int64]
    file: bool = True

    def __len__(self) -> int:
        return len(self.lines)

    def name(self, index: int) -> str:
        return f"{self.title} line {self.lines[index]}" if self.file else f"{self.title}[{self.lines[index]}]"

    def take(self, indices: NDArray[np.int64]) -> TableSplit:
        """The rows at `indices`; they keep their names."""
        columns = {header: column[indices] for header, column in self.columns.items()}
        return TableSplit(columns, self.labels[indices], self.title, self.lines[indices], self.file)

    def numbers(self, header: str) -> tuple[NDArray[np.float64], int | None]:
        """A column as float64 [n], NaN where it has no number, and the first row with a word that is none.

        Raises:
            InputError: an explicit NaN; an infinity, in a column without words.
        """
        column, word = self.columns[header], None
        if column.dtype != object:
            values = column.astype(np.float64)
        else:
            self.missing(header)
            values = np.full(len(column), np.nan)
            for row, cell in enumerate(column):
                value = number(cell)
                if value is not None:
                    values[row] = value
                elif word is None and not is_missing(cell):
                    word = row
        infinite = np.flatnonzero(np.isinf(values))
        if word is None and len(infinite):
            row = int(infinite[0])
            what = f"'{column[row]}' is not finite; correct it or leave it empty"
            raise InputError(f"{self.name(row)}, column '{brief(header)}': {what}")
        return values, word

    def missing(self, header: str) -> NDArray[np.bool_]:
        """Which rows lack a value in a column, bool [n].

        Raises:
            InputError: a cell that says NaN: a calculation that went wrong, and no way to say that nothing is known.
        """
        column = self.columns[header]
        if column.dtype != object:
            return np.asarray(np.isnan(column))
        wrong = next((row for row, cell in enumerate(column) if is_nan(cell)), None)
        if wrong is not None:
            what = f"'{column[wrong]}' is no number; correct it, or leave the cell empty if the value is missing"
            raise InputError(f"{self.name(wrong)}, column '{brief(header)}': {what}")
        return np.array([is_missing(cell) for cell in column], dtype=bool)

    def image(self, index: int) -> NoReturn:
        raise InputError(f"{self.name(index)} is a row of a table, not an image")

    def reduced(self, index: int, reduction: object) -> NoReturn:
        self.image(index)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in memory, encoded.

    Attributes:
        features: float32 [n, 1, 1, F].
        labels: float64 [n, T], in the targets' own units.
        names: of each row.
        skipped: none; here because images have them.
        notes: what the user should be told of how these rows were encoded.
    """

    features: Tensor
    labels: Tensor
    names: Sequence[str]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return self.names[index]

    def to(self, device: torch.device | str) -> Rows:
        """The same rows on another device; their batches are then made there."""
        return Rows(self.features.to(device), self.labels.to(device), self.names, self.skipped, self.notes)
