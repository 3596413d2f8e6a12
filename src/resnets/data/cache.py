"""Photographs kept decoded on the disk: one file a split, checked before it is believed, never needed.

A picture is kept as it is, or scaled to a shorter side of twice the network's where it is larger (`views.shrunk`). The
crop of a sample is the same box of the picture with the cache as without. Out of a picture whose shorter side is below
twice the network's, so are its bits. Out of a larger one it is cut at whole pixels of what is kept, and is less sharp
where it shows less than about a quarter of the picture: tests/data/test_cache.py bounds the difference. The bits depend
on the side alone, never on whether the file could be kept: without it, the pictures are scaled anew for every batch.

The file holds the pixels of all pictures, then int32 (width, height, and those of the whole picture) of each, CRC-32 of
each as uint32, a JSON document, its length as 8 bytes, and `_END`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from resnets.data.builtin import cache as cache_folder
from resnets.data.decoding import UnreadableImage
from resnets.data.preprocessing import Preprocessing
from resnets.data.split import FileSplit, Split, Subset, in_threads
from resnets.data.views import shrunk
from resnets.files import make_folder, publish

LARGEST = 32 << 30  # bytes that all cached splits together may take
_VERSION, _END = 2, b"pictures"
_BLOCK = 64  # pictures decoded before they are written
_Found = tuple[NDArray[np.uint8], tuple[int, int]] | UnreadableImage
_DAY = 86_400  # seconds after which what a killed process had begun to write is removed


@dataclass(frozen=True, eq=False)
class Pictures:
    """The decoded pictures of a `FileSplit`, in its order.

    Attributes:
        path: of the file.
        sizes: int32 [n, 4], width and height, and those of the whole picture; 0 of those that could not be read.
        starts: int64 [n + 1], where each begins in `pixels`.
        pixels: uint8, of all of them, mapped from the file.
        channels: of each.
        failed: (index, name, reason) of those that could not be read.
    """

    path: Path
    sizes: NDArray[np.int32]
    starts: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    channels: int
    failed: tuple[tuple[int, str, str], ...]

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """One picture, uint8 [h, w, C], and the width and height of the whole one."""
        width, height, *whole = self.sizes[index].tolist()
        pixels = self.pixels[self.starts[index] : self.starts[index + 1]].reshape(height, width, self.channels)
        return pixels, (whole[0], whole[1])

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the file again, and is not sent gigabytes."""
        return _mapped, (self.path, self.sizes, self.starts, self.channels, self.failed)


def _mapped(path: Path, sizes: Any, starts: Any, channels: int, failed: Any) -> Pictures:
    pixels: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))  # an array is cut faster
    return Pictures(path, sizes, starts, pixels[: int(starts[-1])], channels, failed)


def files_of(split: Split) -> FileSplit | None:
    """The class folders that a split was cut out of, if it was."""
    whole = split.whole if isinstance(split, Subset) else split
    return whole if isinstance(whole, FileSplit) else None


def kept_side(preprocessing: Preprocessing) -> int:
    """The shorter side to which larger pictures are scaled before they are kept."""
    return 2 * preprocessing.size


def keep(files: FileSplit, side: int, channels: int) -> tuple[Pictures | None, str]:
    """The kept pictures of a split, made now unless they are there and sound; and what the user should be told.

    None where they cannot be kept, for want of room or permission.
    """
    place = _place(files, side, channels)
    try:
        state = _state(files)
        if found := _opened(place, state, files, channels):
            return found, f"decoded pictures found in {place} ({size_of(place.stat().st_size)})"
        make_folder(place.parent)
        room = _make_room(place, estimate(files, side, channels))
        publish(place, lambda aside: _write(aside, files, side, channels, state, room))
        found = _opened(place, _state(files), files, channels)
    except OSError as problem:
        return None, f"no cache of decoded pictures: {place.parent}: {problem.strerror or problem}"
    if found is None:
        return None, f"no cache of decoded pictures: {place} does not hold what was written, or the images changed"
    return found, f"decoded pictures kept in {place} ({size_of(place.stat().st_size)})"


