"""What a network expects of a picture: size, channels, and the mean and deviation of its values."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resnets.data.arrays import Arrays, onto
from resnets.data.decoding import to_grey_or_rgb
from resnets.data.reduced import Reduced
from resnets.errors import InputError, nearest

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SMALL = 64  # pixels: sides up to this are small images, kept in memory and given the small stem
LARGEST = 16_384  # pixels: a larger side of a network's input is a slip of the keyboard
_AT_ONCE = 1 << 18  # values normalised at a time: 1 MiB, which stays in the second cache
_LARGEST_VIEW = 2**25  # pixels of a resized picture out of which the centre is cut: 100 MB


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
        for key in ("size", "channels"):
            if not isinstance(getattr(self, key), int) or isinstance(getattr(self, key), bool):
                raise InputError(f"{key} must be a whole number, not {getattr(self, key)!r}")
        for key, numbers in {"mean": self.mean, "std": self.std, "crop_fraction": (self.crop_fraction,)}.items():
            if not isinstance(numbers, tuple) or not all(map(_finite, numbers)):
                raise InputError(f"{key} must be finite numbers, not {numbers!r}")
        words = {"interpolation": self.interpolation, "channel_order": self.channel_order}
        words |= {"mean_image": self.mean_image} if self.mean_image is not None else {}
        for key, word in words.items():
            if not isinstance(word, str):
                raise InputError(f"{key} must be a word, not {word!r}")
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels}")
        if not 1 <= self.size <= LARGEST:
            raise InputError(f"size must be from 1 to {LARGEST} pixels, not {self.size}")
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
        if not isinstance(data, Mapping):
            raise InputError(f"preprocessing is a JSON object, not {type(data).__name__}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                raise InputError(f"unknown preprocessing key '{key}' (known: {', '.join(known)}){nearest(key, known)}")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        try:
            return cls(**values)
        except TypeError as problem:
            raise InputError(f"preprocessing needs size, channels, mean and std; found {', '.join(data)}") from problem

    def image(self, picture: Image.Image | Reduced) -> Tensor:
        """Return uint8 [C, size, size]: the evaluation view of a picture of any size and mode."""
        # A copy: what Pillow lends is read-only, which a tensor cannot be.
        return torch.from_numpy(self.pixels(picture).transpose(2, 0, 1).copy())

    def pixels(self, picture: Image.Image | Reduced) -> NDArray[np.uint8]:
        """The evaluation view as uint8 [size, size, C], its colours in the order RGB.

        To the pixel what torchvision's (and so timm's) Resize and CenterCrop make of a picture: the longer side is cut
        to whole pixels, and the centre lies at the even one of two equally near places. A picture that was `Reduced`
        as `reduction` allows gives nearly the same view: tests/data/test_jpeg.py says how nearly.
        """
        given = picture if isinstance(picture, Reduced) else Reduced(picture, picture.size)
        picture, method = self.convert(given.picture), INTERPOLATIONS[self.interpolation]
        size, left, top = self._layout(*given.whole)
        if size[0] * size[1] > _LARGEST_VIEW:  # 1x65535: whole, it would take gigabytes
            view = picture.resize((self.size, self.size), method, box=given.box(*self.seen(*given.whole)))
            return np.asarray(view).reshape(self.size, self.size, self.channels)
        if size != picture.size or given.scale > 1:
            picture = picture.resize(size, method, box=given.box(0, 0, *given.whole))
        if size != (self.size, self.size):
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return np.asarray(picture).reshape(self.size, self.size, self.channels)

    def reduction(self, width: int, height: int) -> int:
        """By what a JPEG of this size may be divided while it is decoded: its evaluation view hardly changes.

        Twice the pixels of the view remain in each direction, so that it is the antialiasing of the resizing that
        decides what is seen, not libjpeg's.
        """
        (wide, high), _, _ = self._layout(width, height)
        return min(width // (2 * wide), height // (2 * high))

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
        return with_channels(picture, self.channels)

    def mean_pixels(self) -> Tensor | None:
        """The mean image as float32 [C, size, size], or None.

        Raises:
            InputError: `mean_image` is not such an image.
        """
        if self.mean_image is None:
            return None
        try:
            values = np.frombuffer(base64.b64decode(self.mean_image, validate=True), dtype="<f4")
            if not np.isfinite(values).all():
                raise ValueError
            return torch.from_numpy(values.reshape(self.channels, self.size, self.size).astype(np.float32))
        except ValueError:
            raise InputError(
                f"mean_image must be base64 of float32 [{self.channels}, {self.size}, {self.size}]"
            ) from None

    def normalise(
        self,
        batch: Tensor,
        memory_format: torch.memory_format | None = None,
        *,
        mean: Tensor | None = None,
        arrays: Arrays | None = None,
    ) -> Tensor:
        """Map uint8 [B, C, H, W] to float32 (x / 255 - mean) / std, in `memory_format` where one is asked for.

        The bytes come in the order RGB, the result is in that of `channel_order`.

        `mean` is that of every pixel of every image, [B, C, H, W], where augmentation has moved the mean image;
        `arrays` gives the memory of the result, where that can be used again.
        """
        if self.channel_order == "BGR":
            batch = batch.flip(1)
        if mean is None:
            mean = self.mean_pixels()
        scale, shift = (onto(values, batch.device) for values in self.factors(mean))
        if batch.device.type == "cpu" and mean is None:
            return _normalised(batch, scale, shift, memory_format, arrays or Arrays())
        real = batch.to(torch.float32, copy=True).mul_(scale).sub_(shift)
        return real if memory_format is None else real.contiguous(memory_format=memory_format)

    def factors(self, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What a byte is multiplied by, [C, 1, 1], and what is then subtracted, float32, to normalise it.

        (x / 255 - mean) / std = x / (255 std) - mean / std; `mean` is that of every pixel, where it is no colour's.
        """
        std = torch.tensor(self.std, dtype=torch.float64).view(-1, 1, 1)
        middle = torch.tensor(self.mean, dtype=torch.float64).view(-1, 1, 1) if mean is None else mean.double()
        return (1 / (255 * std)).float(), (middle / onto(std, middle.device)).float()


