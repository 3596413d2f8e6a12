"""Files that are whole or not there: written aside, synced, and put in their place by one rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file aside, sync it, and put it at `path` by one rename.

    Raises:
        OSError: it cannot be written; what was at `path` is then still there.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(aside)
        sync(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def publish_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write files into a folder aside, sync them, and put it at `path`, which must not be there or be empty.

    Raises:
        OSError: it cannot be written, or `path` has come to hold something meanwhile; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        fill(aside)
        for file in aside.iterdir():
            sync(file)
        sync(aside)
        os.rename(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    publish(path, lambda aside: aside.write_text(text, encoding="utf-8"))


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


def readable(value: Any, margin: str = "") -> str:
    """JSON with a line for every entry, but lists of plain values on one line: a confusion matrix is a row a line."""
    inner = margin + "  "
    if isinstance(value, Mapping) and value:
        entries = [f"{inner}{json.dumps(key)}: {readable(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(entries) + f"\n{margin}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + readable(item, inner) for item in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False)
