"""Batches: a pure function of (seed, epoch, batch number), whoever makes them and wherever one starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from resnets.data.augmentation import Augmentation, augment, move
from resnets.data.decoding import UnreadableImage, quietly
from resnets.data.geometry import crop_boxes
from resnets.data.mixing import erase, mix
from resnets.data.packed import Packed, Streamed
from resnets.data.preprocessing import INTERPOLATIONS, Preprocessing
from resnets.data.random import epoch_order
from resnets.data.split import refuse
from resnets.data.workers import in_workers


@dataclass(frozen=True, eq=False)
class Batch:
    """What a network is given at once.

    Attributes:
        images: float32 [B, C, S, S], normalised.
        targets: int64 [B], or float32 [B, K] when mixed.
        indices: int64 [B], of the samples in the data that the batch was taken from.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor


def steps_per_epoch(n: int, batch_size: int, *, drop_last: bool = True) -> int:
    """Batches of an epoch: full ones only where `drop_last`, but always at least one."""
    return max(1, n // batch_size) if drop_last else -(-n // batch_size)


def train_batches(
    data: Packed | Streamed,
    *,
    preprocessing: Preprocessing,
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
        preprocessing: of the network.
        augmentation: what is done at random.
        batch_size: images in a batch.
        seed: of the run.
        epoch: counted from 0.
        num_classes: length of a mixed target.
        start: the batch to begin with, as after an interruption; the ones before it are not made.
        size: side in pixels to which the batches are resized (progressive resizing).
        workers: processes that decode and augment, where there is enough to do for them.
        drop_last: leave out a last batch that is smaller.
        memory_format: of the images.

    Raises:
        InputError: an image could not be read any more; it is named.
    """
    order = epoch_order(len(data), seed=seed, epoch=epoch)
    steps = steps_per_epoch(len(data), batch_size, drop_last=drop_last)
    chunks = [order[step * batch_size : (step + 1) * batch_size] for step in range(start, steps)]
    making = _Making(data, preprocessing, augmentation, seed, epoch)
    mean_image = preprocessing.mean_pixels()
    mixing = augmentation.mixup > 0 or augmentation.cutmix > 0
    busy = isinstance(data, Streamed) or augmentation.policy != "none"
    for pixels, indices in _made(making, chunks, workers if busy else 0):
        moved = None
        if mean_image is not None:
            # The mean goes where augmentation takes the pixels, so that what padding adds is exactly zero.
            moved = mean_image.to(pixels.device).expand(pixels.shape)
            moved = move(moved, indices, augmentation, preprocessing, seed=seed, epoch=epoch)
        images = preprocessing.normalise(pixels, memory_format, mean=moved)
        if size is not None and size != images.shape[-1]:
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        if augmentation.erasing:
            images = erase(images, indices, augmentation.erasing, seed=seed, epoch=epoch)
        chosen = torch.from_numpy(indices)
        targets = data.labels[chosen.to(data.labels.device)]
        if mixing:
            hot = F.one_hot(targets, num_classes).float()
            images, targets = mix(images, hot, int(indices[0]), augmentation, seed=seed, epoch=epoch)
        yield Batch(images, targets, chosen)


def eval_batches(
    data: Packed | Streamed,
    *,
    preprocessing: Preprocessing,
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
    making = _Making(data, preprocessing, None, 0, 0)
    for pixels, indices in _made(making, chunks, workers if isinstance(data, Streamed) else 0):
        chosen = torch.from_numpy(indices)
        targets = data.labels[chosen.to(data.labels.device)]
        yield Batch(preprocessing.normalise(pixels, memory_format), targets, chosen)


@dataclass(frozen=True, eq=False)
class _Making(Dataset[Any]):
    """Makes a batch's pixels from its indices: uint8 [B, C, S, S], in this process or in a worker."""

    data: Packed | Streamed
    preprocessing: Preprocessing
    augmentation: Augmentation | None  # None: evaluation views
    seed: int
    epoch: int

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8] | tuple[str, str]:
        """The pixels, or the name and the reason of an image that cannot be read.

        As an array, which goes through a pipe: tensors go through /dev/shm, which containers keep too small.
        """
        try:
            return self.pixels(indices).numpy()
        except UnreadableImage as problem:  # as a value: an exception would lose its name between processes
            return problem.name, problem.reason

    def pixels(self, indices: NDArray[np.int64]) -> Tensor:
        augmentation = self.augmentation
        cropped = False
        if isinstance(self.data, Packed):
            images = self.data.images[torch.from_numpy(indices).to(self.data.images.device)]
        else:
            cropped = augmentation is not None and augmentation.crop == "resized"
            with quietly():
                images = torch.stack([self._view(self.data, int(index), cropped) for index in indices])
        if augmentation is None:
            return images
        return augment(
            images, indices, augmentation, self.preprocessing, seed=self.seed, epoch=self.epoch, cropped=cropped
        )

    def _view(self, data: Streamed, index: int, cropped: bool) -> Tensor:
        picture = data.split.image(index)
        if not cropped or self.augmentation is None:
            return self.preprocessing.image(picture)
        width, height = (np.array([side]) for side in picture.size)
        box = crop_boxes(self.seed, self.epoch, [index], width, height, self.augmentation.scale)
        left, top, wide, high = (int(value) for value in box[0])
        side = self.preprocessing.size
        picture = self.preprocessing.convert(picture).resize(
            (side, side),
            INTERPOLATIONS[self.preprocessing.interpolation],
            box=(left, top, left + wide, top + high),
        )
        pixels = np.asarray(picture).reshape(side, side, self.preprocessing.channels)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _made(
    making: _Making, chunks: Sequence[NDArray[np.int64]], workers: int
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """The pixels and indices of each chunk, in order."""
    if workers and len(chunks) > 1 and making.data.labels.device.type == "cpu":
        with closing(in_workers(making, chunks, min(workers, len(chunks)))) as results:
            for chunk, result in zip(chunks, results, strict=True):
                if isinstance(result, tuple):
                    raise refuse([result], len(making.data))
                yield torch.from_numpy(result), chunk
        return
    for chunk in chunks:
        try:
            yield making.pixels(chunk), chunk
        except UnreadableImage as problem:
            raise refuse([(problem.name, problem.reason)], len(making.data)) from problem
