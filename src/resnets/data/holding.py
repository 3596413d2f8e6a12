"""The validation split that is held out of the training images, by seed."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from resnets.data.random import Stream, sort_keys
from resnets.data.rows import TableSplit
from resnets.data.split import Source, Split, subset
from resnets.errors import InputError


def hold_out(source: Source, fraction: float = 0.1, seed: int = 0) -> Source:
    """Take a "validation" split out of "train", by seed and stratified; a source that has one is returned as it is.

    Exactly round(fraction * n) images are taken (at least one): each class gives its share, rounded so that the
    total comes out (largest remainders first), and a class never gives its last image. Both parts keep the order
    of the whole, and the choice depends on nothing but the seed and the labels.

    Of a regression, the rows are put in the order of the first target and cut into as many runs of neighbours, equally
    long within one, as are to be taken; one of each is. An image that stands in several rows counts as one, and all
    its rows go together.

    Raises:
        InputError: no training split, a fraction outside (0, 1), or too few images to take any.
    """
    if "validation" in source.splits:
        return source
    if "train" not in source.splits:
        raise InputError(f"{source.name} has no training images to hold a validation split out of; add a train folder")
    if not 0 < fraction < 1:
        raise InputError(f"the validation fraction must lie between 0 and 1, not {fraction:g}")
    train = source.splits["train"]
    if source.task == "regression":
        return _cut(source, _spread(source, train, fraction, seed))
    classes, inverse, counts = np.unique(train.labels, return_inverse=True, return_counts=True)
    wanted = max(1, round(fraction * len(train)))
    spare = counts - 1
    if wanted > spare.sum():
        raise InputError(
            f"{source.name} has too few training images ({len(train)} in {len(classes)} classes) to hold out {wanted}"
            " for validation; add images, or a validation folder"
        )
    taken = _shares(counts.astype(np.float64) * (wanted / len(train)), spare, wanted)
    keys = sort_keys(seed, 0, np.arange(len(train)), Stream.HOLD_OUT)
    validation = np.sort(
        np.concatenate(
            [
                members[np.argsort(keys[members], kind="stable")[: taken[position]]]
                for position in range(len(classes))
                for members in [np.flatnonzero(inverse == position)]
            ]
        )
    )
    return _cut(source, validation)


def _cut(source: Source, validation: NDArray[np.int64]) -> Source:
    train = source.splits["train"]
    remaining = np.setdiff1d(np.arange(len(train)), validation)
    splits = {"train": subset(train, remaining), "validation": subset(train, validation)}
    splits |= {name: split for name, split in source.splits.items() if name != "train"}
    return dataclasses.replace(source, splits=splits)


def _spread(source: Source, train: Split, fraction: float, seed: int) -> NDArray[np.int64]:
    """The rows that are held out of a regression's, sorted."""
    first, group = by_image(train)
    keys = sort_keys(seed, 0, first, Stream.HOLD_OUT)
    wanted = max(1, round(fraction * len(first)))
    if wanted >= len(first):
        raise InputError(
            f"{source.name} has too few training rows ({len(first)}) to hold out {wanted} for validation; add rows,"
            " or a validation split"
        )
    order = np.lexsort((keys, train.labels[first, 0]))
    taken = [run[np.argmin(keys[run])] for run in np.array_split(order, wanted)]
    return np.flatnonzero(np.isin(group, taken))


def by_image(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each image, and the place among those of each row's; every row of a table stands alone."""
    rows = np.arange(len(split))
    if isinstance(split, TableSplit):
        return rows, rows
    names = np.array([split.name(int(row)) for row in rows])
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    return first, group


def _shares(ideal: NDArray[np.float64], most: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Whole numbers near `ideal`, none above `most`, that add up to `total` (largest-remainder method)."""
    shares = np.minimum(np.floor(ideal).astype(np.int64), most)
    while (missing := total - int(shares.sum())) > 0:
        remainder = np.where(shares < most, ideal - shares, -np.inf)
        best = np.argsort(-remainder, kind="stable")[:missing]
        shares[best[shares[best] < most[best]]] += 1
    return shares
