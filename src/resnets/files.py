"""Files that are whole or not there: written aside, synced, and put in their place by one rename."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LOCK = ".lock"  # of a run that is being written: see `training/lock.py`


def cache_folder() -> Path:
    """Where is kept what can be had or made again: $XDG_CACHE_HOME/resnets, or ~/.cache/resnets.

    Raises:
        RuntimeError: neither is known.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "resnets"


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file aside, sync it, and put it at `path` by one rename.

    Raises:
        OSError: it cannot be written, or not be known to last; what is at `path` is then whole, the old or the new.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(aside)
        sync(aside)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):  # a disk that is read-only by now must not hide what happened
            aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def publish_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write files into a folder aside, sync them, and put it at `path`, which must not be there or be empty.

    Args:
        path: where it will be.
        fill: writes files into the folder that it is given.

    Raises:
        OSError: it cannot be written, or `path` has come to hold something meanwhile; nothing is left behind then.
    """
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        fill(aside)
        for file in aside.iterdir():
            sync(file)
        sync(aside)
        os.rename(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there, so that they last."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync(place.parent)


def discard(folder: Path) -> None:
    """Remove a folder: at once, as others see it. What a kill leaves of it is litter for `sweep`.

    Raises:
        OSError: it is still there, whole.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old.part")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes had begun to write into `folder`, as far as the disk allows."""
    for path in folder.glob(".*.part"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def is_litter(name: str) -> bool:
    """Whether a file or folder is one that a killed process had begun, or the lock that it held."""
    return name == LOCK or (name.startswith(".") and name.endswith(".part"))


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    publish(path, lambda aside: aside.write_bytes(data))


def sync(path: Path) -> None:
    """Wait until a file's (or folder's entries') bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finite(value: Any) -> Any:
    """The same with None for the infinite and undefined numbers, which JSON does not have; keys are text."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def readable(value: Any, margin: str = "") -> str:
    """JSON with a line for every entry, but lists of plain values on one line: a confusion matrix is a row a line."""
    inner = margin + "  "
    if isinstance(value, Mapping) and value:
        entries = [f"{inner}{json.dumps(key)}: {readable(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(entries) + f"\n{margin}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + readable(item, inner) for item in value) + f"\n{margin}]"
    text = json.dumps(value, ensure_ascii=False)
    # The name of a file may be no UTF-8; Python keeps its odd bytes as surrogates, which only an escape can spell.
    return text if text.isascii() or not re.search("[\ud800-\udfff]", text) else json.dumps(value)
