"""A network by name, by weights, or by both."""

from __future__ import annotations

import logging
import os
from enum import Enum
from typing import TYPE_CHECKING, Any

from resnets.architecture import NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.errors import InputError
from resnets.models.network import ResNet, build
from resnets.models.pretrained import Pretrained, pretrained
from resnets.models.weights import start_from, told

if TYPE_CHECKING:
    from resnets.models.vgg import VGG19

_LOGGER = logging.getLogger("resnets")


def create(
    name: str | os.PathLike[str] | NetworkSpec | None = None,
    *,
    weights: str | os.PathLike[str] | Enum | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int | None = None,
    **overrides: Any,
) -> ResNet | VGG19:
    """Create a network by name: `resnets.create("resnet50", num_classes=10)`.

    With weights the classes and channels are theirs unless said otherwise. Then the classifier is newly initialised,
    the first convolution adapted (`models.weights.adapted`); the logger `resnets` warns of it, and the network's
    `initialised` holds the keys.

    Args:
        name: anything that `resnets.spec` takes. None leaves the network to the weights.
        weights: a run folder, a weights file, `torchvision:resnet50`, `hf:OWNER/NAME`: see `pretrained`.
        num_classes: logits; None keeps the published number, or that of the weights. That of a `NetworkSpec` counts as
            asked for, and so do its channels.
        in_channels: channels of the images; None keeps the published number, or that of the weights.
        image_size: side, or (height, width), in pixels: an ImageNet network then gets the small stem under 65
            pixels, unless its name or `stem` or the weights say otherwise. Without it such a network has ImageNet's
            stem.
        seed: seed of the initial weights.
        **overrides: fields of `NetworkSpec`, such as `shortcut="C"` or `norm="group"`.

    Raises:
        InputError: unknown name, field or value; a network too deep for the images; weights that are not there, cannot
            be read or are of another network.
    """
    if name is None and weights is None:
        raise InputError('name a network, as in create("resnet50"), or weights that say which they are of')
    asked = make_spec(name, **overrides) if name is not None else None
    given = pretrained(weights, arch=asked) if weights is not None else None
    found = _wanted(name, asked, given, overrides)
    if num_classes is not None:
        found = found.replace(num_classes=num_classes)
    if in_channels is not None:
        found = found.replace(in_channels=in_channels)
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        found, _ = found.fit(image_size=size, in_channels=found.in_channels, num_classes=found.num_classes)
    net = build(found, seed=seed)
    if given is not None:
        net.initialised = tuple(start_from(net, given.state))
        if net.initialised:
            _LOGGER.warning("%s: %s", given.origin, told(net.initialised, net, given.state))
    return net


def _wanted(
    name: str | os.PathLike[str] | NetworkSpec | None,
    asked: NetworkSpec | None,
    given: Pretrained | None,
    overrides: dict[str, Any],
) -> NetworkSpec:
    if given is None:
        assert asked is not None
        return asked
    if asked is None:
        return given.spec.replace(**overrides)
    # A name has a published number of classes and channels that nobody asked for; a specification, or a setting in the
    # name, says what is wanted.
    text = "" if isinstance(name, NetworkSpec) else os.fspath(name or "")
    whole = isinstance(name, NetworkSpec) or text.endswith(".json")
    said = {
        key: getattr(asked, key) for key in ("num_classes", "in_channels") if whole or key in text.partition(",")[2]
    }
    return given.spec.replace(**said)
