"""What preprocessing suits a set of pictures: their sizes, colours, mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnets.data.decoding import UnreadableImage
from resnets.data.preprocessing import SMALL, Preprocessing
from resnets.data.reduced import Reduced
from resnets.data.split import Split, in_threads
from resnets.errors import InputError

_LARGEST = 224  # pixels: the side that the papers use for photographs
_SAMPLE = 5_000  # images measured; the mean of a channel then stands to about 0.001
_PHOTOS = 1_000  # the same for photographs, which take a hundred times longer to decode
_PHOTO = 256  # pixels: a shorter side above this makes a photograph


@dataclass(frozen=True)
class _Facts:
    """One picture's width and height, whether it is grey, and its histograms: int64 [C, 256] for C of 1 and 3."""

    size: tuple[int, int]
    grey: bool
    histograms: Mapping[int, NDArray[np.int64]]


def choose_preprocessing(train: Split, *, size: int | None = None, channels: int | None = None) -> Preprocessing:
    """Choose size and channels from the training images, and measure their mean and deviation.

    The size is the native one if all images agree on one and it is at most 224, else the median shorter side,
    rounded to a multiple of 8 between 8 and 224. The channels are grey if every image is. Looks at up to 5,000
    images, evenly spaced (1,000 where they are photographs), and passes over unreadable ones. Photographs of
    differing sizes are evaluated on the central 7/8, as in the papers.

    Raises:
        InputError: no readable image.
    """
    probe = _sample(train, 64)
    if not probe:
        what = f"none of the images can be read, {train.name(0)} for one" if len(train) else "there are no images"
        raise InputError(f"{what}; give images to train on")
    photos = np.median([min(facts.size) for facts in probe]) > _PHOTO
    facts = _sample(train, _PHOTOS if photos else _SAMPLE)
    sides = [min(item.size) for item in facts]
    native = len({item.size for item in facts}) == 1 and sides[0] <= _LARGEST
    if size is None:
        size = sides[0] if native else int(min(_LARGEST, max(8, round(float(np.median(sides)) / 8) * 8)))
    if channels is None:
        channels = 1 if all(item.grey for item in facts) else 3
    histogram = np.sum([item.histograms[channels] for item in facts], axis=0)
    values = np.arange(256) / 255
    total = histogram.sum(axis=1)
    mean = histogram @ values / total
    deviation = np.sqrt(np.maximum(histogram @ values**2 / total - mean**2, 0))
    return Preprocessing(
        size=size,
        channels=channels,
        mean=tuple(round(float(value), 6) for value in mean),
        # A set of one flat colour has no deviation; one grey level keeps the division finite.
        std=tuple(round(max(float(value), 1 / 255), 6) for value in deviation),
        crop_fraction=1.0 if size <= SMALL or (native and size == sides[0]) else 0.875,
    )


def _sample(split: Split, most: int) -> list[_Facts]:
    """Facts about up to `most` images, evenly spaced over the split; unreadable ones are passed over."""
    n = min(len(split), most)
    places = np.arange(n) * len(split) // max(n, 1)

    def look(indices: Sequence[int]) -> list[_Facts]:
        found = []
        for index in indices:
            with suppress(UnreadableImage):
                found.append(_facts(split.reduced(int(places[index]), _to_photo)))
        return found

    return [item for part in in_threads(look, n) for item in part]


def _to_photo(width: int, height: int) -> int:
    return min(width, height) // _PHOTO


def _facts(given: Reduced) -> _Facts:
    picture = given.picture
    factor = min(picture.size) // _PHOTO
    if factor > 1:  # the deviation of a photograph at about the scale at which the network sees it
        picture = picture.reduce(factor)
    of = {
        channels: np.array(picture.convert(mode).histogram(), dtype=np.int64).reshape(channels, 256)
        for channels, mode in ((1, "L"), (3, "RGB"))
    }
    return _Facts(given.whole, picture.mode == "L", of)
