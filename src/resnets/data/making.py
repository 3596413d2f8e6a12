"""The pixels of batches: taken from memory or decoded, in this thread, in several, or in other processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from resnets.data.arrays import onto
from resnets.data.augmentation import Augmentation, augment
from resnets.data.decoding import UnreadableImage
from resnets.data.geometry import crop_numbers, flip_bits
from resnets.data.packed import Packed, Streamed
from resnets.data.preprocessing import Preprocessing
from resnets.data.split import refuse
from resnets.data.threads import in_parts
from resnets.data.views import put
from resnets.data.workers import in_workers


@dataclass(frozen=True, eq=False)
class Making(Dataset[Any]):
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
        return self._augmented(images[onto(torch.from_numpy(indices), images.device)], indices, cropped=False)

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


def made(
    making: Making,
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
