"""JPEGs decoded by simplejpeg (libjpeg-turbo), where it is installed: Pillow's pixels to the bit, in half its time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # Pillow decodes then, as it does whatever is refused here
    simplejpeg = None

_COLOURS = {"YCbCr": "RGB", "Gray": "GRAY"}  # others are converted as Pillow does it
_SMALLEST = 64  # pixels: of smaller sides, different scales may come to the same size
# Markers that have a length for libjpeg too: frames, tables, APPn, comments. After any other (RSTn, TEM, a zero) it may
# go on elsewhere than `head` does, and a file be made to seem harmless.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEGMENTS = _FRAMES | {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}


def version() -> str | None:
    """simplejpeg's, where it is installed."""
    return None if simplejpeg is None else str(simplejpeg.__version__)


def size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height as they are stored, if `pixels` can decode the picture."""
    if simplejpeg is None:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    return (width, height) if colours in _COLOURS and min(width, height) >= _SMALLEST else None


def pixels(encoded: bytes, scale: int) -> NDArray[np.uint8]:
    """The picture divided by 1, 2, 4 or 8, as it is stored: uint8 [h, w, C], C = 1 for a grey one, else 3.

    Raises:
        ValueError: damaged, even if so little that libjpeg only warns of it.
    """
    height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    wanted = -(-height // scale), -(-width // scale)
    found: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        encoded, _COLOURS[colours], min_height=wanted[0], min_width=wanted[1]
    )
    if found.shape[:2] != wanted:
        raise ValueError(f"decoded to {found.shape[:2]}, not {wanted}")
    return found


def head(encoded: bytes) -> tuple[bool, bool]:
    """What precedes the pixels: whether nothing can turn the picture, and whether they are one scan.

    Only an APP1 segment, of EXIF or XMP data, can turn it. Of a sequential picture whose first scan holds all of its
    colours, libjpeg goes through no other.
    """
    at, plain, colours = 2, True, b""
    while encoded[at : at + 1] == b"\xff" and at + 4 <= len(encoded):
        kind = encoded[at + 1]
        if kind == 0xFF:  # filling
            at += 1
            continue
        if kind == 0xDA:
            return plain, colours != b"" and encoded[at + 4 : at + 5] == colours
        if kind not in _SEGMENTS:
            break
        if kind in (0xC0, 0xC1):
            colours = encoded[at + 9 : at + 10]
        plain = plain and kind != 0xE1
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    return False, False
