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

from resnets.data.arrays import Arrays
from resnets.data.augmentation import Augmentation, augment, move
from resnets.data.decoding import UnreadableImage
from resnets.data.encoding import TableEncoding
from resnets.data.geometry import crop_numbers, flip_bits
from resnets.data.mixing import erase, mix
from resnets.data.packed import Packed, Streamed
from resnets.data.preprocessing import Preprocessing
from resnets.data.random import epoch_order
from resnets.data.rows import Rows
from resnets.data.split import refuse
from resnets.data.threads import in_parts
from resnets.data.views import put
from resnets.data.workers import in_workers
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
    making = _Making(data, preprocessing, augmentation, seed, epoch)
    mean_image = preprocessing.mean_pixels()
    mixing = augmentation.mixup > 0 or augmentation.cutmix > 0
    arrays = Arrays()
    for pixels, indices in _made(making, chunks, workers, memory_format):
        moved = None
        if mean_image is not None:
            # The mean goes where augmentation takes the pixels, so that what padding adds is exactly zero.
            moved = mean_image.to(pixels.device).expand(pixels.shape)
            moved = move(moved, indices, augmentation, preprocessing, seed=seed, epoch=epoch)
        images = preprocessing.normalise(pixels, memory_format, mean=moved, arrays=arrays)
        if size is not None and size != images.shape[-1]:
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        if augmentation.erasing:
            images = erase(images, indices, augmentation.erasing, seed=seed, epoch=epoch)
        chosen = torch.from_numpy(indices)
        targets = data.labels[chosen.to(data.labels.device)]
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
    making, arrays = _Making(data, preprocessing, None, 0, 0), Arrays()
    for pixels, indices in _made(making, chunks, workers, memory_format):
        chosen = torch.from_numpy(indices)
        targets = data.labels[chosen.to(data.labels.device)]
        yield Batch(preprocessing.normalise(pixels, memory_format, arrays=arrays), targets, chosen)


def _of_rows(data: Packed | Streamed | Rows, chunks: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
    if not isinstance(data, Rows):
        raise InputError(f"{data.name(0)} is an image, and the network takes rows of a table; give a table")
    for indices in chunks:
        chosen = torch.from_numpy(indices)
        there = chosen.to(data.labels.device)
        yield Batch(data.features[there], data.labels[there], chosen)


@dataclass(frozen=True, eq=False)
class _Making(Dataset[Any]):
    """Makes a batch's pixels from its indices: in this thread, in several, or in another process."""

    data: Packed | Streamed
    preprocessing: Preprocessing
    augmentation: Augmentation | None  # None: evaluation views
    seed: int
    epoch: int

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8] | tuple[str, str]:
        """The pixels uint8 [B, C, S, S], or the name and the reason of an image that cannot be read.

        As an array, which goes through a pipe: tensors go through /dev/shm, which containers keep too small.
        """
        if isinstance(self.data, Packed):
            return self.packed(self.data.images, indices).numpy()
        side = self.preprocessing.size
        pixels = np.empty((len(indices), side, side, self.preprocessing.channels), dtype=np.uint8)
        try:
            self.fill(self.data, indices, pixels)
        except UnreadableImage as problem:  # as a value: an exception would lose its name between processes
            return problem.name, problem.reason
        return pixels.transpose(0, 3, 1, 2)

    def packed(self, images: Tensor, indices: NDArray[np.int64]) -> Tensor:
        return self._augmented(images[torch.from_numpy(indices).to(images.device)], indices, cropped=False)

    def fill(self, data: Streamed, indices: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """Write views of the images at `indices` into `pixels`, uint8 [B, S, S, C], augmented.

        Raises:
            UnreadableImage: an image could not be read any more.
        """
        augmentation = self.augmentation
        if augmentation is None or augmentation.crop != "resized":
            for index, place in zip(indices, pixels, strict=True):
                place[:] = self.preprocessing.pixels(data.split.reduced(int(index), self.preprocessing.reduction))
            cropped = False
        else:
            self._fill_crops(data, indices, pixels, augmentation)
            cropped = True
            if augmentation.policy == "none":
                return
        if augmentation is not None:
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            pixels[:] = self._augmented(images, indices, cropped=cropped).permute(0, 2, 3, 1).numpy()

    def _fill_crops(
        self, data: Streamed, indices: NDArray[np.int64], pixels: NDArray[np.uint8], augmentation: Augmentation
    ) -> None:
        """Random resized crops; mirrored while they are written, unless `augment` is yet to come and will do that."""
        numbers = crop_numbers(self.seed, self.epoch, indices)
        flips = None if augmentation.policy != "none" else flip_bits(self.seed, self.epoch, indices, augmentation.flip)
        for row, index in enumerate(indices):
            view = data.crop(int(index), numbers[row], augmentation.scale, self.preprocessing)
            put(view, pixels[row], flips is not None and bool(flips[row]))

    def _augmented(self, images: Tensor, indices: NDArray[np.int64], *, cropped: bool) -> Tensor:
        if self.augmentation is None:
            return images
        return augment(
            images, indices, self.augmentation, self.preprocessing, seed=self.seed, epoch=self.epoch, cropped=cropped
        )


def _made(
    making: _Making,
    chunks: Sequence[NDArray[np.int64]],
    workers: int,
    memory_format: torch.memory_format | None = None,
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """The pixels, uint8 [B, C, S, S], and indices of each chunk, in order; they hold until the next are asked for.

    Streams are decoded and resized in threads: Pillow and torch leave Python's lock meanwhile, and no batch has to go
    through a pipe (benchmarks/photographs.py measures both). A policy keeps the lock, so it goes to processes.
    """
    data, augmentation = making.data, making.augmentation
    policy = augmentation is not None and augmentation.policy != "none"
    if workers and policy and len(chunks) > 1 and data.labels.device.type == "cpu":
        with closing(in_workers(making, chunks, min(workers, len(chunks)))) as results:
            for chunk, result in zip(chunks, results, strict=True):
                if isinstance(result, tuple):
                    raise refuse([result], len(data))
                yield torch.from_numpy(result), chunk
        return
    if isinstance(data, Packed):
        for chunk in chunks:
            yield making.packed(data.images, chunk), chunk
        return
    side, channels = making.preprocessing.size, making.preprocessing.channels
    last = memory_format == torch.channels_last
    shape = (side, side, channels) if last else (channels, side, side)

    def fill(indices: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        making.fill(data, indices, pixels if last else pixels.transpose(0, 2, 3, 1))

    threads = 0 if policy else workers  # the policies draw from torch's one generator
    try:
        with closing(in_parts(fill, chunks, shape, threads)) as arrays:
            for chunk, array in zip(chunks, arrays, strict=True):
                images = torch.from_numpy(array)
                yield images.permute(0, 3, 1, 2) if last else images, chunk
    except UnreadableImage as problem:
        raise refuse([(problem.name, problem.reason)], len(data)) from problem
