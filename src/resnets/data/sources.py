"""From the word a user types to labelled images."""

from __future__ import annotations

import os
from pathlib import Path

from resnets.data.builtin import BUILTIN, open_builtin
from resnets.data.folders import open_folders
from resnets.data.parquet import open_parquet, shards
from resnets.data.split import Source
from resnets.errors import InputError, nearest


def open_source(text: str | os.PathLike[str]) -> Source:
    """Open a built-in source by name, a folder of class folders, or a folder of parquet shards.

    Class folders may stand below `train/`, `val/` (`valid/`, `validation/`) and `test/`. Nothing is decoded yet.
    A built-in name wins over a folder of that name; write `./digits` for the folder.

    Raises:
        InputError: no such source, an empty one, one class only, empty class folders, classes that differ
            between splits, or a download that failed.
    """
    source = open_tolerantly(text, strict=True)
    if not any(len(split) for split in source.splits.values()):
        raise InputError(f"{source.name} holds no images")
    if len(source.classes) < 2:
        raise InputError(f"{source.name}: only one class, '{source.classes[0]}'; a classifier needs at least two")
    return source


def open_tolerantly(text: str | os.PathLike[str], *, strict: bool = False) -> Source:
    """Open a source as `open_source` does, but take class folders as they are, so that they can be examined."""
    name = os.fspath(text)
    if name.lower() in BUILTIN:
        return open_builtin(name.lower())
    path = Path(name).expanduser()
    if not path.exists():
        raise InputError(
            f"no folder or built-in source is called '{name}' (built-in: {', '.join(BUILTIN)}){nearest(name, BUILTIN)}"
        )
    if not path.is_dir():
        raise InputError(f"{name} is a file; expected a folder of class folders or of parquet shards")
    files = shards(path)
    if files:
        return open_parquet(name, path, files)
    return open_folders(name, path, strict=strict)
