"""What a network's fields may say. Everything that a network would silently ignore is refused here instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnets.architecture.orderings import ORDERINGS, PREACTIVATION
from resnets.architecture.shortcut import Shortcut
from resnets.errors import InputError, nearest

if TYPE_CHECKING:
    from resnets.architecture.spec import NetworkSpec

UNITS = ("basic", "bottleneck", "pooled", "linear", "vgg")
STEMS = ("auto", "imagenet", "small", "patches", "deep", "deep-tiered", "linear", "vgg")
NORMS = ("batch", "layer", "group", "weight", "local-response", "none")
STRIDE_IN = ("3x3", "1x1")
HEADS = ("average", "max", "flat")
NORM_EPS = 1e-5  # torch's own, and every published network's in it
LIMIT = 100_000  # units, channels, classes: above this a spec is a slip of the keyboard, not a network
MOST_UNITS = 10_000  # the deepest ResNet published has 600, and modules by the hundred thousand take minutes to make
MOST_WEIGHTS = 10**10  # ten times the largest ResNet published (ResNet-152x4 of arXiv 1912.11370)
_CHOICES = {
    "unit": UNITS, "stem": STEMS, "ordering": ORDERINGS, "norm": NORMS, "stride_in": STRIDE_IN, "head": HEADS,
}  # fmt: skip
_VGG19 = {"units": (2, 2, 4, 4, 4), "widths": (64, 128, 256, 512, 512), "norm": "none"}
# Where F ends in a scale, F is zero when the scale is. Not so under the other orderings: with a ReLU after that scale
# no gradient would ever reach it, and before a weight layer it is not the last.
_ENDS_IN_SCALE = ("original", "relu-only-preactivation")
_SCALED = ("batch", "layer", "group")


def validate(spec: NetworkSpec) -> None:
    """Check every field's type and range, then that the fields agree with each other.

    Raises:
        InputError: the first field that is wrong, by name.
    """
    for key, choices in _CHOICES.items():
        value = getattr(spec, key)
        if not isinstance(value, str) or value not in choices:
            raise InputError(f"unknown {key} {value!r}{nearest(str(value), choices)} (one of: {', '.join(choices)})")
    if not isinstance(spec.shortcut, Shortcut):
        raise InputError(f"shortcut must be a Shortcut or a word such as 'B', not {spec.shortcut!r}")
    for key in ("zero_init", "stem_norm", "skip_layer"):
        if not isinstance(getattr(spec, key), bool):
            raise InputError(f"{key} must be true or false, not {getattr(spec, key)!r}")
    if not isinstance(spec.name, str):
        raise InputError(f"name must be a string, not {spec.name!r}")
    _check_numbers(spec)
    _check_agreement(spec)


def _check_numbers(spec: NetworkSpec) -> None:
    for key in ("units", "widths"):
        values = getattr(spec, key)
        if not isinstance(values, tuple) or not values or not all(_whole(value) for value in values):
            raise InputError(f"{key} must be whole numbers from 1 to {LIMIT}, one for each stage, not {values!r}")
    for key in ("stem_width", "groups", "group_width", "in_channels", "num_classes"):
        if not _whole(getattr(spec, key)):
            raise InputError(f"{key} must be a whole number from 1 to {LIMIT}, not {getattr(spec, key)!r}")
    hidden = spec.head_widths
    if not isinstance(hidden, tuple) or not all(map(_whole, hidden)):
        raise InputError(f"head_widths must be a list of whole numbers from 1 to {LIMIT}, not {hidden!r}")
    eps = spec.norm_eps
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps <= 1:
        raise InputError(f"norm_eps must be a number over 0, up to 1, not {eps!r}")
    size = spec.image_size
    if size is not None and not (isinstance(size, tuple) and len(size) == 2 and all(map(_whole, size))):
        raise InputError(f"image_size must be (height, width) in pixels, not {size!r}")
    if spec.shortcut_units is not None:
        chosen, last = spec.shortcut_units, sum(spec.units) - 1
        if not isinstance(chosen, tuple):
            raise InputError(f"shortcut_units must be a list of units from 0 to {last}, not {chosen!r}")
        for unit in chosen:
            if not isinstance(unit, int) or isinstance(unit, bool) or not 0 <= unit <= last:
                raise InputError(f"shortcut_units: no unit {unit!r}; units are numbered 0 to {last}")


def _check_agreement(spec: NetworkSpec) -> None:
    if len(spec.units) != len(spec.widths):
        raise InputError(f"units and widths must name the same stages: {len(spec.units)} and {len(spec.widths)} given")
    if (spec.unit == "linear") != (spec.stem == "linear") or (spec.unit == "vgg") != (spec.stem == "vgg"):
        raise InputError(f"unit '{spec.unit}' does not go with stem '{spec.stem}'")
    if spec.unit == "vgg":
        _check_vgg(spec)
    if spec.unit != "bottleneck" and (spec.groups, spec.group_width) != (1, 64):
        raise InputError("groups and group_width are those of a bottleneck's 3x3 convolution: unit=bottleneck")
    if spec.unit == "pooled" and (
        spec.shortcut.kind not in ("identity", "none") or spec.ordering != "original" or spec.zero_init
    ):
        raise InputError("pooled units have one ordering and identity shortcuts or none: no zero_init either")
    if spec.skip_layer and spec.unit != "linear":
        raise InputError(f"skip_layer is a linear map of the input, for unit=linear (resmlp), not unit={spec.unit}")
    if spec.unit == "linear" and spec.norm == "local-response":
        raise InputError(
            "norm local-response works across the channels of a map, which linear units have not: norm=batch or layer"
        )
    _check_stem(spec)
    if spec.head != "average" and spec.unit in ("linear", "vgg"):
        why = "which linear units have not" if spec.unit == "linear" else "which vgg19 does of its own"
        what = "flattens" if spec.head == "flat" else "pools"
        raise InputError(f"head={spec.head} {what} the last map, {why}: leave out head")
    if spec.head_widths and spec.head != "flat":
        raise InputError(f"head_widths are those of a flat head, not of head={spec.head}: say head=flat too")
    if spec.unit == "linear" and spec.shortcut.matching == "D":
        raise InputError("shortcut D pools maps, which linear units have not: shortcut=B")
    if spec.norm_eps != NORM_EPS and spec.norm not in _SCALED:
        raise InputError(f"norm_eps belongs to norm {', '.join(_SCALED)}; norm {spec.norm} has none")
    for width in spec.widths:
        if spec.inner_width(width) < 1:
            raise InputError(f"group_width {spec.group_width} leaves a stage of width {width} without channels")
    widest = max(max(spec.inner_width(width), width * spec.expansion) for width in spec.widths)
    if sum(spec.units) > LIMIT or widest > LIMIT:
        raise InputError(f"more than {LIMIT} units or channels: {sum(spec.units)} units, {widest} channels")
    if spec.zero_init and not (spec.ordering in _ENDS_IN_SCALE and spec.norm in _SCALED):
        raise InputError(
            f"zero_init needs a residual function that ends in a scale: ordering {' or '.join(_ENDS_IN_SCALE)}, norm"
            f" {', '.join(_SCALED)}, not {spec.ordering} and {spec.norm}"
        )
    _check_option_a(spec)


def check_size(spec: NetworkSpec) -> None:
    """Refuse a network that can be told of but not built, before memory for it is asked for.

    Raises:
        InputError: its units or its weights are too many, in numbers.
    """
    what = spec.name or "the network"
    if sum(spec.units) > MOST_UNITS:
        raise InputError(f"{what} has {sum(spec.units)} units; networks of up to {MOST_UNITS} are built, so use fewer")
    weights = _weights(spec)
    if weights > MOST_WEIGHTS:
        raise InputError(
            f"{what} would have about {weights / 1e9:.0f} billion weights; networks of up to {MOST_WEIGHTS // 10**9}"
            " billion are built, so use fewer channels or classes"
        )


def _weights(spec: NetworkSpec) -> int:
    """About how many weights the network will have, before any of them is asked for: those of its large matrices."""
    height, width = spec.image_size or (1, 1)
    before = spec.in_channels * height * width if spec.unit == "linear" else spec.in_channels * 49
    total, channels = before * (spec.stem_width + spec.num_classes * spec.skip_layer), spec.stem_width
    for units, width in zip(spec.units, spec.widths, strict=True):
        inner, outputs = spec.inner_width(width), width * spec.expansion
        if spec.unit == "bottleneck":
            first, other = channels * inner, outputs * inner
            rest = 9 * inner * inner // spec.groups + inner * outputs
        else:
            area = 1 if spec.unit == "linear" else 9
            first, other, rest = area * channels * width, area * width * width, area * width * width
        total += first + (units - 1) * other + units * rest
        channels = outputs
    return total + sum(before * after for before, after in spec.head_layers())


def _check_stem(spec: NetworkSpec) -> None:
    parts = {"deep": 2, "deep-tiered": 8}.get(spec.stem, 1)
    if spec.stem_width % parts:
        raise InputError(f"a stem {spec.stem} has a stem_width that {parts} divides, not {spec.stem_width}")
    if not spec.stem_norm and spec.ordering not in PREACTIVATION:
        raise InputError(
            f"stem_norm=false leaves the stem's activation to the first unit, which ordering {spec.ordering} has at its"
            f" end; ordering {' or '.join(PREACTIVATION)}"
        )


def _check_vgg(spec: NetworkSpec) -> None:
    for key, value in _VGG19.items():
        if getattr(spec, key) != value:
            raise InputError(f"vgg19 is built as torchvision builds it: its {key} is {value}, not {getattr(spec, key)}")
    if spec.shortcut.kind != "none" or spec.zero_init or spec.ordering != "original":
        raise InputError("vgg19 has no residual units: it takes no shortcut, ordering or zero_init")


def _check_option_a(spec: NetworkSpec) -> None:
    if spec.shortcut.matching != "A" or spec.shortcut.kind == "projection":
        return
    channels, index = spec.stem_width, 0
    for units, width in zip(spec.units, spec.widths, strict=True):
        outputs = width * spec.expansion
        if outputs < channels and spec.has_shortcut(index):
            raise InputError(
                f"shortcut A adds zero channels and cannot narrow from {channels} to {outputs}; use shortcut=B"
            )
        channels, index = outputs, index + units


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LIMIT
