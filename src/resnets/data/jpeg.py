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


def size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height as they are stored, if `pixels` can decode the picture.

    Raises:
        ValueError: the header is damaged.
    """
    if simplejpeg is None:
        return None
    height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
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


def plain(encoded: bytes) -> bool:
    """Whether no APP1 segment, of EXIF or XMP data, precedes the pixels: nothing can turn the picture then."""
    at = 2
    while encoded[at : at + 1] == b"\xff" and at + 4 <= len(encoded):
        kind = encoded[at + 1]
        if kind == 0xFF:  # filling
            at += 1
        elif kind in (0xDA, 0xE1):
            return kind == 0xDA
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    return False
