"""CSV files as sources of a regression: `photos.csv` names images and their targets, `table.csv` holds both itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnets.data.holding import by_image
from resnets.data.layouts import SPLITS, Layout, find_layout
from resnets.data.parquet import SPLIT_NAMES
from resnets.data.random import Stream, sort_keys
from resnets.data.rows import TableSplit
from resnets.data.split import FileSplit, Source, Split
from resnets.data.targets import LARGEST, target_fault
from resnets.errors import InputError, brief
from resnets.sheet import Sheet, is_missing, number, read_sheet

_FEWEST = 10  # rows with a target: fewer leave nothing to test on
_TEST = 5  # one row in so many is tested on


def open_csv(
    name: str, files: Mapping[str, Path], target: Sequence[str] | None, *, cut: bool = True, strict: bool = True
) -> Source:
    """Open one CSV file, under the key "", or one for each split.

    A file is a list of images if it has a column `file`, `path` or `image` that names images, relative to the file's
    own folder; else it is a table, whose target must be given. A column `split` may name each row's split. If nothing
    does, and `cut`, one row in five is tested on, chosen by Philox with seed 0 from the rows' places alone: the same
    rows whatever the target. Rows of the same image stay together.

    Raises:
        InputError: whatever keeps the file from being trained on, in one line.
    """
    sheets = {split: read_sheet(path, str(path) if split else name) for split, path in files.items()}
    first = next(iter(sheets.values()))
    layout = find_layout(first, target, need_target=strict)
    if not strict and target is None:
        layout, told = _only_numbers(first, layout)
    else:
        told = []
    notes = [*(note for sheet in sheets.values() for note in sheet.notes), *told]
    parts: dict[str, Split] = {}
    for key, sheet in sheets.items():
        path = files[key]
        lacking = [header for header in layout.targets if header not in sheet.headers]
        if lacking and key == "test":
            notes.append(f"{sheet.name} has no column '{brief(lacking[0])}': nothing can be tested on it, left out")
            continue
        split = _split(sheet, layout, path, strict, learning=cut)
        where = _where(sheet, key, layout, split, cut, notes)
        kept = _with_target(sheet, layout, split, notes)
        for part in SPLITS:
            chosen = np.flatnonzero((where == part) & kept)
            if len(chosen):
                parts[part] = _take(split, chosen)
    splits = {part: parts[part] for part in SPLITS if part in parts}
    if layout.images is not None and layout.others:
        listed = ", ".join(f"'{brief(header, 40)}'" for header in layout.others[:5])
        notes.append(f"{name}: ignored beside the images and their targets: {listed}")
    source = Source(name, (), splits, tuple(notes), mirrors=False, targets=tuple(layout.targets.values()))
    if strict:
        _check(source, cut)
    return source


def open_rows(path: str | os.PathLike[str]) -> TableSplit:
    """Open a table whose rows are to be predicted: every column is a predictor, `labels` is float64 [n, 0].

    Raises:
        InputError: it cannot be read as a table.
    """
    sheet = read_sheet(Path(path).expanduser(), os.fspath(path))
    columns = dict(zip(sheet.headers, sheet.columns, strict=True))
    return TableSplit(columns, np.zeros((len(sheet), 0)), sheet.name, sheet.lines)


def _only_numbers(sheet: Sheet, layout: Layout) -> tuple[Layout, list[str]]:
    """Without those targets that a file's examination finds to be none, and why they are none."""
    kept, told = dict(layout.targets), []
    for header in layout.targets:
        try:
            _numbers(sheet, header, True)
        except InputError as problem:
            del kept[header]
            told.append(str(problem))
    return replace(layout, targets=kept), told


def _split(sheet: Sheet, layout: Layout, path: Path, strict: bool, *, learning: bool) -> FileSplit | TableSplit:
    """All rows of a file; targets that are missing are NaN. Whoever is `learning` wants no target among the predictors.

    Raises:
        InputError: a target that is no finite number, or too large; image files that are not there; a column that is
            the target once more.
    """
    missing = [header for header in (layout.images, *layout.targets) if header and header not in sheet.headers]
    if missing:
        listed = ", ".join(brief(header, 40) for header in sheet.headers[:20])
        raise InputError(
            f"{sheet.name} has no column '{brief(missing[0])}', which the training file has (it has {listed})"
        )
    labels = np.empty((len(sheet), len(layout.targets)))
    for place, header in enumerate(layout.targets):
        labels[:, place] = _numbers(sheet, header, layout.images is not None)
    if layout.images is None:
        columns = {
            header: sheet.column(header) for header in sheet.headers if header not in (*layout.targets, layout.split)
        }
        for header in layout.targets if learning else ():
            twin = next((other for other, cells in columns.items() if (cells == sheet.column(header)).all()), None)
            if twin is not None and len(sheet) > 1:
                raise InputError(
                    f"{sheet.name}: the column '{brief(twin)}' is the target '{brief(header)}' once more; remove it"
                )
        return TableSplit(columns, labels, sheet.name, sheet.lines)
    folder, cells = path.parent, sheet.column(layout.images)
    paths = [os.path.normpath(os.path.join(folder, cell)) for cell in cells]
    absent = [row for row, place in enumerate(paths) if not cells[row] or not os.path.isfile(place)]
    if absent and strict:
        listed = ", ".join(f"{brief(cells[row]) or 'no name'} (line {sheet.lines[row]})" for row in absent[:5])
        more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
        plural = "image is" if len(absent) == 1 else "images are"
        raise InputError(
            f"{sheet.name}: {len(absent):,} {plural} not there: {listed}{more}; paths are relative to {folder}/"
        )
    return FileSplit(paths, labels)


