"""What is done to a batch once it is normalised: erasing boxes, blending images and pasting parts of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.arrays import onto
from resnets.data.augmentation import Augmentation
from resnets.data.geometry import TRIES, random_boxes
from resnets.data.random import Stream, draws

_ERASED = ((0.02, 0.33), (0.3, 1 / 0.3))  # area and shape of an erased box, as in torchvision


def erase(images: Tensor, indices: NDArray[np.int64], probability: float, *, seed: int, epoch: int) -> Tensor:
    """Set a random box of some of the normalised images [B, C, S, S] to zero, the mean colour (in place)."""
    numbers = draws(seed, epoch, indices, Stream.ERASE, 1 + 4 * TRIES)
    side = images.shape[-1]
    sides = np.full(len(indices), side)
    boxes, fits = random_boxes(numbers[:, 1:], sides, sides, *_ERASED)
    boxes[~(fits & (numbers[:, 0] < probability)), 2:] = 0
    left, top, width, height = onto(torch.from_numpy(boxes), images.device).view(-1, 4, 1).unbind(1)
    grid = torch.arange(side, device=images.device)
    rows, columns = (grid >= top) & (grid < top + height), (grid >= left) & (grid < left + width)
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def mix(
    images: Tensor, targets: Tensor, first: int, augmentation: Augmentation, *, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Blend each image with the one before it in the batch (mixup), or paste a box of that one (cutmix).

    Args:
        images: float32 [B, C, S, S].
        targets: float32 [B, K], one-hot.
        first: index of the batch's first sample, which decides the draws.
        augmentation: has the Beta parameters.
        seed: of the run.
        epoch: counted from 0.
    """
    from scipy.special import betaincinv

    which, amount, row, column = draws(seed, epoch, [first], Stream.MIX, 4)[0]
    blend = augmentation.mixup > 0 and (augmentation.cutmix == 0 or which < 0.5)
    beta = augmentation.mixup if blend else augmentation.cutmix
    share = float(betaincinv(beta, beta, amount))  # of the image itself: the inverse of the Beta distribution
    partner = images.roll(1, 0)
    if blend:
        images = images * share + partner * (1 - share)
    else:
        side = images.shape[-1]
        half = side * (1 - share) ** 0.5 / 2
        top, bottom = (int(np.clip(round(row * side + way * half), 0, side)) for way in (-1, 1))
        left, right = (int(np.clip(round(column * side + way * half), 0, side)) for way in (-1, 1))
        images = images.clone(memory_format=torch.preserve_format)
        images[:, :, top:bottom, left:right] = partner[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / side**2
    return images, targets * share + targets.roll(1, 0) * (1 - share)
