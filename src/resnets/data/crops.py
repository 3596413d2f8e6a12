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
            MemoryError: there is not enough for about a picture's size.
        """
        kept = [part if part.strides[1:] == (3, 1) else np.ascontiguousarray(part) for part in parts]
        jobs = np.empty((len(kept), 5), dtype=np.int64)
        for job, part in zip(jobs, kept, strict=True):
            job[:4] = part.__array_interface__["data"][0], part.strides[0], part.shape[1], part.shape[0]
        jobs[:, 4] = False if flips is None else flips
        image = (self.side, self.side, 3) if last else (3, self.side, self.side)
        if not places.flags.c_contiguous or places.shape != (len(kept), *image):
            raise ValueError(f"no places for {len(kept)} crops: {places.shape}")
        addresses = (array.ctypes.data for array in (self.factor, self.offset, places))
        if self.function(jobs.ctypes.data, len(kept), self.side, not last, *addresses):
            raise MemoryError("not enough memory for resizing pictures")


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
    function = found.crops
    function.argtypes = [place, whole, whole, ctypes.c_int, place, place, place]
    factor, offset = (values.numpy().reshape(3) for values in preprocessing.factors())
    return Crops(function, preprocessing.size, factor, offset)
