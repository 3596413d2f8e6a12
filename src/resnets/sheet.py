"""A CSV file as cells of text, each with the line that an editor shows it on."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnets.errors import InputError, brief

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})  # in lower case
_SEPARATORS = (",", ";", "\t")
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_PROBED = 50  # records looked at to find the separator

Cells = NDArray[np.object_]  # of str

csv.field_size_limit(1 << 20)  # characters of a cell; more is no table


@dataclass(frozen=True, eq=False)
class Sheet:
    """What a CSV file holds.

    Attributes:
        name: of the file, as the user typed it.
        headers: of the columns, each another.
        columns: of each, object [n] of str without surrounding spaces.
        lines: int64 [n], the line on which each row begins, counted from 1 with the header as an editor does.
        notes: what the user should be told of how it was read.
    """

    name: str
    headers: tuple[str, ...]
    columns: tuple[Cells, ...]
    lines: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, header: str) -> Cells:
        return self.columns[self.headers.index(header)]


def read_sheet(path: Path, name: str) -> Sheet:
    """Read a CSV file: UTF-8 with or without a mark, any line ends, quoted cells, separated by , or ; or tabs.

    Where cells are separated by ; or tabs, decimal commas are turned into points if they cannot be anything else.
    Empty lines are passed over. A column without a name that only counts the rows is left out: pandas writes one.

    Raises:
        InputError: not text, empty, no rows, duplicate headers, a row of another length than the header.
    """
    text = _text(path, name)
    separator = _separator(text, name)
    records = _records(text, separator, name)
    line, header = next(records, (0, []))
    if not header:
        raise InputError(f"{name} is empty; expected a header line and a row for each case")
    headers = tuple(cell or f"column {place}" for place, cell in enumerate(header, 1))
    first: dict[str, int] = {}
    for place, word in enumerate(headers, 1):
        if first.setdefault(word, place) != place:
            places = f"columns {first[word]} and {place}"
            raise InputError(
                f"{name}: line {line} has the header '{brief(word)}' twice ({places}); give every column its own name"
            )
    rows, lines = [], []
    for line, row in records:
        if len(row) != len(headers):
            cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            raise InputError(f"{name}: line {line} has {cells}, the header {len(headers)}; every row needs as many")
        rows.append(row)
        lines.append(line)
    if not rows:
        raise InputError(f"{name} has a header but no rows; add a row for each case")
    columns = []
    for words in zip(*rows, strict=True):
        column = np.empty(len(rows), dtype=object)
        column[:] = words
        columns.append(column)
    notes: tuple[str, ...] = ()
    if separator != ",":
        columns, notes = _decimal_points(name, headers, columns, lines)
    counters = [place for place, word in enumerate(header) if not word and _counts(columns[place])]
    if counters and len(counters) < len(headers):
        kept = [place for place in range(len(headers)) if place not in counters]
        headers, columns = tuple(headers[place] for place in kept), [columns[place] for place in kept]
        notes = (*notes, f"{name}: a column without a name only counts the rows, so it is left out")
    return Sheet(name, headers, tuple(columns), np.array(lines, dtype=np.int64), notes)


def _text(path: Path, name: str) -> str:
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise InputError(f"{name} cannot be read: {problem.strerror}") from problem
    if b"\x00" in raw[: 1 << 20]:
        raise InputError(f"{name} is no text file: it holds zero bytes; save the table as CSV in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise InputError(f"{name}: line {line} is not UTF-8 text; save the table as CSV in UTF-8") from problem


def _records(text: str, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty: the line on which it begins, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            raise InputError(f"{name}: line {begin} cannot be read as CSV ({problem}); look at its quotes") from problem
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield begin, cells


def _separator(text: str, name: str) -> str:
    """The separator by which the first records have most cells, and all the same number where there is such a one."""
    best = ","
    score = (False, 0)
    for separator in _SEPARATORS:
        try:
            lengths = [len(cells) for _, cells in itertools.islice(_records(text, separator, name), _PROBED)]
        except InputError:
            continue
        if lengths and lengths[0] > 1 and (here := (len(set(lengths)) == 1, lengths[0])) > score:
            best, score = separator, here
    return best


def _decimal_points(
    name: str, headers: tuple[str, ...], columns: list[Cells], lines: list[int]
) -> tuple[list[Cells], tuple[str, ...]]:
    """Write decimal commas as points. A file that has decimal points has no decimal commas.

    Raises:
        InputError: every such number could have a comma between its thousands: 1,234.
    """
    commas = [[row for row, cell in enumerate(column) if "," in cell and _COMMA.fullmatch(cell)] for column in columns]
    if not any(commas) or any(_POINT.fullmatch(cell) for column in columns for cell in column if "." in cell):
        return columns, ()
    if all(_THOUSANDS.fullmatch(column[row]) for column, rows in zip(columns, commas, strict=True) for row in rows):
        place = next(place for place, rows in enumerate(commas) if rows)
        row = commas[place][0]
        raise InputError(
            f"{name}: line {lines[row]}, column '{brief(headers[place])}': {columns[place][row]} may mean"
            " one thousand or a fraction; write numbers with a decimal point and without separators of thousands"
        )
    for column, rows in zip(columns, commas, strict=True):
        for row in rows:
            column[row] = column[row].replace(",", ".")
    total = sum(map(len, commas))
    return columns, (f"{name}: decimal commas are read as points ({total:,} numbers)",)


def _counts(column: Cells) -> bool:
    return any(all(cell == str(row) for row, cell in enumerate(column, start)) for start in (0, 1))


def is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def is_nan(cell: str) -> bool:
    """Whether a cell says that a number is none: `nan`, `NaN`, `-nan`."""
    value = number(cell)
    return value is not None and math.isnan(value)


def number(cell: str) -> float | None:
    """The number that a cell holds, infinite and NaN among them; None where it holds none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
