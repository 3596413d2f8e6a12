"""What a network expects of a picture: size, channels, and the mean and deviation of its values."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnets.data.decoding import UnreadableImage, to_grey_or_rgb
from resnets.data.split import Split, in_threads
from resnets.errors import InputError, nearest

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SMALL = 64  # pixels: sides up to this are small images, kept in memory and given the small stem
_LARGEST = 224  # pixels: the side that the papers use for photographs
_SAMPLE = 5_000  # images measured; the mean of a channel then stands to about 0.001
_PHOTOS = 1_000  # the same for photographs, which take a hundred times longer to decode
_PHOTO = 256  # pixels: a shorter side above this makes a photograph


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a network's input; it travels with the weights.

    Attributes:
        size: side of the square input, in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean, std: of each channel, of values in [0, 1], in the order of `channel_order`.
        interpolation: `bilinear`, `bicubic`, `lanczos` (all antialiased, by Pillow) or `nearest`.
        crop_fraction: for evaluation the shorter side is resized to size / crop_fraction, and the centre cut out.
        mean_image: the mean of every pixel, subtracted in place of the channels' (1512.03385, section 4.2): base64 of
            float32 [C, size, size], little endian, of values in [0, 1].
        channel_order: in which the network takes colours: `RGB`, or `BGR` as Caffe's and Keras's early networks do.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    mean_image: str | None = None
    channel_order: str = "RGB"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels}")
        if self.size < 1:
            raise InputError(f"size must be at least 1 pixel, not {self.size}")
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise InputError(
                f"mean and std must hold one value for each of {self.channels} channels, and std positive ones"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"unknown interpolation '{self.interpolation}' (known: {', '.join(INTERPOLATIONS)})"
                f"{nearest(self.interpolation, INTERPOLATIONS)}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise InputError(f"crop_fraction must lie in (0, 1], not {self.crop_fraction:g}")
        if self.channel_order not in ("RGB", "BGR"):
            raise InputError(f"channel_order must be RGB or BGR, not {self.channel_order!r}")
        if self.mean_image is not None:
            self.mean_pixels()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, which `from_dict` reads."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Read `to_dict`'s form.

        Raises:
            InputError: an unknown or missing key, or a value out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                raise InputError(f"unknown preprocessing key '{key}' (known: {', '.join(known)}){nearest(key, known)}")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        try:
            return cls(**values)
        except TypeError as problem:
            raise InputError(f"preprocessing needs size, channels, mean and std; found {', '.join(data)}") from problem

    def image(self, picture: Image.Image) -> Tensor:
        """Return uint8 [C, size, size]: the evaluation view of a picture of any size and mode."""
        # A copy: what Pillow lends is read-only, which a tensor cannot be.
        return torch.from_numpy(self.pixels(picture).transpose(2, 0, 1).copy())

    def pixels(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The evaluation view as uint8 [size, size, C], its colours in the order RGB.

        To the pixel what torchvision's (and so timm's) Resize and CenterCrop make of a picture: the longer side is cut
        to whole pixels, and the centre lies at the even one of two equally near places.
        """
        picture = self.convert(picture)
        size, left, top = self._layout(*picture.size)
        if size != picture.size:
            picture = picture.resize(size, INTERPOLATIONS[self.interpolation])
        if size != (self.size, self.size):
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return np.asarray(picture).reshape(self.size, self.size, self.channels)

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that its evaluation view shows: left, top, right and bottom in the picture's pixels."""
        (wide, high), left, top = self._layout(width, height)
        across, down = width / wide, height / high
        return left * across, top * down, (left + self.size) * across, (top + self.size) * down

    def _layout(self, width: int, height: int) -> tuple[tuple[int, int], int, int]:
        """The size to which a picture is resized, and the left and top edge of the square that is cut out of that."""
        short = max(self.size, round(self.size / self.crop_fraction))
        wide, high = (short * side // min(width, height) for side in (width, height))
        return (wide, high), round((wide - self.size) / 2), round((high - self.size) / 2)

    def convert(self, picture: Image.Image) -> Image.Image:
        """The picture in mode L or RGB, as `channels` says; grey is weighed as ITU-R 601 does."""
        wanted = "L" if self.channels == 1 else "RGB"
        if picture.mode != wanted:
            picture = to_grey_or_rgb(picture).convert(wanted)
        return picture

    def mean_pixels(self) -> Tensor | None:
        """The mean image as float32 [C, size, size], or None.

        Raises:
            InputError: `mean_image` is not such an image.
        """
        if self.mean_image is None:
            return None
        try:
            values = np.frombuffer(base64.b64decode(self.mean_image, validate=True), dtype="<f4")
            return torch.from_numpy(values.reshape(self.channels, self.size, self.size).astype(np.float32))
        except ValueError:
            raise InputError(
                f"mean_image must be base64 of float32 [{self.channels}, {self.size}, {self.size}]"
            ) from None

    def normalise(
        self, batch: Tensor, memory_format: torch.memory_format | None = None, *, mean: Tensor | None = None
    ) -> Tensor:
        """Map uint8 [B, C, H, W] to float32 (x / 255 - mean) / std, in `memory_format` where one is asked for.

        The bytes come in the order RGB, the result is in that of `channel_order`.

        `mean` is that of every pixel of every image, [B, C, H, W], where augmentation has moved the mean image.
        """
        if self.channel_order == "BGR":
            batch = batch.flip(1)
        # As one multiplication and one subtraction: (x / 255 - mean) / std = x / (255 std) - mean / std.
        std = torch.tensor(self.std, dtype=torch.float64).view(-1, 1, 1)
        if mean is None:
            mean = self.mean_pixels()
        middle = torch.tensor(self.mean, dtype=torch.float64).view(-1, 1, 1) if mean is None else mean.double().cpu()
        scale, shift = ((1 / (255 * std)).float().to(batch.device), (middle / std).float().to(batch.device))
        real = batch.to(torch.float32, copy=True).mul_(scale).sub_(shift)
        return real if memory_format is None else real.contiguous(memory_format=memory_format)


def with_mean_image(preprocessing: Preprocessing, images: Tensor) -> Preprocessing:
    """Subtract the mean of every pixel of `images`, uint8 [n, C, S, S], and divide by nothing (1512.03385, 4.2)."""
    total = sum(part.sum(0, dtype=torch.int64) for part in images.cpu().split(4096))  # exact, whatever the order
    mean = (torch.as_tensor(total).double() / (255 * len(images))).numpy().astype("<f4")
    if preprocessing.channel_order == "BGR":
        mean = np.ascontiguousarray(mean[::-1])
    return dataclasses.replace(
        preprocessing,
        mean_image=base64.b64encode(mean.tobytes()).decode("ascii"),
        std=(1.0,) * preprocessing.channels,
    )


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
                found.append(_facts(split.image(int(places[index]))))
        return found

    return [item for part in in_threads(look, n) for item in part]


def _facts(picture: Image.Image) -> _Facts:
    size, grey = picture.size, picture.mode == "L"
    factor = min(size) // _PHOTO
    if factor > 1:  # the deviation of a photograph at about the scale at which the network sees it
        picture = picture.reduce(factor)
    of = {
        channels: np.array(picture.convert(mode).histogram(), dtype=np.int64).reshape(channels, 256)
        for channels, mode in ((1, "L"), (3, "RGB"))
    }
    return _Facts(size, grey, of)