def _numbers(sheet: Sheet, header: str, images: bool) -> NDArray[np.float64]:
    """A target, NaN where it is missing; an explicit NaN is refused, for it is a calculation that went wrong.

    Raises:
        InputError: text, NaN, infinities, numbers beyond `LARGEST`; or nothing but missing values.
    """
    values = np.full(len(sheet), np.nan)
    for row, cell in enumerate(sheet.column(header)):
        value = number(cell)
        if value is None and is_missing(cell):
            continue
        if value is None or not abs(value) <= LARGEST:
            what = "target column" if not images else "column"
            reason, hint = "is no number", "correct it, or leave it empty to leave the row out"
            if value is not None:
                reason = f"is beyond {LARGEST:g}" if np.isfinite(value) else "is not finite"
            elif images:
                hint = "choose what to predict with --target, or put images of classes into class folders"
            raise InputError(
                f"{sheet.name}: line {sheet.lines[row]}, {what} '{brief(header)}': '{brief(cell, 40)}' {reason}; {hint}"
            )
        values[row] = value
    if np.isnan(values).all():
        raise InputError(f"{sheet.name}: every value of the target '{brief(header)}' is missing; fill them in")
    return values


def _where(sheet: Sheet, key: str, layout: Layout, split: Split, cut: bool, notes: list[str]) -> NDArray[np.str_]:
    """The split of each row."""
    if key:
        return np.full(len(sheet), key)
    if layout.split is not None:
        return np.array([SPLIT_NAMES[cell.lower()] for cell in sheet.column(layout.split)])
    where = np.full(len(sheet), "train", dtype="<U10")
    if not cut:
        return where
    test = cut_test(split)
    where[test] = "test"
    notes.append(
        f"{sheet.name} names no test split: {test.sum():,} of its {len(sheet):,} rows (one in {_TEST}, always the same)"
        " are kept for it; a column 'split' with train, validation and test chooses others"
    )
    return where


def cut_test(split: Split) -> NDArray[np.bool_]:
    """Which rows are tested on: a fifth, by Philox with seed 0; all rows of one image or none. bool [n]."""
    first, group = by_image(split)
    keys = sort_keys(0, 0, first, Stream.TEST)  # of an image, by the place of its first row
    test = np.argsort(keys, kind="stable")[: round(len(first) / _TEST)]
    return np.asarray(np.isin(group, test))


def _with_target(sheet: Sheet, layout: Layout, split: FileSplit | TableSplit, notes: list[str]) -> NDArray[np.bool_]:
    kept = np.asarray(~np.isnan(split.labels).any(axis=1))
    if not kept.all():
        lines = sheet.lines[~kept]
        listed = ", ".join(map(str, lines[:3])) + (", …" if len(lines) > 3 else "")
        rows = "1 row without a target" if len(lines) == 1 else f"{len(lines):,} rows without a target"
        notes.append(f"{sheet.name}: {rows} left out ({'line' if len(lines) == 1 else 'lines'} {listed})")
    return kept


def _take(split: FileSplit | TableSplit, rows: NDArray[np.int64]) -> Split:
    """These rows and no others, so that a cache of decoded images holds no others."""
    if isinstance(split, TableSplit):
        return split.take(rows)
    return FileSplit([split.paths[row] for row in rows], split.labels[rows])


def _check(source: Source, cut: bool) -> None:
    total = sum(len(split) for split in source.splits.values())
    if total < (_FEWEST if cut else 1):
        rows = "1 row" if total == 1 else f"{total} rows"
        raise InputError(f"{source.name} has {rows} with a target; a regression needs {_FEWEST} or more")
    train = source.splits.get("train")
    if train is None:
        if cut:
            raise InputError(f"{source.name}: no row is for training, only {', '.join(source.splits)}")
        return
    for place, target in enumerate(source.targets if cut else ()):
        if fault := target_fault(train.labels[:, place]):
            raise InputError(f"{source.name}: the target '{brief(target.name)}' {fault}")
