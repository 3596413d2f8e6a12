"""Room on the disk for decoded pictures, which all of them together may take."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

LARGEST = 32 << 30  # bytes that all cached splits together may take
_DAY = 86_400  # seconds after which what a killed process had begun to write is removed


def available(folder: Path) -> int:
    """Bytes that one cached split may take in a folder, which need not be there yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return min(LARGEST, shutil.disk_usage(folder).free // 2)


def make_room(place: Path, need: int) -> int:
    """Remove what was used longest ago, so that `need` bytes fit into what all may take; return what this one may.

    Raises:
        OSError: they do not fit.
    """
    folder, now = place.parent, time.time()
    for litter in folder.glob(".*.part"):
        with suppress(OSError):
            if now - litter.stat().st_mtime > _DAY:
                litter.unlink()
    room = available(folder)
    if need > room:
        raise OSError(f"{size_of(need)} are needed, and {size_of(room)} may be used")
    others = sorted(
        (path for path in folder.glob("*.pictures") if path != place), key=lambda path: path.stat().st_mtime
    )
    while others and sum(path.stat().st_size for path in others) + need > LARGEST:
        others.pop(0).unlink(missing_ok=True)
    return room


def size_of(count: int) -> str:
    """Bytes, as one says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
