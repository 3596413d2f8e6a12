"""Crops resized, mirrored, normalised and written to their places in a batch by one kernel in C, where it compiles.

Its bits are those of the plain path: `views.resized`, `views.put` and `Preprocessing.normalise`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.data.preprocessing import Preprocessing
from resnets.native import library

_SOURCE = Path(__file__).with_name("crops.c")


@dataclass(frozen=True, eq=False)
class Crops:
    """The kernel for one preprocessing.

    Attributes:
        function: of the C library.
        side: of the crops, in pixels.
        factor, offset: float32 [3]; a byte times the first, less the second, is its value.
    """

    function: Any
    side: int
    factor: NDArray[np.float32]
    offset: NDArray[np.float32]

    def write(
        self,
        parts: Iterable[NDArray[np.uint8]],
        flips: NDArray[np.bool_] | None,
        places: NDArray[np.float32],
        *,
        last: bool,
    ) -> None:
        """Resize bytes [h, w, 3] each, mirror where `flips` [B], and write them normalised, without Python's lock.

        Args:
            parts: B of them, of any size.
            flips: None mirrors none.
            places: contiguous [B, S, S, 3] where `last`, else [B, 3, S, S].
            last: whether the colours come last.

        Raises:
            MemoryError: there is not enough for the part resized across, height x 3 side bytes.
        """
        shape = (self.side, self.side, 3) if last else (3, self.side, self.side)
        if not places.flags.c_contiguous or places.shape[1:] != shape or places.dtype != np.float32:
            raise ValueError(f"no places for crops: {places.dtype} {places.shape}")
        repeated = self.side if last else 1
        factor, offset = np.tile(self.factor, repeated), np.tile(self.offset, repeated)
        for row, part in enumerate(parts):
            if part.strides[1:] != (3, 1):
                part = np.ascontiguousarray(part)
            high, wide, _ = part.shape
            flip = flips is not None and bool(flips[row])
            given = _address(part), part.strides[0], wide, high, self.side, flip, not last
            if self.function(*given, _address(factor), _address(offset), _address(places[row])):
                raise MemoryError("not enough memory for resizing pictures")


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]  # half the time of `array.ctypes.data`
    return address


def crops(preprocessing: Preprocessing) -> Crops | None:
    """The kernel; None where the plain path is to be taken.

    The kernel knows colours in the order RGB and bilinear interpolation, and no mean image.
    """
    plain = preprocessing.channel_order == "RGB" and preprocessing.mean_image is None
    if not plain or preprocessing.channels != 3 or preprocessing.interpolation != "bilinear":
        return None
    found = library(_SOURCE)
    if found is None:
        return None
    whole, place = ctypes.c_int64, ctypes.c_void_p
    function = found.crop
    function.argtypes = [place, whole, whole, whole, whole, ctypes.c_int, ctypes.c_int, place, place, place]
    factor, offset = (values.numpy().reshape(3) for values in preprocessing.factors())
    return Crops(function, preprocessing.size, factor, offset)
