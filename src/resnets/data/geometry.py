"""Where the pixels of a random view come from: crops, boxes and flips, for a whole batch at once."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from resnets.data.arrays import onto
from resnets.data.random import Stream, draws

TRIES = 10  # of a crop's area and shape before the fallback, as in torchvision
_SHAPES = (3 / 4, 4 / 3)  # width / height of a crop: Szegedy et al., arXiv 1409.4842, section 6


def crop_offsets(seed: int, epoch: int, indices: ArrayLike, padding: int) -> NDArray[np.int64]:
    """Return int64 [B, 2]: row and column in [0, 2 * padding] at which each crop starts in the padded image."""
    return np.floor(draws(seed, epoch, indices, Stream.CROP, 2) * (2 * padding + 1)).astype(np.int64)


def pad_crop(
    images: Tensor,
    offsets: NDArray[np.int64],
    padding: int,
    fill: tuple[int, ...] | None,
    flips: NDArray[np.bool_] | None = None,
) -> Tensor:
    """Pad [B, C, S, S] by reflection, or with the colour `fill`, and cut [S, S] out at `offsets` [B, 2].

    Where `flips` [B] says so, the crop is mirrored. All of it is one gathering of pixels: crops, flips and reflection
    are only indices, and an image smaller than the padding is reflected back and forth.
    """
    batch, channels, side, _ = images.shape
    device = images.device
    if fill is None:
        source = onto(torch.from_numpy(np.pad(np.arange(side), padding, mode="reflect")), device)
    else:
        colour = onto(torch.tensor(fill, dtype=images.dtype), device).view(1, channels, 1, 1)
        whole = side + 2 * padding
        padded = colour.expand(batch, channels, whole, whole).contiguous()
        padded[:, :, padding : padding + side, padding : padding + side] = images
        images, source = padded, torch.arange(whole, device=device)
    start = onto(torch.from_numpy(offsets), device)
    grid = torch.arange(side, device=device)
    rows, columns = source[start[:, :1] + grid], source[start[:, 1:] + grid]
    if flips is not None:
        columns = torch.where(onto(torch.from_numpy(flips), device)[:, None], columns.flip(1), columns)
    place = (rows[:, :, None] * images.shape[-1] + columns[:, None, :]).view(batch, 1, side * side)
    pixels = images.reshape(batch, channels, -1).gather(2, place.expand(batch, channels, side * side))
    return pixels.view(batch, channels, side, side)


def crop_boxes(
    seed: int,
    epoch: int,
    indices: ArrayLike,
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    scale: tuple[float, float],
) -> NDArray[np.int64]:
    """Return int64 [B, 4] (left, top, width, height): the box of each picture's random resized crop.

    torchvision's rule: an area uniform in `scale`, a shape log-uniform in [3/4, 4/3], ten tries; then the central
    box whose shape is the nearest allowed one.
    """
    return boxes_in(widths, heights, crop_numbers(seed, epoch, indices), scale)


def crop_numbers(seed: int, epoch: int, indices: ArrayLike) -> NDArray[np.float64]:
    """Return float64 [B, 40] in [0, 1): what decides each picture's random resized crop, whatever its size."""
    return draws(seed, epoch, indices, Stream.CROP, 4 * TRIES)


