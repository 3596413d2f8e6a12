"""What the files of a folder must be: names, sizes and SHA-256, in a document that covers itself.

Sealed JSON is JSON whose last entry is the SHA-256 of every byte before it. No bit of it can change, and no end of it
can be missing, without being seen. A seal is no signature: whoever can write the file can seal it again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import readable, sha256

NAME = "manifest.json"
FORMAT = 1
LARGEST = 256 << 20  # bytes of a document: a confusion matrix of 5,000 classes has half of them


@dataclass(frozen=True)
class Entry:
    """What one file must be."""

    bytes: int
    sha256: str


def sealed(value: Mapping[str, Any]) -> bytes:
    """A mapping, which is not empty and has no entry `sha256`, as sealed JSON."""
    body = readable(value).removesuffix("\n}").encode()
    return body + _seal(body)


def unsealed(data: bytes) -> dict[str, Any]:
    """The mapping that `sealed` was given.

    Raises:
        ValueError: not a byte is believed unless all are as written.
    """
    body = data[: -len(_seal(b""))]
    if not body or data != body + _seal(body):
        raise ValueError("its bytes are not those that were written")
    try:
        value = json.loads(data)
        del value["sha256"]
    except (RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"it is no document of ours ({error})") from None
    return value


def measure(folder: Path, names: Iterable[str]) -> dict[str, Entry]:
    """What files of `folder` are now."""
    return {name: Entry((folder / name).stat().st_size, sha256(folder / name)) for name in sorted(names)}


def entry(data: bytes) -> Entry:
    """What a file of these bytes will be."""
    return Entry(len(data), hashlib.sha256(data).hexdigest())


def document(entries: Mapping[str, Entry]) -> bytes:
    """The bytes of a manifest of these files."""
    return sealed({"format": FORMAT, "files": {name: asdict(item) for name, item in entries.items()}})


def read(folder: Path) -> dict[str, Entry]:
    """Read the manifest of `folder`.

    Raises:
        InputError: it is missing, damaged, or of another format.
    """
    file = folder / NAME
    try:
        if reason := _no_file(file):
            raise InputError(f"{file} {reason}")
        content = unsealed(small_file(file))
        if content["format"] != FORMAT:
            raise InputError(
                f"{file} has the format {content['format']}, this version of resnets reads {FORMAT}; update resnets"
            )
        return {plain(name): Entry(int(item["bytes"]), str(item["sha256"])) for name, item in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file} is damaged ({reason})") from None


def problem(file: Path, expected: Entry) -> str | None:
    """What is wrong with a file, to follow its name; None if every byte is as written."""
    try:
        if reason := _no_file(file):
            return reason
        size = file.stat().st_size
        if size != expected.bytes:
            return f"is damaged: it has {size:,} bytes instead of {expected.bytes:,}"
        if sha256(file) != expected.sha256:
            return "is damaged: its bytes are not those that were written (another SHA-256)"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None


def check(folder: Path, needed: Iterable[str] = ()) -> dict[str, Entry]:
    """Check every file that the manifest of `folder` lists, and that it lists the `needed` ones; returns what it lists.

    Raises:
        InputError: the manifest or a file is missing or damaged; names it.
    """
    entries = read(folder)
    for name in needed:
        if name not in entries:
            raise InputError(f"{folder / NAME} does not list {name}")
    for name, expected in entries.items():
        if reason := problem(folder / name, expected):
            raise InputError(f"{folder / name} {reason}")
    return entries


def _seal(body: bytes) -> bytes:
    return f',\n  "sha256": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def _no_file(file: Path) -> str | None:
    """Why there is nothing to read; opening a pipe, say, would wait for ever."""
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        return "is missing"
    return None if stat.S_ISREG(mode) else "is not a file"


def small_file(file: Path) -> bytes:
    """The bytes of a document.

    Raises:
        OSError: it cannot be read, is no file, or is far too large for one.
    """
    if reason := _no_file(file):
        raise OSError(errno.ENOENT, reason)
    if file.stat().st_size > LARGEST:
        raise OSError(errno.EFBIG, f"is larger than {LARGEST >> 20} MiB")
    return file.read_bytes()


def plain(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"the file name {name!r} leads elsewhere")
    os.fsencode(name)  # raises UnicodeEncodeError, which is a ValueError
    return name
