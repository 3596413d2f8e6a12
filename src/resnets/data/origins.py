"""What the keys of a weights file cannot say, for the libraries that such files come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnets.data.preprocessing import Preprocessing
from resnets.errors import InputError

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of ImageNet's colours, RGB in [0, 1]


@dataclass(frozen=True)
class Origin:
    """A library's habits: how its networks want their images, and what of a network its keys leave open.

    Attributes:
        name: the library's.
        size: side of the input, in pixels.
        resize: what the shorter side is resized to before the centre is cut out, for `size`, in pixels.
        interpolation: see `Preprocessing`.
        mean, std: of each channel, in the order of `channel_order`, of values from 0 to `value_range`.
        channel_order: RGB or BGR.
        value_range: 1 or 255: the largest value of a picture as the library feeds it.
        stride_in: where a bottleneck that halves the map has its stride: `3x3` or `1x1`.
        norm_eps: what normalisation adds to the variance.
        source: where these values were read.
    """

    name: str
    size: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    value_range: int
    stride_in: str
    norm_eps: float
    source: str

    def preprocessing(self) -> Preprocessing:
        """How the library's networks want their images."""
        return Preprocessing(
            size=self.size,
            channels=len(self.mean),
            mean=tuple(value / self.value_range for value in self.mean),
            std=tuple(value / self.value_range for value in self.std),
            interpolation=self.interpolation,
            crop_fraction=self.size / self.resize,
            channel_order=self.channel_order,
        )


ORIGINS = {
    origin.name: origin
    for origin in (
        Origin(
            "torchvision", 224, 256, "bilinear", *_IMAGENET, "RGB", 1, "3x3", 1e-5,
            "torchvision.models.resnet, ResNet50_Weights.IMAGENET1K_V1 (V2 resizes to 232: crop 0.9655)",
        ),
        Origin(
            "timm", 224, 256, "bicubic", *_IMAGENET, "RGB", 1, "3x3", 1e-5,
            "timm.models.resnet, the pretrained_cfg of most ResNets (those of recipe a1 to a3 have crop_pct 0.95)",
        ),
        # The authors' Caffe networks of [R], as Keras keeps them: BGR from 0 to 255, less the mean, not divided.
        # The loader of Keras squashes pictures to the square; the accuracies that it publishes are of centre crops.
        Origin(
            "keras", 224, 256, "bilinear", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR", 255, "1x1", 1.001e-5,
            "keras.applications.resnet (ResNet50, 101, 152) and imagenet_utils.preprocess_input, mode 'caffe'",
        ),
    )
}  # fmt: skip


def preprocessing_of(
    known: Origin | Preprocessing | None,
    channels: int,
    *,
    size: int | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channel_order: str | None = None,
    value_range: int | None = None,
) -> Preprocessing:
    """How imported weights want their images: as they are known to, changed where the user says otherwise.

    Args:
        known: where the weights come from, or what came with them; None leaves size, mean and std to be given.
        channels: that the network takes.
        size: see `Preprocessing`.
        crop_fraction: see `Preprocessing`; for timm its `crop_pct`, which rounds the resized side down.
        interpolation: see `Preprocessing`.
        mean: of each channel, in the order in which the network takes them, of values in [0, value_range]. For grey
            images the mean of what is known of the colours, as in timm; so for `std`.
        std: deviation of each channel, likewise.
        channel_order: RGB or BGR; a known mean and deviation turn with it.
        value_range: 1 or 255: what `mean` and `std` are of; by default as the origin has it, else 1.

    Raises:
        InputError: a value out of range, a scale that `mean` and `std` contradict, or nothing known and little said.
    """
    if value_range not in (None, 1, 255):
        raise InputError(f"--value-range must be 1 or 255, not {value_range}")
    if size is not None and size < 1:
        raise InputError(f"--size must be at least 1 pixel, not {size}")
    if crop_fraction is not None and not 0 < crop_fraction <= 1:
        raise InputError(f"--crop (crop_fraction) must lie in (0, 1], not {crop_fraction:g}")
    if value_range is not None and mean is None and std is None:
        raise InputError("--value-range says what scale --mean and --std are on; give those too")
    if known is None and (size is None or mean is None or std is None):
        raise InputError(
            "these weights do not say how they want their images: give --size, --mean and --std, or --origin"
        )
    scale = value_range if value_range is not None else known.value_range if isinstance(known, Origin) else 1
    base = known.preprocessing() if isinstance(known, Origin) else known
    order = channel_order if channel_order is not None else "RGB"
    if channel_order is None and base is not None and channels == base.channels:
        order = base.channel_order
    chosen = []
    for name, given in (("mean", mean), ("std", std)):
        if given is not None:
            chosen.append(tuple(value / scale for value in _within(name, given, scale)))
        elif base is not None and channels == 1:
            own: tuple[float, ...] = getattr(base, name)
            chosen.append((sum(own) / len(own),))
        elif base is None or base.channels != channels:
            raise InputError(
                f"the network takes images of {channels} channels: give --mean and --std, a number for each channel"
            )
        else:
            own = getattr(base, name)
            chosen.append(own if order == base.channel_order else own[::-1])
    size = size if size is not None else base.size if base else 0
    fraction = crop_fraction if crop_fraction is not None else base.crop_fraction if base else 1.0
    if isinstance(known, Origin) and known.name == "timm" and 0 < fraction <= 1:
        fraction = size / math.floor(size / fraction)
    return Preprocessing(
        size=size,
        channels=channels,
        mean=chosen[0],
        std=chosen[1],
        interpolation=interpolation if interpolation is not None else base.interpolation if base else "bilinear",
        crop_fraction=fraction,
        channel_order=order,
    )


def _within(name: str, values: Sequence[float], scale: int) -> Sequence[float]:
    if not all(math.isfinite(value) and abs(value) <= scale for value in values):
        hint = "; if they are of values from 0 to 255, add --value-range 255" if scale == 1 else ""
        shown = ", ".join(f"{value:g}" for value in values)
        raise InputError(f"--{name} must lie within {scale}, not {shown}{hint}")
    return values
