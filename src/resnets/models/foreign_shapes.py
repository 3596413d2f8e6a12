"""A network's specification, read off the keys and shapes of its weights.

One wrong shape or missing key must not hide behind what it makes of the rest: what several keys tell is decided by most
of them, so that the one that disagrees is what the strict comparison afterwards finds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resnets.architecture import NetworkSpec, Shortcut, spec
from resnets.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
_DEEPEST = 10_000  # units of a stage


def describe(shapes: Shapes, *, stride_in: str | None = None, called: Callable[[str], str] = str) -> NetworkSpec:
    """The network whose weights have these keys and shapes, in our layout.

    Where keys fit several networks it is the published one: the original ordering, or full pre-activation with
    `bn_last`; addition; identities with a projection where the shape changes.

    Args:
        shapes: key → shape.
        stride_in: see `NetworkSpec`; None: `3x3`, which is where torchvision and timm have it.
        called: what one of our keys is called in the file, for refusals.

    Raises:
        InputError: no residual network, or one whose keys leave open what it is.
    """
    if any(key.startswith("features.") for key in shapes):
        channels, classes = _most(shapes, r"features\.0\.weight", 1), _most(shapes, r"classifier\.6\.\w+")
        return spec("vgg19", num_classes=classes or 1000, in_channels=channels or 3)
    units = _units(shapes)
    if not units:
        first = ", ".join(f"'{key}'" for key in list(shapes)[:3])
        raise InputError(
            f"no residual network: no key begins with layer1.0, as of torchvision's and timm's do ({first})"
        )
    norm = _normalisation(shapes)
    found: dict[str, Any] = {"units": units, "norm": norm, "num_classes": _most(shapes, r"fc\.\w+") or 1000}
    found |= _stem(shapes, called) | _stages(shapes, len(units), called)
    if any(key.startswith("bn_last.") for key in shapes):
        bare = not any(key.startswith("bn1.") for key in shapes)
        found |= {"ordering": "full-preactivation", "stem_norm": not bare}
    if found["unit"] == "bottleneck":
        if stride_in is None and found["stem"] == "small":
            raise _untold("whether a bottleneck has its stride in the 3x3 or the first 1x1 (--stride-in)")
        found["stride_in"] = "3x3" if stride_in is None else stride_in
    found["shortcut"] = _shortcut(shapes, found)
    try:
        return NetworkSpec(**found)
    except InputError as error:
        raise InputError(f"the keys and shapes are of no network that can be built: {error}") from None


class UntoldError(InputError):
    """Whole weights of which keys and shapes leave open what network they are of."""


def _untold(what: str) -> UntoldError:
    return UntoldError(f"the keys and shapes do not tell {what}; name the network (--arch), or give its run folder")


def _most(shapes: Shapes, pattern: str, axis: int = 0) -> int | None:
    """What most of the keys that match have on this axis."""
    return _common(_sizes(shapes, pattern, axis))


def _sizes(shapes: Shapes, pattern: str, axis: int = 0) -> list[int]:
    return [shape[axis] for key, shape in shapes.items() if len(shape) > axis and re.fullmatch(pattern, key)]


def _common(values: Iterable[int]) -> int | None:
    votes = Counter(values).most_common(1)
    return votes[0][0] if votes else None


def _units(shapes: Shapes) -> tuple[int, ...]:
    """Units of each stage: as many as are numbered without a gap."""
    present = {
        (int(found[1]), int(found[2])) for key in shapes if (found := re.match(r"layer(\d{1,4})\.(\d{1,4})\.", key))
    }

    def run(first: int, there: Callable[[int], bool]) -> int:
        return next(k for k in range(first, _DEEPEST + 2) if not there(k))

    stages = run(1, lambda stage: (stage, 0) in present)
    return tuple(run(0, lambda unit, stage=stage: (stage, unit) in present) for stage in range(1, stages))  # type: ignore[misc]


def _normalisation(shapes: Shapes) -> str:
    if any(".parametrizations." in key for key in shapes):
        raise _untold("more than that it has weight normalisation")
    if any(key.endswith(".running_mean") for key in shapes):
        return "batch"
    if any(re.search(r"\bbn\d\.weight$", key) for key in shapes):
        return "group"  # layer normalisation has the same keys: `recognise` takes those of timm's networks alone
    raise _untold("which normalisation it has, if any")


def _stem(shapes: Shapes, called: Callable[[str], str]) -> dict[str, Any]:
    # A stem without normalisation leaves it to the first unit, which begins with one then.
    first = r"bn1\.\w+" if any(key.startswith("bn1.") for key in shapes) else r"layer1\.0\.bn1\.\w+"
    width = _common(
        [
            *_sizes(shapes, rf"conv1\.weight|conv1\.6\.weight|{first}"),
            *_sizes(shapes, r"layer1\.0\.(conv1|downsample\.[01])\.weight", 1),
        ]
    )
    deep = any(re.match(r"conv1\.\d", key) for key in shapes)
    name = "conv1.0.weight" if deep else "conv1.weight"
    shape = shapes.get(name)
    if shape is None or width is None:
        raise InputError(f"'{called(name)}' is missing: the weights are not whole")
    if len(shape) == 2:
        raise _untold("the size of the images of a residual MLP")
    if len(shape) != 4 or shape[2:] not in ([(3, 3)] if deep else [(3, 3), (7, 7)]):
        raise InputError(
            f"'{called(name)}' has shape {list(shape)}, not that of a {'3x3' if deep else '7x7 or 3x3'} convolution"
        )
    if not deep:
        return {"stem": "imagenet" if shape[2] == 7 else "small", "stem_width": width, "in_channels": shape[1]}
    inner = _most(shapes, r"conv1\.[01]\.(weight|bias|running_\w+)")
    tiered = inner == width // 2 // 4 * 3
    return {"stem": "deep-tiered" if tiered else "deep", "stem_width": width, "in_channels": shape[1]}


def _stages(shapes: Shapes, stages: int, called: Callable[[str], str]) -> dict[str, Any]:
    thirds = sum(key.endswith(".conv3.weight") for key in shapes)
    bottleneck = 2 * thirds > sum(key.endswith(".conv2.weight") for key in shapes)
    last, expansion = (3, 4) if bottleneck else (2, 1)
    outputs, inner, per_group = [], [], []
    for stage in range(1, stages + 1):
        unit = rf"layer{stage}\.\d+\."
        out = _most(shapes, rf"{unit}(conv{last}\.weight|downsample\.[012]\.\w+)")
        middle = _most(shapes, rf"{unit}conv[12]\.weight")
        part = _most(shapes, rf"{unit}conv2\.weight", 1)
        if not (out and middle and part):
            has = [f"'{called(key)}'" for key in shapes if key.startswith(f"layer{stage}.0.")]
            name = called(f"layer{stage}.0.conv2.weight")
            raise InputError(f"'{name}' or others beside it are missing; the unit has {', '.join(has[:3])}")
        outputs.append(out)
        inner.append(middle)
        per_group.append(part)
    found: dict[str, Any] = {"unit": "basic", "widths": tuple(outputs)}
    if bottleneck:
        widths = tuple(out // expansion for out in outputs)
        groups = _common(middle // part for middle, part in zip(inner, per_group, strict=True)) or 1
        group_width = _common(
            middle * 64 // (max(1, width) * groups) for middle, width in zip(inner, widths, strict=True)
        )
        found = {"unit": "bottleneck", "widths": widths, "groups": groups, "group_width": group_width}
    return found


def _shortcut(shapes: Shapes, found: Mapping[str, Any]) -> Shortcut:
    """Where projections are and how deep their keys lie: option B, C or D. A and a plain network leave none."""
    convolutions = [
        (key[: key.index(".downsample.")], key)
        for key, shape in shapes.items()
        if ".downsample." in key and len(shape) == 4
    ]
    expansion = 4 if found["unit"] == "bottleneck" else 1
    widths, units = found["widths"], found["units"]
    reshaping = {f"layer{stage}.0" for stage in range(2, len(units) + 1)}
    if found["stem_width"] != widths[0] * expansion:
        reshaping.add("layer1.0")
    if not convolutions and reshaping:
        raise _untold("shortcuts of option A from none at all")
    pooled = 2 * sum(key.endswith(".downsample.1.weight") for _, key in convolutions) > len(convolutions)
    others = sum(unit not in reshaping for unit, _ in convolutions)
    everywhere = 2 * others > sum(units) - len(reshaping)
    return Shortcut("projection" if everywhere else "identity", "D" if pooled else "B")
