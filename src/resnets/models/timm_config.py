"""What the config.json of timm's networks on the hub says: read as data, timm itself is not needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnets.errors import InputError, nearest
from resnets.models.foreign_libraries import NAMES

_HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last", "img_size"}
_POOLED = ("global_pool", "avg")


@dataclass(frozen=True)
class TimmConfig:
    """What a config.json of timm's says.

    Attributes:
        name: our name of the network.
        preprocessing: in the form of `Preprocessing.to_dict`; None where it is not said.
        classes: the names of the logits; None where they are not said.
    """

    name: str
    preprocessing: dict[str, Any] | None
    classes: tuple[str, ...] | None


def read(config: Mapping[str, Any], origin: str) -> TimmConfig:
    """Read a config.json of timm's.

    The size and crop are those without `test_`, which timm itself prepares images with unless asked otherwise. Only
    networks known by name are taken: others have layers without weights, which no key shows (resnetaa50 blurs,
    resnet50_clip pools by attention).

    Raises:
        InputError: the network is not of this family, or prepares its images in a way that `Preprocessing` has not.
    """
    name, inner = config["architecture"], config.get("pretrained_cfg", config)
    if name not in NAMES["timm"]:
        raise InputError(f"{origin}: timm's {name} is not among the networks built here{nearest(name, NAMES['timm'])}")
    arguments = config.get("model_args") or {}
    if not isinstance(inner, dict) or not isinstance(arguments, dict):
        raise InputError(f"{origin}: config.json is damaged: pretrained_cfg and model_args are no objects")
    arguments = {"global_pool": config.get("global_pool", "avg"), **arguments}
    odd = sorted(key for key, value in arguments.items() if key not in _HARMLESS and (key, value) != _POOLED)
    if odd:
        raise InputError(f"{origin}: made with another {', '.join(odd)}, which no key of the weights shows")
    labels = config.get("label_names", inner.get("label_names"))
    classes = tuple(map(str, labels)) if isinstance(labels, list) and labels else None
    return TimmConfig(NAMES["timm"][name], _preprocessing(inner, origin), classes)


def _preprocessing(inner: Mapping[str, Any], origin: str) -> dict[str, Any] | None:
    try:
        channels, height, width = map(int, inner["input_size"])
        mean, std = ([float(value) for value in inner[key]] for key in ("mean", "std"))
        interpolation, crop = str(inner["interpolation"]), float(inner["crop_pct"])
        resized = math.floor(height / crop)  # as timm.data.transforms_factory.transforms_imagenet_eval
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    mode = inner.get("crop_mode", "center")
    if height != width or mode != "center":
        raise InputError(
            f"{origin}: wants images of {width}x{height} by crop_mode {mode}; only centre squares are made here"
        )
    return {
        "size": height, "channels": channels, "mean": mean, "std": std, "interpolation": interpolation,
        "crop_fraction": height / resized,
    }  # fmt: skip
