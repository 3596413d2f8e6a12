"""The images of a run, and what the user should be told of how they are kept."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from resnets.data import (
    Packed,
    Preprocessing,
    Rows,
    Source,
    Streamed,
    TableEncoding,
    UnreadableImagesError,
    load_split,
    offer,
    refuse,
)
from resnets.training.recipe import Recipe


def load_images(
    source: Source,
    preprocessing: Preprocessing | TableEncoding,
    recipe: Recipe,
    skip: bool,
    packed: Mapping[str, bool] | None = None,
    keep_side: int | None = None,
) -> dict[str, Packed | Streamed | Rows]:
    """Decode every split, so that all damaged images are named together and before the training, not after it.

    A resumed run packs what it had `packed`, however much memory is free now, and holds the side of its cache, if it
    had one, whatever room there is: crops of packed or scaled images have other bits.

    Raises:
        UnreadableImagesError: names all of them.
    """
    loaded: dict[str, Packed | Streamed | Rows] = {}
    listed: list[tuple[str, str]] = []
    total = 0
    for name, split in source.splits.items():
        total += len(split)
        if len(split) == 0 and name != "train":
            continue
        try:
            loaded[name] = load_split(
                split, preprocessing, training=name == "train" and recipe.crop == "resized", skip_unreadable=skip,
                memory_limit=None if packed is None else sys.maxsize if packed[name] else 0, keep_side=keep_side,
                hold_side=packed is not None,
            )  # fmt: skip
        except UnreadableImagesError as error:
            listed += error.listed
    if listed:
        raise refuse(listed, total)
    return loaded


def cache_notes(
    data: Packed | Streamed | Rows, cache: bool, preprocessing: Preprocessing | TableEncoding, recipe: Recipe
) -> Sequence[str]:
    """What became of the cache of decoded pictures, or that one would pay."""
    if not isinstance(data, Streamed) or isinstance(preprocessing, TableEncoding):
        return ["no cache of decoded pictures: they fit in memory"] if cache else []
    if cache:
        return data.notes or ["no cache of decoded pictures: only class folders are cached, for random resized crops"]
    told = offer(data.split, preprocessing) if recipe.crop == "resized" and recipe.epochs != 1 else None
    return [told] if told else []


def lost_cache_notes(data: Packed | Streamed | Rows) -> tuple[str, ...]:
    """Why a resumed run that had a cache goes on without one, if it does."""
    return data.notes if isinstance(data, Streamed) and data.pictures is None else ()
