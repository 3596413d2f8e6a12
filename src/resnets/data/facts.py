"""What the doctor says of numbers: the targets of a regression, and the columns and rows of a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.rows import TableSplit
from resnets.data.split import Source
from resnets.data.tables import fit_encoding
from resnets.errors import InputError
from resnets.sheet import is_missing


def target_facts(source: Source) -> list[dict[str, Any]]:
    """Of each target, its unit, and of each split and of all together n, mean, standard deviation, min and max."""
    return [
        {
            "name": target.name,
            "unit": target.unit,
            **_moments(np.concatenate([split.labels[:, place] for split in source.splits.values()])),
            "splits": {name: _moments(split.labels[:, place]) for name, split in source.splits.items()},
        }
        for place, target in enumerate(source.targets)
    ]


def table_facts(source: Source, notes: list[str]) -> dict[str, Any]:
    """The columns and the duplicate rows of a table.

    Returns:
        columns: `name`, `kind` (numeric, category, or left out), `missing`; of numbers also what `target_facts` says;
            of words `distinct` and the commonest ten as `levels`; where left out the `reason`.
        duplicates: groups of rows whose predictors are the same cell for cell, as `examine` gives them.
    """
    splits = {name: split for name, split in source.splits.items() if isinstance(split, TableSplit)}
    first = next(iter(splits.values()))
    try:
        encoding = fit_encoding(first)
        left_out, told = dict(encoding.left_out), encoding.notes
    except InputError as problem:
        left_out, told = {}, (str(problem),)
    notes += [note for note in told if note not in notes and "left out" not in note]
    columns = [{**_column(splits, name), **_left_out(left_out, name)} for name in first.columns]
    return {"columns": columns, "duplicates": _duplicates(splits)}


def _left_out(left_out: Mapping[str, str], name: str) -> dict[str, str]:
    return {"kind": "left out", "reason": left_out[name]} if name in left_out else {}


def _column(splits: Mapping[str, TableSplit], name: str) -> dict[str, Any]:
    cells = np.concatenate([split.columns[name] for split in splits.values() if name in split.columns])
    whole = TableSplit({name: cells}, np.zeros((len(cells), 0)), "", np.arange(len(cells)))
    try:
        values, word = whole.numbers(name)
    except InputError:  # an infinity, which the notes tell of
        values, word = np.full(len(cells), np.nan), 0
    if word is None:
        there = values[~np.isnan(values)]
        return {"name": name, "kind": "numeric", "missing": len(values) - len(there), **_moments(there)}
    missing = np.array([is_missing(str(cell)) for cell in cells], dtype=bool)
    levels, counts = np.unique(cells[~missing].astype(str), return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:10]
    return {
        "name": name,
        "kind": "category",
        "missing": int(missing.sum()),
        "distinct": len(levels),
        "levels": {str(levels[place]): int(counts[place]) for place in commonest},
    }


def _moments(values: NDArray[np.float64]) -> dict[str, Any]:
    if not len(values):
        return {"n": 0, "mean": None, "sd": None, "min": None, "max": None}
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    return {
        "n": len(values),
        "mean": mean if np.isfinite(mean) else None,
        "sd": deviation if np.isfinite(deviation) else None,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _duplicates(splits: Mapping[str, TableSplit]) -> list[dict[str, Any]]:
    groups: defaultdict[tuple[Any, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, split in splits.items():
        for row, cells in enumerate(zip(*split.columns.values(), strict=True)):
            groups[cells].append((name, row))
    listed = [
        {
            "splits": list(dict.fromkeys(name for name, _ in group)),
            "paths": [splits[name].name(row) for name, row in group],
            "classes": [],
            "targets": [splits[name].labels[row].tolist() for name, row in group],
            "across": len({name for name, _ in group}) > 1,
        }
        for group in groups.values()
        if len(group) > 1
    ]
    return sorted(listed, key=lambda entry: not entry["across"])
