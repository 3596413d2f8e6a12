"""A picture that was decoded smaller than it is: where a box of the whole one lies in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LYING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_MIRRORED = {2: (1, 0), 3: (1, 1), 4: (0, 1), 6: (1, 0), 7: (1, 1), 8: (0, 1)}  # axes of the upright picture: x, y
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

Reduction = Callable[[int, int], int]


@dataclass(frozen=True, eq=False)
class Reduced:
    """A picture as `read_image` gives it, or smaller.

    Attributes:
        content: a picture in mode L or RGB, or its bytes [h, w, 1 or 3]; the sides are those of `whole` divided by
            `scale` and rounded up.
        whole: width and height of the picture that it stands for.
        scale: 1, 2, 4 or 8.
        before: pixels of `whole`, across and down, that the first one here has too few. libjpeg rounds up at the right
            and at the bottom, which lie elsewhere once a picture is turned.
    """

    content: Image.Image | NDArray[np.uint8]
    whole: tuple[int, int]
    scale: int = 1
    before: tuple[int, int] = (0, 0)

    @property
    def picture(self) -> Image.Image:
        if isinstance(self.content, Image.Image):
            return self.content
        return Image.fromarray(self.content if self.content.shape[2] == 3 else self.content[:, :, 0])

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """A box of the whole picture, in the pixels of this one."""
        (across, down), scale = self.before, self.scale
        return (left + across) / scale, (top + down) / scale, (right + across) / scale, (bottom + down) / scale


def turned(content: Image.Image | NDArray[np.uint8], whole: tuple[int, int], scale: int, orientation: int) -> Reduced:
    """A picture that was decoded at a scale, and turned upright after that."""
    across, down = _MIRRORED.get(orientation, (0, 0))
    return Reduced(content, whole, scale, (across * (-whole[0] % scale), down * (-whole[1] % scale)))