def estimate(files: FileSplit, side: int, channels: int) -> int:
    """About how many bytes `keep` will take, by 32 pictures."""
    sizes = []
    for index in range(0, len(files), max(1, len(files) // 32)):
        with suppress(UnreadableImage):
            width, height = files.reduced(index, lambda width, height: 8).whole
            part = min(1.0, side / min(width, height))
            sizes.append(width * height * part**2 * channels)
    return int(np.mean(sizes) * len(files)) if sizes else 0


def _place(files: FileSplit, side: int, channels: int) -> Path:
    asked = json.dumps([_VERSION, side, channels, [os.path.abspath(path) for path in files.paths]])
    return cache_folder() / "pictures" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.pictures"


def _state(files: FileSplit) -> str:
    """A digest of what all files looked like: path, size, and time of the last change."""
    digest = hashlib.sha256()
    for path in files.paths:
        try:
            found = os.stat(path)
            seen = f"{found.st_size} {found.st_mtime_ns}"
        except OSError as problem:
            seen = f"not there: {problem.errno}"
        digest.update(os.fsencode(f"{os.path.abspath(path)}\0{seen}\0"))
    return digest.hexdigest()


def _write(aside: Path, files: FileSplit, side: int, channels: int, state: str, room: int) -> None:
    sizes, checks = np.zeros((len(files), 4), dtype=np.int32), np.zeros(len(files), dtype=np.uint32)
    failed: list[tuple[int, str, str]] = []
    with aside.open("wb") as file:
        for begin in range(0, len(files), _BLOCK):

            def decode(part: Sequence[int], begin: int = begin) -> list[tuple[int, _Found]]:
                return [(begin + number, _decoded(files, begin + number, side, channels)) for number in part]

            for part in in_threads(decode, min(_BLOCK, len(files) - begin), chunk=4):
                for index, found in part:
                    if isinstance(found, UnreadableImage):
                        failed.append((index, found.name, found.reason))
                        continue
                    picture, whole = found
                    sizes[index] = picture.shape[1], picture.shape[0], *whole
                    checks[index] = zlib.crc32(picture.data)
                    file.write(picture.data)
            if file.tell() > room:
                raise OSError(f"more than the {size_of(room)} that it may take")
        table = sizes.tobytes() + checks.tobytes()
        file.write(table)
        document = {
            "version": _VERSION, "n": len(files), "channels": channels, "sources": state, "failed": failed,
            "table": hashlib.sha256(table).hexdigest(),
        }  # fmt: skip
        _end(file, document)


def _end(file: BinaryIO, document: dict[str, Any]) -> None:
    text = json.dumps(document).encode()
    file.write(text + len(text).to_bytes(8, "little") + _END)


def _decoded(files: FileSplit, index: int, side: int, channels: int) -> _Found:
    try:
        return shrunk(files, index, side, channels)
    except UnreadableImage as problem:
        return problem


def _opened(place: Path, state: str, files: FileSplit, channels: int) -> Pictures | None:
    """The pictures, if the file is whole, every checksum is right, and it was made of the files as they are now."""
    try:
        content: NDArray[np.uint8] = np.memmap(place, dtype=np.uint8, mode="r")
        n, end = len(files), len(content) - 8 - len(_END)
        if content[end + 8 :].tobytes() != _END:
            return None
        begin = end - int.from_bytes(content[end : end + 8].tobytes(), "little")
        document = json.loads(content[max(begin, 0) : end].tobytes())
        asked = {"version": _VERSION, "n": n, "channels": channels, "sources": state}
        middle = begin - 20 * n
        table = content[max(middle, 0) : begin].tobytes()
        if any(document[key] != value for key, value in asked.items()):
            return None
        if hashlib.sha256(table).hexdigest() != document["table"]:
            return None
        sizes = np.frombuffer(table[: 16 * n], dtype=np.int32).reshape(n, 4)
        starts = np.concatenate([[0], np.cumsum(sizes[:, :2].astype(np.int64).prod(1) * channels)])
        failed = tuple((int(index), str(name), str(reason)) for index, name, reason in document["failed"])
        if starts[-1] != middle:
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    found = _mapped(place, sizes, starts, channels, failed)
    checks = np.frombuffer(table[16 * n :], dtype=np.uint32)

    def sound(part: Sequence[int]) -> bool:
        return all(zlib.crc32(found.pixels[starts[k] : starts[k + 1]].data) == checks[k] for k in part)

    if not all(in_threads(sound, n)) or any(_readable(files, index) for index, _, _ in failed):
        return None
    with suppress(OSError):
        os.utime(place)  # the least recently used make room
    return found


def _readable(files: FileSplit, index: int) -> bool:
    return not isinstance(_decoded(files, index, 1, 3), UnreadableImage)


def _make_room(place: Path, need: int) -> int:
    """Remove what was used longest ago, so that `need` bytes fit into what all may take; return what this one may.

    Raises:
        OSError: they do not fit.
    """
    folder, now = place.parent, time.time()
    for litter in folder.glob(".*.part"):
        with suppress(OSError):
            if now - litter.stat().st_mtime > _DAY:
                litter.unlink()
    room = min(LARGEST, free(folder) // 2)
    if need > room:
        raise OSError(f"{size_of(need)} are needed, and {size_of(room)} may be used")
    others = sorted(
        (path for path in folder.glob("*.pictures") if path != place), key=lambda path: path.stat().st_mtime
    )
    while others and sum(path.stat().st_size for path in others) + need > LARGEST:
        others.pop(0).unlink(missing_ok=True)
    return room


def free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def size_of(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
