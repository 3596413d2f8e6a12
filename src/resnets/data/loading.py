"""Batches: a pure function of (seed, epoch, batch number), whoever makes them and wherever one starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.arrays import Arrays, onto
from resnets.data.augmentation import Augmentation, move
from resnets.data.encoding import TableEncoding
from resnets.data.making import Making, made
from resnets.data.mixing import erase, mix
from resnets.data.packed import Packed, Streamed
from resnets.data.preprocessing import Preprocessing
from resnets.data.random import epoch_order
from resnets.data.rows import Rows
from resnets.errors import InputError


@dataclass(frozen=True, eq=False)
class Batch:
    """What a network is given at once.

    Attributes:
        images: float32 [B, C, S, S], normalised; of rows of a table [B, 1, 1, F].
        targets: int64 [B], or float32 [B, K] when mixed; of a regression float64 [B, T], in the targets' own units.
        indices: int64 [B], of the samples in the data that the batch was taken from.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor


def steps_per_epoch(n: int, batch_size: int, *, drop_last: bool = True) -> int:
    """Batches of an epoch: full ones only where `drop_last`, but always at least one."""
    return max(1, n // batch_size) if drop_last else -(-n // batch_size)


def train_batches(
    data: Packed | Streamed | Rows,
    *,
    preprocessing: Preprocessing | TableEncoding,
    augmentation: Augmentation,
    batch_size: int,
    seed: int,
    epoch: int,
    num_classes: int,
    start: int = 0,
    size: int | None = None,
    workers: int = 0,
    drop_last: bool = True,
    memory_format: torch.memory_format | None = None,
) -> Iterator[Batch]:
    """Yield the batches of an epoch, in the epoch's random order, augmented.

    Order: crop, flip, policy, normalise, resize, erase, mix. The last, smaller batch is dropped, unless it is the
    only one.

    Args:
        data: from `load_split`.
        preprocessing: of the network; rows of a table are encoded already.
        augmentation: what is done at random; nothing to rows.
        batch_size: images in a batch.
        seed: of the run.
        epoch: counted from 0.
        num_classes: length of a mixed target.
        start: the batch to begin with, as after an interruption; the ones before it are not made.
        size: side in pixels to which the batches are resized (progressive resizing).
        workers: threads that decode, or processes where a policy augments.
        drop_last: leave out a last batch that is smaller.
        memory_format: of the images.

    Raises:
        InputError: an image could not be read any more; it is named. Or the targets of a regression were to be mixed.
    """
    order = epoch_order(len(data), seed=seed, epoch=epoch)
    steps = steps_per_epoch(len(data), batch_size, drop_last=drop_last)
    chunks = [order[step * batch_size : (step + 1) * batch_size] for step in range(start, steps)]
    if isinstance(data, Rows) or isinstance(preprocessing, TableEncoding):
        yield from _of_rows(data, chunks)
        return
    making = Making(data, preprocessing, augmentation, seed, epoch)
    mean_image = preprocessing.mean_pixels()
    mixing = augmentation.mixup > 0 or augmentation.cutmix > 0
    arrays = Arrays()
    for pixels, indices in made(making, chunks, workers, memory_format):
        moved = None
        if mean_image is not None:
            # The mean goes where augmentation takes the pixels, so that what padding adds is exactly zero.
            moved = onto(mean_image, pixels.device).expand(pixels.shape)
            moved = move(moved, indices, augmentation, preprocessing, seed=seed, epoch=epoch)
        images = pixels
        if not pixels.is_floating_point():
            images = preprocessing.normalise(pixels, memory_format, mean=moved, arrays=arrays)
        if size is not None and size != images.shape[-1]:
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        if augmentation.erasing:
            images = erase(images, indices, augmentation.erasing, seed=seed, epoch=epoch)
        chosen = torch.from_numpy(indices)
        targets = data.labels[onto(chosen, data.labels.device)]
        if mixing and targets.is_floating_point():
            raise InputError("mixup and cutmix mix classes, which a regression has none of; use mixup=0 and cutmix=0")
        if mixing:
            hot = F.one_hot(targets, num_classes).float()
            images, targets = mix(images, hot, int(indices[0]), augmentation, seed=seed, epoch=epoch)
        yield Batch(images, targets, chosen)


def eval_batches(
    data: Packed | Streamed | Rows,
    *,
    preprocessing: Preprocessing | TableEncoding,
    batch_size: int,
    workers: int = 0,
    memory_format: torch.memory_format | None = None,
) -> Iterator[Batch]:
    """Yield every image exactly once, in order, as its evaluation view; the last batch may be smaller.

    Raises:
        InputError: an image could not be read any more; it is named.
    """
    indices = np.arange(len(data))
    chunks = [indices[begin : begin + batch_size] for begin in range(0, len(data), batch_size)]
    if isinstance(data, Rows) or isinstance(preprocessing, TableEncoding):
        yield from _of_rows(data, chunks)
        return
    making, arrays = Making(data, preprocessing, None, 0, 0), Arrays()
    for pixels, indices in made(making, chunks, workers, memory_format):
        chosen = torch.from_numpy(indices)
        targets = data.labels[onto(chosen, data.labels.device)]
        yield Batch(preprocessing.normalise(pixels, memory_format, arrays=arrays), targets, chosen)


def _of_rows(data: Packed | Streamed | Rows, chunks: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
    if not isinstance(data, Rows):
        raise InputError(f"{data.name(0)} is an image, and the network takes rows of a table; give a table")
    for indices in chunks:
        chosen = torch.from_numpy(indices)
        there = onto(chosen, data.labels.device)
        yield Batch(data.features[there], data.labels[there], chosen)
