"""From the word a user types to labelled images, or to numbers to predict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from resnets.data.builtin import BUILTIN, open_builtin
from resnets.data.csvs import open_csv
from resnets.data.folders import open_folders
from resnets.data.layouts import csv_files
from resnets.data.parquet import open_parquet, shards
from resnets.data.split import Source
from resnets.data.targets import choose_targets
from resnets.errors import InputError, brief, nearest

_TABLES = (".csv", ".tsv")


def open_source(text: str | os.PathLike[str], *, target: str | Sequence[str] | None = None, cut: bool = True) -> Source:
    """Open a built-in source by name, a folder of class folders or of parquet shards, or a CSV file to regress on.

    Class folders may stand below `train/`, `val/` (`valid/`, `validation/`) and `test/`. Nothing is decoded yet.
    A built-in name wins over a folder of that name; write `./digits` for the folder.
    A CSV file is a list of images (column `file`, `path` or `image`) and their targets, or a table; a folder may hold
    train.csv, val.csv and test.csv.

    Args:
        text: the name or path.
        target: of CSV files: the column or columns to predict, by header or by name without unit; several may stand
            in one text by commas. Without it, all columns beside the images.
        cut: of a CSV file that names no test split: keep one row in five for it. Otherwise all its rows are "train",
            however few they are, as is right for a file to evaluate on.

    Raises:
        InputError: no such source, an empty one, one class only, empty class folders, classes that differ
            between splits, or a download that failed; a CSV file that cannot be trained on.
    """
    source = open_tolerantly(text, strict=True, target=target, cut=cut)
    if not any(len(split) for split in source.splits.values()):
        raise InputError(f"{source.name} holds no images")
    if source.task == "classification" and len(source.classes) < 2:
        raise InputError(f"{source.name}: only one class, '{source.classes[0]}'; a classifier needs at least two")
    return source


def names_targets(text: str | os.PathLike[str]) -> bool:
    """Whether targets are columns to be chosen by name in this source: a CSV file, or a folder of them."""
    path = Path(text).expanduser()
    if os.fspath(text).lower() in BUILTIN:
        return False
    return bool(csv_files(path, first=True)) if path.is_dir() else path.suffix.lower() in _TABLES


def open_tolerantly(
    text: str | os.PathLike[str], *, strict: bool = False, target: str | Sequence[str] | None = None, cut: bool = True
) -> Source:
    """Open a source as `open_source` does, but take class folders as they are, so that they can be examined."""
    name = os.fspath(text)
    wanted = [target] if isinstance(target, str) else target or None
    path = Path(name).expanduser()
    if name.lower() not in BUILTIN:
        if not path.exists():
            raise InputError(
                f"no file, folder or built-in source is called '{name}' (built-in: {', '.join(BUILTIN)})"
                f"{nearest(name, BUILTIN)}"
            )
        files = {"": path} if not path.is_dir() else csv_files(path, first=wanted is not None)
        if files and (path.is_dir() or path.suffix.lower() in _TABLES):
            return open_csv(name, files, wanted, cut=cut, strict=strict)
        if files:
            raise InputError(
                f"{name} is a file; expected a folder of class folders or of parquet shards, or a CSV file"
            )
    source = _open_other(name, path, strict)
    if wanted is not None:
        if source.task == "classification":
            raise InputError(f"{name} has classes; --target '{brief(', '.join(wanted))}' is for CSV files")
        choose_targets(name, wanted, {str(target): target for target in source.targets})
    return source


def _open_other(name: str, path: Path, strict: bool) -> Source:
    if name.lower() in BUILTIN:
        return open_builtin(name.lower())
    files = shards(path)
    if files:
        return open_parquet(name, path, files)
    return open_folders(name, path, strict=strict)
