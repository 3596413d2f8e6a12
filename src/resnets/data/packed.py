"""Sets that fit in memory: decoded once, kept as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.cache import Pictures, files_of, keep
from resnets.data.decoding import UnreadableImage
from resnets.data.encoding import TableEncoding
from resnets.data.geometry import box_in, boxes_in
from resnets.data.memory import free_memory
from resnets.data.preprocessing import SMALL, Preprocessing
from resnets.data.rows import Rows, TableSplit
from resnets.data.split import Split, Subset, find_unreadable, in_threads, refuse, smallest, subset
from resnets.data.views import cut, cut_shrunk, resized, shrunk
from resnets.errors import InputError


@dataclass(frozen=True, eq=False)
class Packed:
    """A split in memory, as the evaluation view of its preprocessing.

    Attributes:
        images: uint8 [n, C, S, S].
        labels: int64 [n]; float64 [n, T] of a regression.
        names: of each image.
        skipped: (name, reason) of the images left out because they could not be read.
    """

    images: Tensor
    labels: Tensor
    names: Sequence[str]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return self.names[index]

    def to(self, device: torch.device | str) -> Packed:
        """The same set on another device; its batches are then made there."""
        return Packed(self.images.to(device), self.labels.to(device), self.names, self.skipped)


@dataclass(frozen=True, eq=False)
class Streamed:
    """A split that is decoded anew whenever a batch needs its images.

    Attributes:
        split: the images, all of them readable when `load_split` looked.
        labels: int64 [n]; float64 [n, T] of a regression.
        skipped: (name, reason) of the images left out because they could not be read.
        side: larger pictures are scaled to this shorter side before crops are cut out of them; None takes them whole.
        pictures: of the whole split, so scaled, where they are kept on the disk.
        notes: what the user should be told of that.
    """

    split: Split
    labels: Tensor
    skipped: tuple[tuple[str, str], ...] = ()
    side: int | None = None
    pictures: Pictures | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return self.split.name(index)

    def crop(
        self, index: int, numbers: NDArray[np.float64], scale: tuple[float, float], preprocessing: Preprocessing
    ) -> NDArray[np.uint8]:
        """The random resized crop that an image's `crop_numbers`, float64 [40], choose: uint8 [S, S, C].

        Raises:
            UnreadableImage: it cannot be read any more.
        """
        (part,) = self.parts(np.array([index]), numbers[None], scale, preprocessing)
        return resized(part, preprocessing)

    def parts(
        self,
        indices: NDArray[np.int64],
        numbers: NDArray[np.float64],
        scale: tuple[float, float],
        preprocessing: Preprocessing,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield those crops before they are `resized`, uint8 [h, w, C], for the `crop_numbers` [B, 40] of images.

        Raises:
            UnreadableImage: one cannot be read any more.
        """
        if self.pictures is None:
            for index, row in zip(indices.tolist(), numbers, strict=True):
                yield self._part(index, row, scale, preprocessing)
            return
        places = self.split.indices[indices] if isinstance(self.split, Subset) else indices
        whole = self.pictures.sizes[places, 2:].astype(np.int64)
        boxes = boxes_in(whole[:, 0], whole[:, 1], numbers, scale).tolist()
        for place, (left, top, wide, high) in zip(places.tolist(), boxes, strict=True):
            yield cut_shrunk(*self.pictures[place], (left, top, wide, high))

    def _part(
        self, index: int, numbers: NDArray[np.float64], scale: tuple[float, float], preprocessing: Preprocessing
    ) -> NDArray[np.uint8]:
        if self.side is not None:
            kept, whole = shrunk(self.split, index, self.side, preprocessing.channels)
            return cut_shrunk(kept, whole, box_in(*whole, numbers, scale))
        box = cache(lambda width, height: box_in(width, height, numbers, scale))

        def reduction(width: int, height: int) -> int:
            """So that the box still has the network's size in each direction."""
            return min(box(width, height)[2:]) // preprocessing.size

        given = self.split.reduced(index, reduction)
        return cut(given, box(*given.whole), preprocessing)


def pack(
    split: Split, preprocessing: Preprocessing, *, skip_unreadable: bool = False, workers: int | None = None
) -> Packed:
    """Decode a whole split with `workers` threads (one a core by default).

    Raises:
        InputError: unreadable images, all of them named, unless they are to be skipped; or no readable one.
    """
    n, size, channels = len(split), preprocessing.size, preprocessing.channels
    images = torch.empty((n, channels, size, size), dtype=torch.uint8)
    target = images.numpy()

    def fill(indices: Sequence[int]) -> list[tuple[int, str, str]]:
        failed = []
        for index in indices:
            try:
                target[index] = preprocessing.pixels(split.reduced(index, preprocessing.reduction)).transpose(2, 0, 1)
            except UnreadableImage as problem:
                failed.append((index, problem.name, problem.reason))
        return failed

    failed = [item for part in in_threads(fill, n, threads=workers or None) for item in part]
    skipped = _check(failed, n, skip_unreadable)
    keep = _others(failed, n)
    if failed:
        images = images[torch.from_numpy(keep)]
    labels = _labels(split.labels[keep])
    return Packed(images, labels, [split.name(int(index)) for index in keep], skipped)


