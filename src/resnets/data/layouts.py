"""What the columns of a CSV file are: image files, splits, targets, predictors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnets.data.decoding import IMAGE_SUFFIXES
from resnets.data.parquet import SPLIT_NAMES
from resnets.data.targets import Target, choose_targets, name_targets, separated
from resnets.errors import InputError, brief
from resnets.sheet import Cells, Sheet

SPLITS = ("train", "validation", "test")
_FILES = ("file", "path", "image", "filename", "file_name", "image_path")  # headers of the column of images


@dataclass(frozen=True, eq=False)
class Layout:
    """What the columns of a CSV file are.

    Attributes:
        images: the header of the column of image files; None in a table.
        split: the header of the column that names each row's split, or None.
        targets: the targets by header.
        others: all other headers, in order.
    """

    images: str | None
    split: str | None
    targets: Mapping[str, Target]
    others: tuple[str, ...]


def csv_files(root: Path, *, first: bool = False) -> dict[str, Path]:
    """The CSV files of a folder that are named after splits: train.csv, val.csv or validation.csv, test.csv.

    Class folders below `train/` and the like come before them, unless the user named a target (`first`).

    Raises:
        InputError: the folder cannot be read, there are two for one split, or none for training.
    """
    try:
        inside = sorted(root.iterdir())
        folders = [path for path in inside if path.name.lower() in SPLIT_NAMES and path.is_dir()]
        named = [path for path in inside if path.suffix.lower() == ".csv" and path.stem.lower() in SPLIT_NAMES]
        if not named or (not first and any(below.is_dir() for folder in folders for below in folder.iterdir())):
            return {}
    except OSError as problem:
        raise InputError(f"{problem.filename or root} cannot be read: {problem.strerror}") from problem
    found: dict[str, Path] = {}
    for path in named:
        split = SPLIT_NAMES[path.stem.lower()]
        if split in found:
            raise InputError(f"{root} has both {found[split].name} and {path.name}; keep one for {split}")
        found[split] = path
    if "train" not in found:
        raise InputError(f"{root} has {', '.join(path.name for path in named)} but no train.csv; add it")
    return {split: found[split] for split in SPLITS if split in found}


def find_layout(sheet: Sheet, target: Sequence[str] | None, *, need_target: bool = True) -> Layout:
    """Say what each column is.

    Raises:
        InputError: no such target, none given for a table, or one that is the column of files or of splits.
    """
    images = next((header for header in sheet.headers if _names_images(header, sheet.column(header))), None)
    split = next((header for header in sheet.headers if _names_splits(sheet, header)), None)
    named = name_targets(sheet.headers)
    known = {header: found for header, found in named.items() if header not in (images, split)}
    if target is not None:
        target = separated(target, named)
        for word in target:
            if word in (images, split):
                what = "names the images" if word == images else "names the splits"
                raise InputError(f"{sheet.name}: the column '{brief(word)}' {what}; choose another target")
        chosen = choose_targets(sheet.name, target, known)
    elif images is not None:
        chosen = list(known)
        if not chosen:
            raise InputError(f"{sheet.name} has a column of images but none to predict; add one, such as 'angle (deg)'")
    elif need_target:
        listed = ", ".join(brief(found.name, 40) for found in list(known.values())[:20])
        more = ", …" if len(known) > 20 else ""
        raise InputError(f"{sheet.name} is a table: say which column to predict with --target (it has {listed}{more})")
    else:
        chosen = []
    others = tuple(header for header in known if header not in chosen)
    return Layout(images, split, {header: known[header] for header in chosen}, others)


def _names_images(header: str, cells: Cells) -> bool:
    if header.lower() not in _FILES:
        return False
    return 2 * sum(os.path.splitext(cell)[1].lower() in IMAGE_SUFFIXES for cell in cells) >= len(cells)


def _names_splits(sheet: Sheet, header: str) -> bool:
    cells = sheet.column(header) if header.lower() == "split" else ()
    odd = [row for row, cell in enumerate(cells) if cell.lower() not in SPLIT_NAMES]
    if odd and len(odd) < len(cells):
        raise InputError(
            f"{sheet.name}: line {sheet.lines[odd[0]]}, column '{header}': '{brief(cells[odd[0]], 40)}' is no split;"
            " write train, validation or test"
        )
    return len(cells) > len(odd)
