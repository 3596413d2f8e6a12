"""A network as a value: everything that tells one residual network from another, and nothing of torch.

[R] arXiv 1512.03385, [I] arXiv 1603.05027, [W] Wide Residual Networks arXiv 1605.07146, [X] ResNeXt arXiv 1611.05431.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from resnets.architecture.orderings import ORDERINGS
from resnets.architecture.shortcut import Shortcut, parse_shortcut
from resnets.errors import InputError, nearest

UNITS = ("basic", "bottleneck", "linear", "vgg")
STEMS = ("auto", "imagenet", "small", "linear", "vgg")
NORMS = ("batch", "layer", "group", "weight", "local-response", "none")
STRIDE_IN = ("3x3", "1x1")
SMALL_IMAGE = 65  # pixels; images with a shorter side below this get the small stem
_LIMIT = 100_000  # units, channels, classes: above this a spec is a slip of the keyboard, not a network
_CHOICES = {"unit": UNITS, "stem": STEMS, "ordering": ORDERINGS, "norm": NORMS, "stride_in": STRIDE_IN}


@dataclass(frozen=True)
class NetworkSpec:
    """A residual (or plain) network as data: frozen, hashable, JSON in and out.

    Attributes:
        units: residual units of each stage.
        widths: channels of each stage's 3x3 convolutions (a bottleneck's output has four times as many).
        unit: `basic` (two 3x3), `bottleneck` (1x1, 3x3, 1x1), `linear` (two fully connected layers: a residual MLP),
            or `vgg` (VGG-19 of torchvision, the papers' baseline; every other field but classes and channels is fixed).
        stem: `imagenet` (7x7/2 and 3x3/2 max-pooling), `small` (3x3/1), or `auto`: by the size of the images.
        stem_width: channels after the stem.
        ordering: one of the five of [I], figure 4.
        shortcut: see `Shortcut`.
        shortcut_units: which units have it, counted from 0 through all stages; None means all.
        norm: normalisation: batch, layer, group, weight, local-response or none.
        stride_in: where a bottleneck that halves the map has its stride: `3x3` (torchvision, "v1.5") or `1x1` ([R]).
        groups: groups of a bottleneck's 3x3 convolution ([X]).
        group_width: width of a bottleneck's 3x3 convolution per 64 channels of the stage (64 in [R]; 128: wide).
        zero_init: the last scale of every residual function starts at zero (arXiv 1706.02677, section 5.1).
        in_channels: channels of the images; for `linear`, together with `image_size`, the length of the input.
        num_classes: logits.
        image_size: (height, width) of the images in pixels where the network depends on it or was fitted to it.
        name: what it was made from; not part of its identity.
    """

    units: tuple[int, ...]
    widths: tuple[int, ...]
    unit: str = "basic"
    stem: str = "auto"
    stem_width: int = 64
    ordering: str = "original"
    shortcut: Shortcut = Shortcut()
    shortcut_units: tuple[int, ...] | None = None
    norm: str = "batch"
    stride_in: str = "3x3"
    groups: int = 1
    group_width: int = 64
    zero_init: bool = False
    in_channels: int = 3
    num_classes: int = 1000
    image_size: tuple[int, int] | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _validate(self)

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
        """Weight layers on the main path, stem and classifier included, as [R] counts them (101 = 1 + 3·33 + 1)."""
        return 19 if self.unit == "vgg" else 2 + self.layers_per_unit * self.total_units

    @property
    def out_channels(self) -> int:
        """Channels that reach the classifier."""
        return 4096 if self.unit == "vgg" else self.widths[-1] * self.expansion

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
                    f"unknown network field '{key}'{nearest(key, known)} (fields: {', '.join(sorted(known))})"
                )
        changes = dict(overrides)
        if isinstance(changes.get("shortcut"), str):
            changes["shortcut"] = parse_shortcut(changes["shortcut"], self.shortcut)
        for key in ("units", "widths", "shortcut_units", "image_size"):
            if isinstance(changes.get(key), list | range | set | frozenset):
                changes[key] = tuple(changes[key])
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` gives back an equal spec."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
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
                raise InputError(f"unknown network field '{key}'{nearest(str(key), known)}")
        for key in ("units", "widths"):
            if key not in values:
                raise InputError(
                    f"a network specification needs '{key}', for example \"{key}\": [2, 2, 2, 2]"
                )
        shortcut = values.get("shortcut", Shortcut())
        if isinstance(shortcut, str):
            values["shortcut"] = parse_shortcut(shortcut, Shortcut())
        elif isinstance(shortcut, Mapping):
            parts = {item.name for item in fields(Shortcut)}
            for key in shortcut:
                if key not in parts:
                    raise InputError(f"unknown shortcut field '{key}'{nearest(str(key), parts)}")
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
            InputError: some stage would shrink below one pixel.
        """
        notes = []
        stem = self.stem
        if stem == "auto":
            stem = "small" if min(image_size) < SMALL_IMAGE else "imagenet"
            if stem == "small":
                notes.append(
                    f"images of {image_size[1]}x{image_size[0]} are under {SMALL_IMAGE} pixels: the stem is a 3x3 convolution"
                    " without pooling, not ImageNet's 7x7/2 (say stem=imagenet to have that)"
                )
        fitted = dataclasses.replace(
            self, stem=stem, image_size=image_size, in_channels=in_channels, num_classes=num_classes
        )
        fitted.map_sizes()
        return fitted, notes

    def map_sizes(self) -> list[tuple[int, int]]:
        """Height and width of the maps after the stem and after each stage, in pixels; needs `image_size`.

        Raises:
            InputError: some stage would shrink below one pixel.
        """
        if self.image_size is None:
            raise InputError(f"{self.name or 'the network'}: map sizes need image_size=(height, width)")
        height, width = self.image_size
        label = self.name or f"a network of {len(self.units)} stages"
        if self.unit == "linear":
            return [(1, 1)] * (len(self.units) + 1)
        sizes = []
        steps = [(name, 2) for name in ("features",) * 5] if self.unit == "vgg" else []
        if not steps:
            halvings = 2 if self.stem in ("imagenet", "auto") else 0
            steps = [("the stem", 2)] * halvings or [("the stem", 1)]
            steps += [(f"stage {k + 1}", 1 if k == 0 else 2) for k in range(len(self.units))]
        for place, stride in steps:
            if stride == 2 and min(height, width) < 2:
                raise InputError(
                    f"{label} is too deep for images of {self.image_size[1]}x{self.image_size[0]}: {place} would shrink"
                    " below 1x1; use larger images (--size), stem=small, or a network with fewer stages"
                )
            height, width = -(-height // stride), -(-width // stride)
            sizes.append((height, width))
        return sizes if self.unit == "vgg" else sizes[-len(self.units) - 1 :]


def _validate(spec: NetworkSpec) -> None:
    for key, choices in _CHOICES.items():
        value = getattr(spec, key)
        if value not in choices:
            raise InputError(
                f"unknown {key} '{value}'{nearest(str(value), choices)} (one of: {', '.join(choices)})"
            )
    if not isinstance(spec.shortcut, Shortcut):
        raise InputError(f"shortcut must be a Shortcut or a word such as 'B', not {spec.shortcut!r}")
    for key in ("units", "widths"):
        values = getattr(spec, key)
        if not isinstance(values, tuple) or not values or not all(_whole(value) for value in values):
            raise InputError(
                f"{key} must be whole numbers from 1 to {_LIMIT}, one for each stage, not {values!r}"
            )
    if len(spec.units) != len(spec.widths):
        raise InputError(
            f"units and widths must name the same stages: {len(spec.units)} and {len(spec.widths)} given"
        )
    for key in ("stem_width", "groups", "group_width", "in_channels", "num_classes"):
        if not _whole(getattr(spec, key)):
            raise InputError(f"{key} must be a whole number from 1 to {_LIMIT}, not {getattr(spec, key)!r}")
    if sum(spec.units) > _LIMIT or max(spec.widths) * spec.expansion > _LIMIT:
        raise InputError(
            f"more than {_LIMIT} units or channels: {sum(spec.units)} units, widths {spec.widths}"
        )
    if spec.image_size is not None and not (
        isinstance(spec.image_size, tuple)
        and len(spec.image_size) == 2
        and all(_whole(side) for side in spec.image_size)
    ):
        raise InputError(f"image_size must be (height, width) in pixels, not {spec.image_size!r}")
    if spec.shortcut_units is not None:
        bad = [
            unit
            for unit in spec.shortcut_units
            if not isinstance(unit, int) or isinstance(unit, bool) or not 0 <= unit < sum(spec.units)
        ]
        if bad:
            raise InputError(
                f"shortcut_units: no unit {bad[0]!r}; units are numbered 0 to {sum(spec.units) - 1}"
            )
    if not isinstance(spec.zero_init, bool) or not isinstance(spec.name, str):
        raise InputError("zero_init must be true or false, and name a string")
    if (spec.unit == "linear") != (spec.stem == "linear") or (spec.unit == "vgg") != (spec.stem == "vgg"):
        raise InputError(f"unit '{spec.unit}' does not go with stem '{spec.stem}'")
    if spec.unit == "linear" and spec.norm == "local-response":
        raise InputError(
            "norm local-response works across the channels of a map; a linear unit has none: use batch or layer"
        )
    if spec.groups > 1 and spec.unit != "bottleneck":
        raise InputError("groups above 1 need unit=bottleneck")
    for width in spec.widths:
        if width * spec.group_width // 64 * spec.groups < 1:
            raise InputError(
                f"group_width {spec.group_width} leaves a stage of width {width} without channels"
            )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LIMIT