@overload
def load_split(
    split: Split, preprocessing: Preprocessing, *, training: bool, skip_unreadable: bool = ..., workers: int = ...,
    memory_limit: int | None = ..., keep_side: int | None = ..., hold_side: bool = ...,
) -> Packed | Streamed: ...  # fmt: skip
@overload
def load_split(
    split: Split, preprocessing: Preprocessing | TableEncoding, *, training: bool, skip_unreadable: bool = ...,
    workers: int = ..., memory_limit: int | None = ..., keep_side: int | None = ..., hold_side: bool = ...,
) -> Packed | Streamed | Rows: ...  # fmt: skip
def load_split(
    split: Split,
    preprocessing: Preprocessing | TableEncoding,
    *,
    training: bool,
    skip_unreadable: bool = False,
    workers: int = 0,
    memory_limit: int | None = None,
    keep_side: int | None = None,
    hold_side: bool = False,
) -> Packed | Streamed | Rows:
    """Pack a split if it fits in memory, else check that it can be read and stream it; encode the rows of a table.

    Random resized crops of pictures larger than 64 pixels want the originals, so those stream for training even
    when their evaluation views would fit, unless the originals have the network's size already.
    Streaming decodes every image once beforehand, so that a damaged one is named before the training starts and not
    in the middle of it.

    Args:
        split: the images, or rows.
        preprocessing: size and channels of the evaluation view; the encoding of rows, which has no other arguments.
        training: whether `train_batches` will be asked for random resized crops of it.
        skip_unreadable: leave unreadable images out, and list them in `skipped`, instead of refusing.
        workers: threads that decode now; 0 is one a core.
        memory_limit: bytes that packed images may take; by default two fifths of what is free.
        keep_side: of class folders that stream for training, keep the decoded pictures on the disk, scaled to this
            shorter side where they are larger, if that can be done.
        hold_side: scale them so even if it cannot, for a run that began with it.

    Raises:
        InputError: unreadable images, all of them named, unless they are to be skipped; or no readable one; images
            for a network that takes rows, and rows for one that takes images.
    """
    if isinstance(preprocessing, TableEncoding):
        return _encoded(split, preprocessing)
    if isinstance(split, TableSplit):
        raise InputError(f"{split.title} is a table, and the network takes images; give images")
    need = len(split) * preprocessing.channels * preprocessing.size**2
    limit = memory_limit if memory_limit is not None else int(free_memory() * 0.4)
    originals = not training or preprocessing.size <= SMALL or _native(split, preprocessing.size)
    if need <= limit and originals:
        return pack(split, preprocessing, skip_unreadable=skip_unreadable, workers=workers)
    files = files_of(split) if training and keep_side is not None else None
    pictures: Pictures | None = None
    notes: tuple[str, ...] = ()
    if files is not None and keep_side is not None:
        pictures, told = keep(files, keep_side, preprocessing.channels)
        if pictures is None and hold_side:
            told += f"; this run began with pictures scaled to {keep_side} pixels, now done anew for every batch (slow)"
        elif pictures is None:
            told, keep_side = f"{told}; they are decoded for every batch, as without --cache", None
        notes = (told,)
    failed = find_unreadable(split) if pictures is None else _failed(split, pictures)
    skipped = _check(failed, len(split), skip_unreadable)
    if failed:
        split = subset(split, _others(failed, len(split)))
    labels = _labels(split.labels)
    return Streamed(split, labels, skipped, keep_side if files is not None else None, pictures, notes)


def _encoded(split: Split, encoding: TableEncoding) -> Rows:
    if not isinstance(split, TableSplit):
        raise InputError(f"{split.name(0)} is an image, and the network takes rows of a table; give a table")
    features, notes = encoding.encode(split)
    names = [split.name(index) for index in range(len(split))]
    return Rows(torch.from_numpy(features)[:, None, None, :], _labels(split.labels), names, notes=notes)


def _labels(labels: NDArray[Any]) -> Tensor:
    """Classes as int64, targets as float64."""
    kind = np.float64 if np.issubdtype(labels.dtype, np.floating) else np.int64
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=kind))


def _failed(split: Split, pictures: Pictures) -> list[tuple[int, str, str]]:
    """What `find_unreadable` finds, as it was found when the pictures were kept."""
    if not isinstance(split, Subset):
        return list(pictures.failed)
    place = {int(index): number for number, index in enumerate(split.indices)}
    return sorted((place[index], name, reason) for index, name, reason in pictures.failed if index in place)


def _native(split: Split, size: int) -> bool:
    """Whether the pictures (64 of them, evenly spaced) have the network's size already."""
    n = min(len(split), 64)
    for index in range(n):
        try:
            if split.reduced(index * len(split) // n, smallest).whole != (size, size):
                return False
        except UnreadableImage:
            continue
    return True


def _others(failed: Sequence[tuple[int, str, str]], n: int) -> np.ndarray:
    return np.setdiff1d(np.arange(n), [index for index, _, _ in failed])


def _check(failed: Sequence[tuple[int, str, str]], n: int, skip: bool) -> tuple[tuple[str, str], ...]:
    listed = tuple((name, reason) for _, name, reason in failed)
    if listed and (not skip or len(listed) == n):
        raise refuse(listed, n)
    if not n:
        raise InputError("there are no images in this split; add some")
    return listed
