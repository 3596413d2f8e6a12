"""Random views of images, each a function of (seed, epoch, sample index), made a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.arrays import onto
from resnets.data.geometry import crop_boxes, crop_offsets, flip_bits, pad_crop, resized_crop
from resnets.data.preprocessing import Preprocessing
from resnets.data.random import Stream, words
from resnets.errors import InputError, nearest

_CHOICES = {
    "crop": ("pad", "resized", "none"),
    "padding_mode": ("reflect", "zero"),
    "flip": ("random", "alternate", "none"),
    "policy": ("none", "randaugment", "trivialaugment"),
}


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to training images.

    Attributes:
        crop: `pad` (pad on all sides and cut the old size out), `resized` (random resized crop) or `none`.
        padding: pixels on each side, for `pad`.
        padding_mode: `reflect`, or `zero`: the mean colour, which is zero once normalised, as the papers pad.
        scale: smallest and largest area of a resized crop, as fractions of the picture.
        flip: `random`, `alternate` (random in the first epoch, then every other time; Jordan, arXiv 2404.00498,
            section 3.6) or `none`; left to right.
        policy: `randaugment` (arXiv 1909.13719), `trivialaugment` (arXiv 2103.10158) or `none`.
        erasing: probability that a box of an image is erased (arXiv 1708.04896).
        mixup: Beta parameter of blending each image with the one before it in the batch (arXiv 1710.09412); 0 is off.
        cutmix: the same for pasting a box of it (arXiv 1905.04899). With both, each batch gets one of them.
    """

    crop: str = "pad"
    padding: int = 4
    padding_mode: str = "reflect"
    scale: tuple[float, float] = (0.08, 1.0)
    flip: str = "random"
    policy: str = "none"
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for key, known in _CHOICES.items():
            word = getattr(self, key)
            if word not in known:
                raise InputError(f"unknown {key} '{word}' (known: {', '.join(known)}){nearest(str(word), known)}")
        if self.padding < 0:
            raise InputError(f"padding must be at least 0 pixels, not {self.padding}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale must be two increasing fractions of the area in (0, 1], not {self.scale}")
        if not 0 <= self.erasing <= 1:
            raise InputError(f"erasing is a probability, not {self.erasing:g}")
        if self.mixup < 0 or self.cutmix < 0:
            raise InputError("mixup and cutmix are Beta parameters: 0 (off) or more")


def augment(
    images: Tensor,
    indices: NDArray[np.int64],
    augmentation: Augmentation,
    preprocessing: Preprocessing,
    *,
    seed: int,
    epoch: int,
    cropped: bool = False,
) -> Tensor:
    """Crop, flip and apply the policy: uint8 [B, C, S, S] to uint8 [B, C, S, S].

    Args:
        images: evaluation views, or crops where `cropped`.
        indices: int64 [B], the samples' own, which with seed and epoch decide all that is done.
        augmentation: what to do.
        preprocessing: of the network, for the mean colour.
        seed: of the run.
        epoch: counted from 0.
        cropped: the resized crop was taken already, from the original pictures.
    """
    images = move(images, indices, augmentation, preprocessing, seed=seed, epoch=epoch, cropped=cropped)
    if augmentation.policy != "none":
        images = _apply_policy(images, indices, augmentation.policy, preprocessing, seed, epoch)
    return images


def move(
    images: Tensor,
    indices: NDArray[np.int64],
    augmentation: Augmentation,
    preprocessing: Preprocessing,
    *,
    seed: int,
    epoch: int,
    cropped: bool = False,
) -> Tensor:
    """Crop and flip, as `augment` does: bytes, or the float32 mean image that goes where the pixels go."""
    flips = flip_bits(seed, epoch, indices, augmentation.flip)
    if augmentation.crop == "pad" and augmentation.padding:
        offsets = crop_offsets(seed, epoch, indices, augmentation.padding)
        fill = mean_colour(preprocessing) if augmentation.padding_mode == "zero" else None
        return pad_crop(images, offsets, augmentation.padding, fill, flips)
    if augmentation.crop == "resized" and not cropped:
        side = np.full(len(indices), images.shape[-1])
        images = resized_crop(images, crop_boxes(seed, epoch, indices, side, side, augmentation.scale))
    if flips is not None:
        mask = onto(torch.from_numpy(flips), images.device).view(-1, 1, 1, 1)
        images = torch.where(mask, images.flip(-1), images)
    return images


def mean_colour(preprocessing: Preprocessing) -> tuple[int, ...]:
    """The bytes nearest to the mean of each channel, in the order RGB; zeros where a mean image, so padded too, is
    subtracted.
    """
    if preprocessing.mean_image is not None:
        return (0,) * preprocessing.channels
    colour = tuple(round(value * 255) for value in preprocessing.mean)
    return colour[::-1] if preprocessing.channel_order == "BGR" else colour


@cache
def _policy(name: str, fill: tuple[int, ...]) -> Any:
    from torchvision.transforms import v2

    kinds = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}
    return kinds[name](interpolation=v2.InterpolationMode.BILINEAR, fill=list(fill))


def _apply_policy(
    images: Tensor,
    indices: NDArray[np.int64],
    name: str,
    preprocessing: Preprocessing,
    seed: int,
    epoch: int,
) -> Tensor:
    """Apply one of torchvision's policies to each image, with a generator state of the image's own."""
    policy = _policy(name, mean_colour(preprocessing))
    states = words(seed, epoch, indices, Stream.POLICY, 1)[:, 0]
    with torch.random.fork_rng(devices=[]):
        done = []
        for image, state in zip(images, states, strict=True):
            # Not torch.manual_seed, which would reset the accelerators' generators too.
            torch.default_generator.manual_seed(int(state))
            done.append(policy(image))
    return torch.stack(done)
