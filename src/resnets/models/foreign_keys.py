"""The keys of timm's ResNetV2 and ours, and the strict comparison of weights with a network's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from resnets.architecture import NetworkSpec
from resnets.errors import InputError
from resnets.models.network import build

COUNT = ".num_batches_tracked"  # weights from before torch 0.4.1, torchvision's too, have none
# timm's deep stem has conv1, norm1, conv2, … by name; ours numbers them, as timm's other networks do.
_STEM = {
    "conv": "conv1",
    "conv1": "conv1.0",
    "norm1": "conv1.1",
    "conv2": "conv1.3",
    "norm2": "conv1.4",
    "conv3": "conv1.6",
}
_PLACES = {"bn_last": "norm", "fc": "head.fc", **{ours: f"stem.{theirs}" for theirs, ours in _STEM.items()}}


def is_timm_v2(keys: Iterable[str]) -> bool:
    """Whether these are keys of timm's ResNetV2."""
    return any(re.match(r"stem\.conv\d?\.|stages\.\d+\.blocks\.\d+\.(conv|norm)\d\.", key) for key in keys)


def from_timm_v2(key: str, *, deep: bool) -> str:
    """Our key for a key of timm's ResNetV2; what is not known stays as it is.

    timm's pooled shortcuts (`resnetv2_50d`) have the keys of those that are not (`resnetv2_50`); in its networks they
    go with a `deep` stem.
    """
    stem = re.fullmatch(r"stem\.(conv\d?|norm\d)\.(\w+)", key)
    if stem and stem[1] in _STEM:
        return f"{_STEM[stem[1]]}.{stem[2]}"
    unit = re.fullmatch(r"stages\.(\d{1,4})\.blocks\.(\d{1,4})\.(.+)", key)
    if unit:
        rest = re.sub(r"^norm(\d\.)", r"bn\1", unit[3])
        rest = re.sub(r"^downsample\.conv\.", f"downsample.{int(deep)}.", rest)
        return f"layer{int(unit[1]) + 1}.{unit[2]}.{rest}"
    head = re.fullmatch(r"(norm|head\.fc)\.(\w+)", key)
    return f"{ {'norm': 'bn_last', 'head.fc': 'fc'}[head[1]] }.{head[2]}" if head else key


def timm_v2_key(key: str) -> str:
    """The key of timm's ResNetV2 for one of ours; what is not known stays as it is."""
    place, _, leaf = key.rpartition(".")
    unit = re.fullmatch(r"layer(\d+)\.(\d+)\.(\w+?)(\.\d)?", place)
    if unit:
        name = "downsample.conv" if unit[4] else unit[3].replace("bn", "norm")
        place = f"stages.{int(unit[1]) - 1}.blocks.{unit[2]}.{name}"
    return f"{_PLACES.get(place, place)}.{leaf}"


def to_timm_v2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the keys of timm's ResNetV2, whose classifier is a 1x1 convolution."""
    return {timm_v2_key(key): value[:, :, None, None] if key == "fc.weight" else value for key, value in state.items()}


def strictly(spec: NetworkSpec, state: Mapping[str, Tensor], called: Callable[[str], str] = str) -> dict[str, Tensor]:
    """The weights in the order of the network's own, after checking that they are whole and nothing else.

    Only counts of batches may be missing (and are zero then).

    Args:
        spec: the network.
        state: its weights, under our keys.
        called: what one of our keys is called in the file, for refusals.

    Raises:
        InputError: keys that are missing, not known, of another shape or not floating; names the first three.
    """
    own, parts = outline(spec), []
    for what, keys in faults(spec, state).items():
        if keys:
            shown = ", ".join(
                f"'{called(key)}'"
                + (f" {list(state[key].shape)} for {list(own[key].shape)}" if what == "misshapen" else "")
                for key in keys[:3]
            )
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            parts.append(f"{what}: {shown}{more}")
    if parts:
        name = (
            f"{spec.name}, whose keys these are nearest to" if spec.name else "the network that the keys are nearest to"
        )
        raise InputError(f"the weights do not fit {name}; {'; '.join(parts)}")
    zero = torch.zeros((), dtype=torch.int64)
    return {key: state[key] if key in state else zero.clone() for key in own}


def faults(spec: NetworkSpec, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The keys that do not fit the network, by what is wrong with them."""
    own = outline(spec)
    return {
        "missing": [key for key in own if key not in state and not key.endswith(COUNT)],
        "not known": [key for key in state if key not in own],
        "misshapen": [key for key, value in own.items() if key in state and state[key].shape != value.shape],
        "not floating-point": [key for key in own if key in state and _odd(key, state[key])],
    }


def outline(spec: NetworkSpec) -> dict[str, Tensor]:
    """The network's own `state_dict`, shapes and types without values."""
    return _outline(spec.replace(image_size=None, name=""))


@lru_cache(maxsize=4)  # a converted network is compared several times; building its outline takes up to a second
def _outline(spec: NetworkSpec) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build(spec).state_dict()


def _odd(key: str, value: Tensor) -> bool:
    if key.endswith(COUNT):
        return value.is_complex() or value.dtype == torch.bool
    return not value.is_floating_point()
