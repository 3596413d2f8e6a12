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
from resnets.data.crops import Crops, crops
from resnets.data.decoding import UnreadableImage
from resnets.data.geometry import crop_numbers, flip_bits
from resnets.data.packed import Packed, Streamed
from resnets.data.preprocessing import Preprocessing
from resnets.data.split import refuse
from resnets.data.threads import in_parts
from resnets.data.views import put, resized
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
        flips = None if augmentation.policy != "none" else flip_bits(self.seed, self.epoch, indices, augmentation.flip)
        for row, part in enumerate(self._parts(data, indices, augmentation)):
            put(resized(part, self.preprocessing), pixels[row], flips is not None and bool(flips[row]))

    def fill_normalised(
        self, data: Streamed, indices: NDArray[np.int64], images: NDArray[np.float32], kernel: Crops, *, last: bool
    ) -> None:
        """Write random resized crops, mirrored, into `images`, float32 [B, S, S, C] where `last`, else [B, C, S, S].

        Raises:
            UnreadableImage: an image could not be read any more.
        """
        assert self.augmentation is not None
        flips = flip_bits(self.seed, self.epoch, indices, self.augmentation.flip)
        kernel.write(self._parts(data, indices, self.augmentation), flips, images, last=last)

    def kernel(self) -> Crops | None:
        """What makes normalised images without bytes between, where that is all that is to be done."""
        streamed, augmentation = isinstance(self.data, Streamed), self.augmentation
        if not streamed or augmentation is None or augmentation.crop != "resized" or augmentation.policy != "none":
            return None
        return crops(self.preprocessing)

    def _parts(
        self, data: Streamed, indices: NDArray[np.int64], augmentation: Augmentation
    ) -> Iterator[NDArray[np.uint8]]:
        numbers = crop_numbers(self.seed, self.epoch, indices)
        return data.parts(indices, numbers, augmentation.scale, self.preprocessing)

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
    """The pixels, uint8 [B, C, S, S], and indices of each chunk, in order.

    Where `making.kernel` can be used they are normalised already, float32.

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

    kernel = making.kernel()

    def fill(indices: NDArray[np.int64], pixels: NDArray[Any]) -> None:
        if kernel is not None:
            making.fill_normalised(data, indices, pixels, kernel, last=last)
        else:
            making.fill(data, indices, pixels if last else pixels.transpose(0, 2, 3, 1))

    threads = 0 if policy else workers  # the policies draw from torch's one generator
    try:
        with closing(in_parts(fill, chunks, shape, threads, np.uint8 if kernel is None else np.float32)) as arrays:
            for chunk, array in zip(chunks, arrays, strict=True):
                images = torch.from_numpy(array)
                yield images.permute(0, 3, 1, 2) if last else images, chunk
    except UnreadableImage as problem:
        raise refuse([(problem.name, problem.reason)], len(data)) from problem
