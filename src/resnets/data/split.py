"""A split of a source (labels, names, pictures on demand), and how splits are cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from resnets.data.decoding import UnreadableImage, read_image, read_reduced
from resnets.data.reduced import Reduced, Reduction
from resnets.data.rows import TableSplit
from resnets.data.targets import Target
from resnets.errors import InputError

Result = TypeVar("Result")


class Split(Protocol):
    """One split of a source; nothing is decoded before `image` asks for it."""

    @property
    def labels(self) -> NDArray[Any]:
        """int64 [n], indices into the source's classes; of a regression float64 [n, T], in the targets' units."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The image's path, or its place in the source: `cifar10/train[17]`."""

    def image(self, index: int) -> Image.Image:
        """The decoded picture: mode L or RGB, upright, first frame; raises UnreadableImage."""

    def reduced(self, index: int, reduction: Reduction) -> Reduced:
        """The picture, smaller where that saves decoding it whole: see `read_reduced`; raises UnreadableImage."""


@dataclass(frozen=True)
class Source:
    """Labelled images; or images or rows of a table with numbers to predict.

    Attributes:
        name: as the user typed it.
        classes: names, in the order of the labels; none of a regression.
        splits: of "train", "validation" and "test", those that the source gives.
        notes: what the user should be told.
        mirrors: whether the mirror image of a picture still shows its class; not so for digits.
        targets: of a regression, what its labels are.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    notes: tuple[str, ...] = ()
    mirrors: bool = True
    targets: tuple[Target, ...] = ()

    @property
    def task(self) -> Literal["classification", "regression"]:
        return "regression" if self.targets or self.tabular else "classification"

    @property
    def tabular(self) -> bool:
        """Whether it holds rows of a table and no images."""
        return any(isinstance(split, TableSplit) for split in self.splits.values())


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Images that are in memory as uint8 [n, H, W] or [n, H, W, 3]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    title: str

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.title}[{index}]"

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])

    def reduced(self, index: int, reduction: Reduction) -> Reduced:
        return Reduced(self.image(index), (self.images.shape[2], self.images.shape[1]))


@dataclass(frozen=True, eq=False)
class FileSplit:
    """One image a file."""

    paths: Sequence[str]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return self.paths[index]

    def image(self, index: int) -> Image.Image:
        return read_image(self.paths[index])

    def reduced(self, index: int, reduction: Reduction) -> Reduced:
        return read_reduced(self.paths[index], reduction=reduction)


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of another split, in the order of `indices`; they keep their names."""

    whole: Split
    indices: NDArray[np.int64]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.indices[index]))

    def image(self, index: int) -> Image.Image:
        return self.whole.image(int(self.indices[index]))

    def reduced(self, index: int, reduction: Reduction) -> Reduced:
        return self.whole.reduced(int(self.indices[index]), reduction)


def subset(split: Split, indices: ArrayLike) -> Split:
    """Return the images at `indices` (int [m], each below len(split)) as a split of their own."""
    chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
    if isinstance(split, TableSplit):
        return split.take(chosen)
    if isinstance(split, Subset):
        return Subset(split.whole, split.indices[chosen], split.labels[chosen])
    return Subset(split, chosen, split.labels[chosen])


def in_threads(
    work: Callable[[Sequence[int]], Result], n: int, *, threads: int | None = None, chunk: int = 64
) -> Iterator[Result]:
    """Yield work(indices) for consecutive chunks of range(n), in order; Pillow decodes outside Python's lock."""
    threads = threads or cores()
    chunks = (range(start, min(start + chunk, n)) for start in range(0, n, chunk))
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, list(chunks))


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_unreadable(split: Split) -> list[tuple[int, str, str]]:
    """Decode every image and return (index, name, reason) of those that cannot be."""

    def check(indices: Sequence[int]) -> list[tuple[int, str, str]]:
        found = []
        for index in indices:
            try:
                split.reduced(index, smallest)  # reads every coefficient, so that what is damaged is found
            except UnreadableImage as problem:
                found.append((index, problem.name, problem.reason))
        return found

    return [item for part in in_threads(check, len(split)) for item in part]


def smallest(width: int, height: int) -> int:
    """The `Reduction` that is enough to see whether an image can be read, and how large it is."""
    return 8


class UnreadableImagesError(InputError):
    """Images that cannot be read, named in one line; `listed` holds (name, reason), `total` how many were looked at."""

    LONGEST = 100_000  # a hundred paths, whole

    def __init__(self, message: str, listed: Sequence[tuple[str, str]], total: int) -> None:
        super().__init__(message)
        self.listed, self.total = tuple(listed), total


def refuse(skipped: Iterable[tuple[str, str]], total: int) -> UnreadableImagesError:
    """Return the error that names unreadable images and says what to do about them."""
    listed = list(skipped)
    shown = ", ".join(f"{name} ({reason})" for name, reason in listed[:100])
    more = f", and {len(listed) - 100} more (`resnets data` lists them)" if len(listed) > 100 else ""
    plural = "image" if len(listed) == 1 else "images"
    return UnreadableImagesError(
        f"{len(listed)} unreadable {plural} of {total}: {shown}{more};"
        " repair or remove them, or pass --skip-unreadable",
        listed,
        total,
    )
