"""The pixels of a random resized crop, out of a picture that may have been decoded smaller."""

from __future__ import annotations

import threading

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from resnets.data.preprocessing import INTERPOLATIONS, Preprocessing, with_channels
from resnets.data.reduced import Reduced
from resnets.data.split import Split

_BY_TORCH = ("bilinear", "bicubic")  # resampled by torch's antialiased kernels for bytes, several times Pillow's speed
_ALONE = 1 << 15  # values: up to here an operation of torch keeps to one thread


def cut(given: Reduced, box: tuple[int, int, int, int], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """A box (left, top, width, height) of the whole picture, uint8 [h, w, C]; `resized` makes it the network's size.

    Of a whole picture that is, to the bit, what torchvision's `v2.functional.resized_crop(antialias=True)` makes of its
    bytes as a tensor, for bilinear and bicubic interpolation; Pillow makes the others. Of a reduced picture the box
    lies between the pixels, from where Pillow has resized it already: tests/data/test_jpeg.py bounds the difference.
    """
    left, top, wide, high = box
    edges, content = (left, top, left + wide, top + high), given.content
    if given.scale == 1:
        if isinstance(content, Image.Image):
            part = np.asarray(preprocessing.convert(content.crop(edges)))
            return part.reshape(high, wide, preprocessing.channels)
        if content.shape[2] == preprocessing.channels:
            return content[top : top + high, left : left + wide]
        return cut(Reduced(given.picture, given.whole), box, preprocessing)
    side, method = preprocessing.size, INTERPOLATIONS[preprocessing.interpolation]
    view = preprocessing.convert(given.picture).resize((side, side), method, box=given.box(*edges))
    return np.array(view).reshape(side, side, preprocessing.channels)


def shrunk(split: Split, index: int, side: int, channels: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A picture, scaled to a shorter side of `side` pixels if it is larger: uint8 [h, w, C]; and its width and height.

    Raises:
        UnreadableImage: it cannot be read.
    """
    given = split.reduced(index, lambda width, height: min(width, height) // side)
    content, (width, height) = given.content, given.whole
    if min(width, height) <= side and not isinstance(content, Image.Image) and content.shape[2] == channels:
        return content, given.whole
    picture = with_channels(given.picture, channels)
    if min(width, height) > side:
        part = side / min(width, height)
        size = max(side, round(width * part)), max(side, round(height * part))
        picture = picture.resize(size, Image.Resampling.BICUBIC, box=given.box(0, 0, width, height))
    return np.array(picture).reshape(picture.height, picture.width, channels), given.whole


def cut_shrunk(pixels: NDArray[np.uint8], whole: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """`cut`, out of a picture of width and height `whole` that was `shrunk`; the box comes to whole pixels of that."""
    (left, top, wide, high), (height, width) = box, pixels.shape[:2]
    if (width, height) != whole:
        across, down = width / whole[0], height / whole[1]
        right, bottom = max(1, round((left + wide) * across)), max(1, round((top + high) * down))
        left, top = min(round(left * across), right - 1), min(round(top * down), bottom - 1)
        wide, high = right - left, bottom - top
    return pixels[top : top + high, left : left + wide]


def resized(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bytes [h, w, C], resized with antialiasing to uint8 [S, S, C]."""
    side, method = preprocessing.size, preprocessing.interpolation
    if pixels.shape[:2] == (side, side):
        return pixels
    if method not in _BY_TORCH:
        picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        return np.array(picture.resize((side, side), INTERPOLATIONS[method])).reshape(side, side, -1)
    image = torch.from_numpy(_copied(pixels))[None].permute(0, 3, 1, 2)
    view = F.interpolate(image, size=(side, side), mode=method, antialias=True)
    return view[0].permute(1, 2, 0).numpy()


class _Scratch(threading.local):
    """Memory of each thread: fresh memory would be cleared by the system first, which takes longer than the copy."""

    bytes = np.empty(0, dtype=np.uint8)


_scratch = _Scratch()


def _copied(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same, until this thread copies the next: in one piece, and writable, as tensors are.

    torch would call its other threads for it. They then wait for more to do at full speed, on the processors on which
    other images are being made.
    """
    if _scratch.bytes.size < pixels.size:
        _scratch.bytes = np.empty(pixels.size, dtype=np.uint8)
    copy = _scratch.bytes[: pixels.size].reshape(pixels.shape)
    np.copyto(copy, pixels)
    return copy


def put(view: NDArray[np.uint8], place: NDArray[np.uint8], flip: bool) -> None:
    """Write uint8 [S, S, C] to its place in a batch, mirrored where `flip`."""
    if not flip:
        place[:] = view
        return
    if not view.flags.writeable:  # of the network's own size it may be its source's memory, which makes no tensor
        place[:] = view[:, ::-1]
        return
    # torch mirrors pixels of three bytes several times faster than numpy; so few rows that it calls no other threads.
    rows = max(1, _ALONE // (view.shape[1] * view.shape[2]))
    for source, target in zip(torch.from_numpy(view).split(rows), torch.from_numpy(place).split(rows), strict=True):
        target.copy_(source.flip(1))
