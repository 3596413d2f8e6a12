"""A network as a value: everything that tells one residual network from another, and nothing of torch.

[R] arXiv 1512.03385, [I] arXiv 1603.05027, [W] Wide Residual Networks arXiv 1605.07146, [X] ResNeXt arXiv 1611.05431,
[T] Bag of Tricks for Image Classification arXiv 1812.01187, [VGG] arXiv 1409.1556.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from resnets.architecture.shortcut import Shortcut, parse_shortcut
from resnets.architecture.sizes import map_sizes
from resnets.architecture.validation import NORM_EPS, validate
from resnets.errors import InputError, nearest

SMALL_IMAGE = 65  # pixels; images with a shorter side below this get the small stem
_IDENTITY = Shortcut()


@dataclass(frozen=True)
class NetworkSpec:
    """A residual (or plain) network as data: frozen, hashable, JSON in and out.

    Attributes:
        units: residual units of each stage.
        widths: channels of each stage's 3x3 convolutions (a bottleneck's output has four times as many).
        unit: `basic` (two 3x3), `bottleneck` (1x1, 3x3, 1x1), `linear` (two fully connected layers: a residual MLP),
            `pooled` (a 3x3, the first of each stage followed by 2x2 max-pooling, then x + F(x) with one 3x3 in F: for
            short training, after Page's ResNet-9 and Jordan's airbench), or `vgg` (VGG-19 of torchvision, the papers'
            baseline: classes and channels are all that it lets choose).
        stem: `imagenet` (7x7/2 and 3x3/2 max-pooling), `small` (3x3/1), or `auto`: by the size of the images; `patches`
            (2x2/1 without padding, so that 32 pixels make 31 and three poolings 15, 7 and 3: airbench's); `deep`
            (for the 7x7 three 3x3 of 32, 32 and 64 channels, ResNet-C of [T], section 4.1) or `deep-tiered` (timm's
            "t" networks: 24, 32 and 64), wider or narrower as `stem_width` says. `linear` and `vgg` units have stems
            of their own.
        stem_width: channels after the stem.
        stem_norm: normalisation and ReLU end the stem, before its pooling. Without them (`false`) the first unit of a
            pre-activation network has its own, as the others have: the order of timm's ResNetV2.
        ordering: one of the five of [I], figure 4.
        shortcut: see `Shortcut`.
        shortcut_units: which units have it, counted from 0 through all stages; None means all.
        norm: normalisation: batch, layer, group, weight, local-response or none.
        norm_eps: what batch, layer and group normalisation add to the variance (Keras: 1.001e-5).
        stride_in: where a bottleneck that halves the map has its stride: `3x3` (torchvision, "v1.5") or `1x1` ([R]).
            A basic unit always has it in its first 3x3.
        groups: groups of a bottleneck's 3x3 convolution ([X]).
        group_width: width of a bottleneck's 3x3 convolution per 64 channels of the stage and per group ([R]: 64 in one
            group; [X]: 4 in 32; wide networks: 128).
        zero_init: the last scale of every residual function with a shortcut starts at zero (arXiv 1706.02677,
            section 5.1).
        skip_layer: `linear` units: the logits are those of the classifier plus a linear map of the input, so that the
            residual units learn what a linear model does not say (skip-layer connections: Ripley, Pattern Recognition
            and Neural Networks, 1996, section 5.1; `skip=TRUE` of R's nnet). Its weights start at zero; of a table
            whose numbers are learnt, at those of a linear model (training/linear_start.py).
        head: `average` (global average pooling and the classifier, as [R]), `max` (global max-pooling instead, as in
            airbench) or `flat` (the last map flattened into fully connected layers, as in AlexNet and [VGG]: images of
            one size only). `vgg` units have their own.
        head_widths: outputs of a flat head's hidden layers, each followed by ReLU and dropout 0.5 ([VGG], sections 2.1
            and 3.1); the classifier comes after them.
        in_channels: channels of the images; for `linear`, together with `image_size`, the length of the input.
        num_classes: logits.
        image_size: (height, width) of the images in pixels where the network depends on it or was fitted to it.
        name: what it was made from; not part of its identity.

    Raises:
        InputError: a field is ill-typed or out of range, or two of them contradict each other.
    """

    units: tuple[int, ...]
    widths: tuple[int, ...]
    unit: str = "basic"
    stem: str = "auto"
    stem_width: int = 64
    stem_norm: bool = True
    ordering: str = "original"
    shortcut: Shortcut = _IDENTITY
    shortcut_units: tuple[int, ...] | None = None
    norm: str = "batch"
    norm_eps: float = NORM_EPS
    stride_in: str = "3x3"
    groups: int = 1
    group_width: int = 64
    zero_init: bool = False
    skip_layer: bool = False
    head: str = "average"
    head_widths: tuple[int, ...] = ()
    in_channels: int = 3
    num_classes: int = 1000
    image_size: tuple[int, int] | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        validate(self)
        if self.shortcut_units is not None:  # equal choices make equal specs
            object.__setattr__(self, "shortcut_units", tuple(sorted(set(self.shortcut_units))))

    @property
    def expansion(self) -> int:
        """Output channels of a unit divided by its stage's width: 4 for a bottleneck, else 1."""
        return 4 if self.unit == "bottleneck" else 1

    @property
    def layers_per_unit(self) -> int:
        """Weight layers of one residual function."""
        return 3 if self.unit == "bottleneck" else 2

    @property
    def total_units(self) -> int:
        """Units of all stages together."""
        return sum(self.units)

    @property
    def depth(self) -> int:
        """Weight layers on the main path, stem and classifier included, as [R] counts them (101 = 1 + 3·33 + 1).

        A deep stem counts as the one convolution that it stands for: ResNet-50-D has 50. Wide networks are named
        otherwise: [W] counts three projections and no classifier, so WRN-28-10 has 26 here.
        """
        return 19 if self.unit == "vgg" else 2 + self.layers_per_unit * self.total_units + len(self.head_widths)

    @property
    def out_channels(self) -> int:
        """Channels of the last map (VGG-19: what reaches the classifier)."""
        return 4096 if self.unit == "vgg" else self.widths[-1] * self.expansion

    def head_layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every fully connected layer of the head, the classifier last.

        Raises:
            InputError: a flat head without `image_size`.
        """
        if self.head == "flat" and self.image_size is None:
            raise InputError(f"{self.name or 'the network'}: head=flat needs image_size=(height, width) of the images")
        height, width = self.map_sizes()[-1] if self.head == "flat" else (1, 1)
        return [*pairwise((self.out_channels * height * width, *self.head_widths, self.num_classes))]

    def inner_width(self, width: int) -> int:
        """Channels between the first and the last layer of a unit in a stage of this width."""
        return width * self.group_width // 64 * self.groups if self.unit == "bottleneck" else width

    @property
    def small_stem(self) -> bool:
        """Whether the stem is one for small images, which keeps their size, or all but a pixel, and pools nothing."""
        return self.stem in ("small", "patches")

    def stem_widths(self) -> tuple[int, ...]:
        """Channels after each convolution of the stem."""
        half = self.stem_width // 2
        inner = {"deep": (half, half), "deep-tiered": (half // 4 * 3, half)}.get(self.stem, ())
        return (*inner, self.stem_width)

    def has_shortcut(self, index: int) -> bool:
        """Whether unit `index` (from 0, through all stages) has a shortcut."""
        return self.shortcut.kind != "none" and (self.shortcut_units is None or index in self.shortcut_units)

    def replace(self, **overrides: Any) -> NetworkSpec:
        """Return a copy with some fields changed; `shortcut` may be a word such as `"B"` or `"scaling:0.5,0.5"`.

        Raises:
            InputError: an unknown field (the nearest is offered) or a value outside its range.
        """
        known = {item.name for item in fields(self)}
        for key in overrides:
            if key not in known:
                raise InputError(
                    f"unknown network field {key!r}{nearest(key, known)} (fields: {', '.join(sorted(known))})"
                )
        changes = dict(overrides)
        if isinstance(changes.get("shortcut"), str):
            changes["shortcut"] = parse_shortcut(changes["shortcut"], self.shortcut)
        for key in ("units", "widths", "shortcut_units", "head_widths", "image_size"):
            if isinstance(changes.get(key), list | range | set | frozenset):
                changes[key] = tuple(changes[key])
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` gives back an equal spec."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkSpec:
        """Read `to_dict`'s form.

        Raises:
            InputError: an unknown, missing or ill-typed field, by name.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"a network specification is a JSON object, not {type(data).__name__}")
        values = dict(data)
        known = {item.name for item in fields(cls)}
        for key in values:
            if key not in known:
                raise InputError(
                    f"unknown network field {key!r}{nearest(str(key), known)} (fields: {', '.join(sorted(known))})"
                )
        for key in ("units", "widths"):
            if key not in values:
                raise InputError(f"a network specification needs '{key}', for example \"{key}\": [2, 2, 2, 2]")
        shortcut = values.get("shortcut")
        if isinstance(shortcut, str):
            values["shortcut"] = parse_shortcut(shortcut, _IDENTITY)
        elif isinstance(shortcut, Mapping):
            parts = {item.name for item in fields(Shortcut)}
            for key in shortcut:
                if key not in parts:
                    raise InputError(f"unknown shortcut field {key!r}{nearest(str(key), parts)}")
            values["shortcut"] = Shortcut(**shortcut)
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
        return cls(**values)

    def fit(
        self, *, image_size: tuple[int, int], in_channels: int = 3, num_classes: int = 1000
    ) -> tuple[NetworkSpec, list[str]]:
        """Return the network for these images, with what its user should be told.

        Args:
            image_size: (height, width) in pixels.
            in_channels: channels of the images.
            num_classes: classes.

        Raises:
            InputError: some stage would shrink below one pixel, or a number is out of range.
        """
        fitted = self.replace(image_size=image_size, in_channels=in_channels, num_classes=num_classes)
        if fitted.image_size is None:
            raise InputError("image_size must be (height, width) in pixels to fit a network to it, not None")
        notes = []
        if fitted.stem == "auto":
            small = min(image_size) < SMALL_IMAGE
            fitted = fitted.replace(stem="small" if small else "imagenet")
            if small:
                notes.append(
                    f"images of {image_size[1]}x{image_size[0]} are under {SMALL_IMAGE} pixels: the stem is a 3x3"
                    " convolution without pooling, not ImageNet's 7x7/2 (say stem=imagenet to have that)"
                )
        fitted.map_sizes()
        return fitted, notes

    def map_sizes(self) -> list[tuple[int, int]]:
        """Height and width of the maps after the stem and after each stage, in pixels: see `sizes.map_sizes`."""
        return map_sizes(self)
