"""The networks of torchvision and timm that ours are, built by those libraries themselves, and the proof by logits."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from resnets.architecture import NetworkSpec, spec
from resnets.architecture.validation import NORM_EPS
from resnets.errors import InputError, nearest
from resnets.models.foreign_keys import to_timm_v2
from resnets.models.network import build

LIBRARIES = ("torchvision", "timm")
_IMAGENET_WIDTHS = (64, 128, 256, 512)
_BOTH = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
)  # fmt: skip
_TIMM = {
    **{f"resnet{depth}t": f"resnet{depth}-t" for depth in (10, 14, 26, 50)},
    **{f"resnet{depth}d": f"resnet{depth}-d" for depth in (18, 26, 34, 50, 101, 152, 200)},
    **{f"resnet{depth}c": f"resnet{depth},stem=deep" for depth in (50, 101, 152)},
    **{f"resnet{depth}s": f"resnet{depth},stem=deep,stem_width=128" for depth in (50, 101, 152)},
    "resnet26": "resnet26-bottleneck",
    "resnet200": "resnet152,units=[3,24,36,3]",
    "resnet50_gn": "resnet50-group",
    "resnext50d_32x4d": "resnext50-32x4d,stem=deep,shortcut=D",
    "resnext101_32x4d": "resnext101-32x8d,group_width=4",
    "resnext101_32x16d": "resnext101-32x8d,group_width=16",
    "resnext101_32x32d": "resnext101-32x8d,group_width=32",
    **{f"resnetv2_{depth}": f"preact-resnet{depth},stem_norm=false" for depth in (18, 34, 50, 101, 152)},
    **{f"resnetv2_{depth}d": f"preact-resnet{depth}-d,stem_norm=false" for depth in (18, 34, 50, 101, 152)},
    "resnetv2_50t": "preact-resnet50-t,stem_norm=false",
}
# torchvision's or timm's name → our name.
NAMES: Mapping[str, Mapping[str, str]] = {
    "torchvision": {name: name.replace("_", "-") for name in (*_BOTH, "vgg19")},
    "timm": {**{name: name.replace("_", "-") for name in _BOTH}, **_TIMM},
}


def bare(found: NetworkSpec) -> NetworkSpec:
    """The network without what its names leave open: classes, channels, the size of the images, initialisation."""
    stem = "imagenet" if found.stem == "auto" else found.stem
    return found.replace(
        stem=stem, num_classes=1000, in_channels=3, image_size=None, zero_init=False, norm_eps=NORM_EPS, name=""
    )


@cache
def _named(library: str) -> dict[NetworkSpec, str]:
    return {bare(spec(ours)): name for name, ours in NAMES[library].items()}


def library_name(found: NetworkSpec, library: str) -> str | None:
    """What the library calls this network, whatever its classes, channels and epsilon; None where it has no name."""
    return _named(_known(library)).get(bare(found))


def why_not(found: NetworkSpec, library: str) -> str | None:
    """Why the library has no network of this specification, to follow its name; None if it has."""
    _known(library)
    if found.unit == "vgg":
        return None if library == "torchvision" else "has VGG-19 under other keys"
    if found.unit in ("linear", "pooled") or found.small_stem:
        words = {"linear": "fully connected units", "pooled": "pooled units"}
        stem = "the small stem" if found.stem == "small" else "a 2x2 stem"
        return f"has no network with {words.get(found.unit, stem)}"
    if found.head != "average":
        return f"has no network with a {found.head} head"
    if found.shortcut.kind != "identity" or found.shortcut_units is not None or found.shortcut.matching == "A":
        return "has no shortcuts but identities and projections where the shape changes"
    if found.unit == "bottleneck" and found.stride_in != "3x3":
        return "has the stride of its bottlenecks in the 3x3 convolution, not in the 1x1"
    return _why_not_torchvision(found) if library == "torchvision" else _why_not_timm(found)


def _why_not_torchvision(found: NetworkSpec) -> str | None:
    if found.ordering != "original":
        return f"has no ordering {found.ordering}"
    if found.norm != "batch":
        return f"has no {found.norm} normalisation"
    if found.stem not in ("auto", "imagenet") or found.stem_width != 64 or found.shortcut.matching != "B":
        return "has no stem but the 7x7 of 64 channels, and no pooled shortcuts"
    if found.widths != _IMAGENET_WIDTHS:  # four, always
        return f"has stages of {_IMAGENET_WIDTHS} channels, not of {found.widths}"
    if found.in_channels != 3:
        return f"takes images of 3 channels, not of {found.in_channels}"
    return None


def _why_not_timm(found: NetworkSpec) -> str | None:
    widths = (*found.stem_widths(), *found.widths)
    if found.ordering not in ("original", "full-preactivation"):
        return f"has no ordering {found.ordering}"
    if found.norm not in ("batch", "group"):
        return f"has no {found.norm} normalisation"
    if found.norm == "group" and (found.ordering != "original" or any(width < 64 or width % 32 for width in widths)):
        return "groups other channels: it has 32 groups, here a group has two channels or more"
    if len(found.units) != 4:  # a fifth of its ResNetV2 would be dilated
        return f"has four stages, not {len(found.units)}"
    if found.ordering == "original":
        if found.stem in ("auto", "imagenet") and found.stem_width != 64:
            return f"has a 7x7 stem of 64 channels, not of {found.stem_width}"
        return None
    if found.stem_norm:
        return "has no normalisation before the first unit of a pre-activation network (stem_norm=false)"
    if found.groups != 1 or found.group_width != 64:
        return "has no grouped or widened pre-activation bottlenecks"
    if (found.stem in ("deep", "deep-tiered")) != (found.shortcut.matching == "D"):
        return "pools the shortcuts of a pre-activation network where its stem is deep, and only there"
    # timm's bottlenecks have a projection in the first unit of every stage, ours where the shape changes.
    same = found.unit == "bottleneck" and found.stem_width == found.widths[0] * found.expansion
    if same or any(width % 8 for width in widths):
        return "builds pre-activation networks of other widths only"
    return None


def library_network(found: NetworkSpec, library: str) -> nn.Module | None:
    """The library's own module for this network, in its initial state and evaluation mode.

    Returns:
        None where the library is not installed or has no such network (`why_not` says why).

    Raises:
        InputError: the library is not known.
    """
    if why_not(found, library) or not importlib.util.find_spec(library):
        return None
    net = _torchvision(found) if library == "torchvision" else _timm(found)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.eps = found.norm_eps
    return net.eval()


def parity(found: NetworkSpec, state: Mapping[str, Tensor], library: str, *, seed: int = 0) -> float | None:
    """The largest absolute difference of logits, ours from the library's own, in float32 and evaluation mode.

    The images are random, of a side that no stride divides, so that a stride or pooling elsewhere shows.

    Args:
        found: the network.
        state: its weights under our keys.
        library: `torchvision` or `timm`.
        seed: of the images.

    Returns:
        None as `library_network`.
    """
    found_both = compared(found, state, library, seed=seed)
    return None if found_both is None else found_both[0]


def compared(
    found: NetworkSpec, state: Mapping[str, Tensor], library: str, *, seed: int = 0
) -> tuple[float, float] | None:
    """What `parity` gives, and the largest absolute logit of the library's network: rounding grows with it."""
    with torch.device("meta"):  # initialising would take longer than all the rest
        theirs = library_network(found, library)
        ours = build(found.replace(image_size=None)).eval()
    if theirs is None:
        return None
    values = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    ours.load_state_dict(values, assign=True)
    theirs.load_state_dict(to_timm_v2(values) if found.ordering != "original" else values, assign=True)
    x = torch.randn(2, found.in_channels, 75, 75, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        logits = theirs(x)
        return float((ours(x) - logits).abs().max()), float(logits.abs().max())


def _torchvision(found: NetworkSpec) -> nn.Module:
    from torchvision.models import resnet, vgg19

    if found.unit == "vgg":
        return vgg19(num_classes=found.num_classes)
    block = resnet.Bottleneck if found.unit == "bottleneck" else resnet.BasicBlock
    return resnet.ResNet(
        block, list(found.units), num_classes=found.num_classes, groups=found.groups, width_per_group=found.group_width
    )


def _timm(found: NetworkSpec) -> nn.Module:
    from timm.layers.create_conv2d import create_conv2d
    from timm.layers.norm_act import BatchNormAct2d
    from timm.models import resnet, resnetv2

    common: dict[str, Any] = {"num_classes": found.num_classes, "in_chans": found.in_channels}
    if found.ordering == "full-preactivation":
        stem = {"deep": "deep", "deep-tiered": "tiered"}.get(found.stem, "")
        return resnetv2.ResNetV2(
            list(found.units), channels=tuple(width * found.expansion for width in found.widths), stem_type=stem,
            stem_chs=found.stem_width, avg_down=found.shortcut.matching == "D", basic=found.unit == "basic",
            bottle_ratio=1 / found.expansion, norm_layer=BatchNormAct2d, conv_layer=create_conv2d, **common,
        )  # fmt: skip
    deep = found.stem in ("deep", "deep-tiered")
    block: Any = resnet.Bottleneck if found.unit == "bottleneck" else resnet.BasicBlock
    return resnet.ResNet(
        block, found.units, channels=found.widths,
        stem_type=found.stem.replace("-", "_") if deep else "", stem_width=found.stem_width // 2 if deep else 64,
        avg_down=found.shortcut.matching == "D", cardinality=found.groups, base_width=found.group_width,
        norm_layer="groupnorm" if found.norm == "group" else nn.BatchNorm2d, **common,
    )  # fmt: skip


def _known(library: str) -> str:
    if library not in LIBRARIES:
        raise InputError(f"unknown library '{library}' (known: {', '.join(LIBRARIES)}){nearest(library, LIBRARIES)}")
    return library