def with_channels(picture: Image.Image, channels: int) -> Image.Image:
    """The picture in mode L for 1 channel, RGB for 3."""
    wanted = "L" if channels == 1 else "RGB"
    if picture.mode != wanted:
        picture = to_grey_or_rgb(picture).convert(wanted)
    return picture


def _normalised(
    batch: Tensor, scale: Tensor, shift: Tensor, memory_format: torch.memory_format | None, arrays: Arrays
) -> Tensor:
    """Return batch * scale - shift in float32, some images at a time, so that they stay in the processor's cache.

    By numpy, in this thread alone: torch's threads would meet after every one of these short operations, which takes
    far longer than they do where another thread or program has the other core. And numpy asks for huge pages: a batch
    of photographs is then first touched in half the time.
    """
    n, channels, height, width = batch.shape
    kept = memory_format is None and channels > 1 and batch.is_contiguous(memory_format=torch.channels_last)
    last = memory_format == torch.channels_last or kept
    given = (batch.permute(0, 2, 3, 1) if last else batch).numpy()
    real = arrays.empty(given.shape)
    factor, offset = scale.numpy(), shift.numpy()
    if last:  # as rows of interleaved colours: one long loop in place of many of three
        factor, offset = np.tile(factor.reshape(-1), width), np.tile(offset.reshape(-1), width)
    step = max(1, _AT_ONCE // (channels * height * width))
    for begin in range(0, n, step):
        part = real[begin : begin + step]
        np.copyto(part, given[begin : begin + step])
        if last:
            part = part.reshape(len(part), height, width * channels)
        np.multiply(part, factor, out=part)
        np.subtract(part, offset, out=part)
    result = torch.from_numpy(real)
    return result.permute(0, 3, 1, 2) if last else result


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


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9  # not so NaN