def boxes_in(
    widths: NDArray[np.int64], heights: NDArray[np.int64], numbers: NDArray[np.float64], scale: tuple[float, float]
) -> NDArray[np.int64]:
    """The boxes of `crop_boxes`, from their `crop_numbers`."""
    boxes, fits = random_boxes(numbers, widths, heights, scale, _SHAPES)
    shape = np.clip(widths / heights, *_SHAPES)
    w = np.minimum(widths, np.rint(heights * shape)).astype(np.int64)
    h = np.minimum(heights, np.rint(widths / shape)).astype(np.int64)
    central = np.stack([(widths - w) // 2, (heights - h) // 2, w, h], axis=1)
    return np.where(fits[:, None], boxes, central)


def box_in(
    width: int, height: int, numbers: NDArray[np.float64], scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """The same for one picture and its row of `crop_numbers`, [40]: a tenth of the time for one."""
    u = numbers.reshape(TRIES, 4)
    areas = width * height * (scale[0] + (scale[1] - scale[0]) * u[:, 0])
    low, high = np.log(_SHAPES)
    shapes = np.exp(low + (high - low) * u[:, 1])
    for area, shape, (across, down) in zip(areas.tolist(), shapes.tolist(), u[:, 2:].tolist(), strict=True):
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return math.floor(across * (width - w + 1)), math.floor(down * (height - h + 1)), w, h
    left, top, w, h = boxes_in(np.array([width]), np.array([height]), numbers[None], scale)[0].tolist()
    return left, top, w, h


def random_boxes(
    numbers: NDArray[np.float64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    scale: tuple[float, float],
    shapes: tuple[float, float],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The first of the tries that fits into its picture, int64 [B, 4], and whether one does, bool [B]."""
    u = numbers.reshape(len(numbers), -1, 4)
    area = (widths * heights)[:, None] * (scale[0] + (scale[1] - scale[0]) * u[..., 0])
    low, high = np.log(shapes)
    shape = np.exp(low + (high - low) * u[..., 1])
    w = np.rint(np.sqrt(area * shape)).astype(np.int64)
    h = np.rint(np.sqrt(area / shape)).astype(np.int64)
    fits = (w > 0) & (w <= widths[:, None]) & (h > 0) & (h <= heights[:, None])
    first = fits.argmax(axis=1)
    rows = np.arange(len(numbers))
    w, h = w[rows, first], h[rows, first]
    left = np.floor(u[rows, first, 2] * (widths - w + 1)).astype(np.int64)
    top = np.floor(u[rows, first, 3] * (heights - h + 1)).astype(np.int64)
    return np.stack([left, top, w, h], axis=1), fits.any(axis=1)


def resized_crop(images: Tensor, boxes: NDArray[np.int64]) -> Tensor:
    """Enlarge a box (left, top, width, height) of each image [B, C, S, S] to the whole side, bilinearly.

    A box is never larger than the image, so there is nothing to antialias. Equals cutting the box out and
    `F.interpolate(mode="bilinear", align_corners=False)`, with bytes rounded, for the whole batch at once.
    """
    batch, channels, side, _ = images.shape
    box = onto(torch.from_numpy(boxes), images.device)
    grid = torch.arange(side, device=images.device, dtype=torch.float32) + 0.5

    def lerp(values: Tensor, start: Tensor, length: Tensor, dim: int) -> Tensor:
        place = (grid * (length[:, None] / side) - 0.5).clamp(min=0)
        low = place.floor()
        weight = (place - low).view(batch, 1, *((side, 1) if dim == 2 else (1, side)))
        low = low.long()
        high = torch.minimum(low + 1, length[:, None] - 1)
        low, high = low + start[:, None], high + start[:, None]

        def take(where: Tensor) -> Tensor:
            where = where.view(batch, 1, *((side, 1) if dim == 2 else (1, side)))
            return values.gather(dim, where.expand(batch, channels, side, side)).float()

        return take(low).lerp(take(high), weight)

    rows = lerp(images, box[:, 1], box[:, 3], 2)
    result = lerp(rows, box[:, 0], box[:, 2], 3)
    return result if images.is_floating_point() else result.round_().to(images.dtype)


def flip_bits(seed: int, epoch: int, indices: ArrayLike, flip: str) -> NDArray[np.bool_] | None:
    """Return bool [B], whether to mirror each image; None when none is."""
    if flip == "none":
        return None
    alternate = flip == "alternate"
    bits = draws(seed, 0 if alternate else epoch, indices, Stream.FLIP, 1)[:, 0] < 0.5
    return bits ^ (epoch % 2 == 1) if alternate else bits
