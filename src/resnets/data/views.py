"""The pixels of a random resized crop, out of a picture that may have been decoded smaller."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from resnets.data.decoding import Reduced
from resnets.data.preprocessing import INTERPOLATIONS, Preprocessing, with_channels
from resnets.data.split import Split

_BY_TORCH = ("bilinear", "bicubic")  # resampled by torch's antialiased kernels for bytes, several times Pillow's speed
_ALONE = 1 << 15  # values: up to here an operation of torch keeps to one thread


def crop(given: Reduced, box: tuple[int, int, int, int], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """A box (left, top, width, height) of the whole picture, resized to uint8 [S, S, C].

    Of a whole picture it is to the bit what torchvision's `v2.functional.resized_crop(antialias=True)` makes of its
    bytes as a tensor, for bilinear and bicubic interpolation; Pillow makes the others. Of a reduced picture the box
    lies between the pixels, where Pillow resizes from: tests/data/test_jpeg.py bounds the difference.
    """
    left, top, wide, high = box
    edges, content = (left, top, left + wide, top + high), given.content
    if given.scale == 1:
        if isinstance(content, Image.Image):
            part = np.array(preprocessing.convert(content.crop(edges)))  # a copy: writable, as tensors are
            return resized(part.reshape(high, wide, preprocessing.channels), preprocessing)
        if content.shape[2] == preprocessing.channels:
            return resized(content[top : top + high, left : left + wide], preprocessing)
        return crop(Reduced(given.picture, given.whole), box, preprocessing)
    side, method = preprocessing.size, INTERPOLATIONS[preprocessing.interpolation]
    view = preprocessing.convert(given.picture).resize((side, side), method, box=given.box(*edges))
    return np.array(view).reshape(side, side, preprocessing.channels)


def shrunk(split: Split, index: int, side: int, channels: int) -> NDArray[np.uint8]:
    """A picture, scaled to a shorter side of `side` pixels if it is larger: uint8 [h, w, C].

    Raises:
        UnreadableImage: it cannot be read.
    """
    given = split.reduced(index, lambda width, height: min(width, height) // side)
    picture, (width, height) = with_channels(given.picture, channels), given.whole
    if min(width, height) > side:
        part = side / min(width, height)
        size = max(side, round(width * part)), max(side, round(height * part))
        picture = picture.resize(size, Image.Resampling.BICUBIC, box=given.box(0, 0, width, height))
    return np.array(picture).reshape(picture.height, picture.width, channels)


def resized(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Writable bytes [h, w, C], resized with antialiasing to uint8 [S, S, C]."""
    side, method = preprocessing.size, preprocessing.interpolation
    if method not in _BY_TORCH:
        picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        return np.array(picture.resize((side, side), INTERPOLATIONS[method])).reshape(side, side, -1)
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    view = F.interpolate(image, size=(side, side), mode=method, antialias=True)
    return view[0].permute(1, 2, 0).numpy()


def put(view: NDArray[np.uint8], place: NDArray[np.uint8], flip: bool) -> None:
    """Write uint8 [S, S, C] to its place in a batch, mirrored where `flip`."""
    if not flip:
        place[:] = view
        return
    # torch mirrors pixels of three bytes several times faster than numpy; so few rows that it calls no other threads.
    rows = max(1, _ALONE // (view.shape[1] * view.shape[2]))
    for source, target in zip(torch.from_numpy(view).split(rows), torch.from_numpy(place).split(rows), strict=True):
        target.copy_(source.flip(1))
