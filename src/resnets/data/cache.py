"""Photographs kept decoded on the disk: one file a split, checked before it is believed, never needed.

A picture is kept as it is, or scaled to a shorter side of twice the network's where it is larger (`views.shrunk`). The
crop of a sample is the same box of the picture with the cache as without. Out of a picture whose shorter side is below
twice the network's, so are its bits. Out of a larger one it is cut at whole pixels of what is kept, and is less sharp
where it shows less than about a quarter of the picture: tests/data/test_cache.py bounds the difference. The bits depend
on the side alone: a run that began with a cache and has lost it scales its pictures anew for every batch. One that
could not begin with a cache does without the side too, as that would cost several times what decoding does.

The file holds the pixels of all pictures, then int32 (width, height, and those of the whole picture) of each, CRC-32 of
each as uint32, a JSON document, its length as 8 bytes, and `_END`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from resnets.data import jpeg
from resnets.data.decoding import UnreadableImage
from resnets.data.preprocessing import Preprocessing
from resnets.data.room import make_room, size_of
from resnets.data.split import FileSplit, Split, Subset, in_threads
from resnets.data.views import shrunk
from resnets.files import cache_folder, make_folder, publish

_VERSION, _END = 2, b"pictures"
_NO_CACHE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what reading another file may raise
_BLOCK = 64  # pictures decoded before they are written
_Found = tuple[NDArray[np.uint8], tuple[int, int]] | UnreadableImage


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
        digest: SHA-256 of the sizes and of the checksums of all pixels, as the file has it.
    """

    path: Path
    sizes: NDArray[np.int32]
    starts: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    channels: int
    failed: tuple[tuple[int, str, str], ...]
    digest: str

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """One picture, uint8 [h, w, C], and the width and height of the whole one."""
        width, height, *whole = self.sizes[index].tolist()
        pixels = self.pixels[self.starts[index] : self.starts[index + 1]].reshape(height, width, self.channels)
        return pixels, (whole[0], whole[1])

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the file again, and is not sent gigabytes."""
        return _mapped, (self.path, self.sizes, self.starts, self.channels, self.failed, self.digest)


def _mapped(path: Path, sizes: Any, starts: Any, channels: int, failed: Any, digest: str) -> Pictures | None:
    """None, and the pictures are decoded, where another run has made room or the file anew meanwhile."""
    try:
        content: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))  # an array is cut faster
        if _document(content)[0]["table"] != digest:
            return None
    except _NO_CACHE:
        return None
    return Pictures(path, sizes, starts, content[: int(starts[-1])], channels, failed, digest)


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
        room = make_room(place, estimate(files, side, channels))
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
    """A digest of what all files looked like (no program sets the time of a file's last change), and of who decodes."""
    digest = hashlib.sha256(json.dumps(_decoders()).encode())
    for path in files.paths:
        try:
            found = os.stat(path)
            seen = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
        except OSError as problem:
            seen = f"not there: {problem.errno}"
        digest.update(os.fsencode(f"{os.path.abspath(path)}\0{seen}\0"))
    return digest.hexdigest()


def _decoders() -> list[str | None]:
    libraries = ("jpg", "libjpeg_turbo", "jpg_2000", "webp", "libtiff")
    return [PIL.__version__, jpeg.version(), *map(features.version, libraries)]


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
        text = json.dumps(document).encode()
        file.write(text + len(text).to_bytes(8, "little") + _END)


def _document(content: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The document at a file's end, and where it begins; raises ValueError where there is none."""
    end = len(content) - 8 - len(_END)
    if content[end + 8 :].tobytes() != _END:
        raise ValueError("no pictures")
    begin = end - int.from_bytes(content[end : end + 8].tobytes(), "little")
    document: dict[str, Any] = json.loads(content[max(begin, 0) : end].tobytes())
    return document, begin


def _decoded(files: FileSplit, index: int, side: int, channels: int) -> _Found:
    try:
        return shrunk(files, index, side, channels)
    except UnreadableImage as problem:
        return problem


def _opened(place: Path, state: str, files: FileSplit, channels: int) -> Pictures | None:
    """The pictures, if the file is whole, every checksum is right, and it was made of the files as they are now."""
    try:
        content: NDArray[np.uint8] = np.memmap(place, dtype=np.uint8, mode="r")
        n, (document, begin) = len(files), _document(content)
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
    except _NO_CACHE:
        return None
    found = Pictures(place, sizes, starts, np.asarray(content)[: starts[-1]], channels, failed, document["table"])
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
