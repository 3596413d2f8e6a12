"""What can be inspected and drawn: a name, a specification's file, a run folder, a weights file, any torch module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from resnets.architecture import ZOO, NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.errors import InputError
from resnets.inspection.shapes import shadow

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")
_ORIGINS = ("torchvision:", "hf:")
PHOTOGRAPH, SMALL = 224, 32  # pixels: the papers' images, by the stem


@dataclass(frozen=True)
class Target:
    """A network to look at.

    Attributes:
        name: what it is called.
        spec: its specification; None for a module from elsewhere.
        module: the network; of a specification, its shapes alone, on the `meta` device.
        input_shape: (channels, height, width) of its images.
    """

    name: str
    spec: NetworkSpec | None
    module: nn.Module
    input_shape: tuple[int, int, int]


def resolve(
    what: str | os.PathLike[str] | NetworkSpec | nn.Module,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Target:
    """Find out which network is meant, and build its shapes.

    Args:
        what: a name of the zoo or its grammar, a specification or its file, a run folder, a weights file, or a module.
        size: side, or (height, width), of the images in pixels; None is the network's own.
        channels: of a module's images, where its first convolution does not tell.

    Raises:
        InputError: no such network, or a size under which a stage would shrink below one pixel.
    """
    if isinstance(what, nn.Module):
        shape = (channels or _first_channels(what), *_pair(size, (PHOTOGRAPH, PHOTOGRAPH)))
        found = getattr(what, "spec", None)
        if isinstance(found, NetworkSpec):
            return Target(
                found.name or type(what).__name__, found, what, (found.in_channels, *_pair(size, _own(found)))
            )
        return Target(type(what).__name__, None, what, shape)
    spec, name, own = _specification(what)
    height, width = _pair(size, own or _own(spec))
    sized = spec.replace(image_size=(height, width))
    if size is not None and spec.stem == "auto" and spec.image_size is None:
        sized, _ = spec.fit(image_size=(height, width), in_channels=spec.in_channels, num_classes=spec.num_classes)
    sized.map_sizes()  # refuses a network that is too deep for its images
    return Target(name, sized, shadow(sized), (spec.in_channels, height, width))


def _specification(
    what: str | os.PathLike[str] | NetworkSpec,
) -> tuple[NetworkSpec, str, tuple[int, int] | None]:
    """The specification, its name, and the (height, width) of its images where a run tells."""
    if isinstance(what, NetworkSpec):
        return what, what.name or "network", None
    text = os.fspath(what)
    path = Path(text)
    if path.is_dir() or text.endswith(_WEIGHTS) or text.startswith(_ORIGINS):
        if path.is_dir() and text in ZOO and not (path / "run.json").is_file():
            return make_spec(text), text, None  # a folder that happens to be called like a network
        from resnets.models.pretrained import pretrained

        found = pretrained(text)
        side = (found.preprocessing or {}).get("size")
        return found.spec, path.name or text, (side, side) if isinstance(side, int) else None
    spec = make_spec(text)
    return spec, path.stem if text.endswith(".json") else text, None


def _own(spec: NetworkSpec) -> tuple[int, int]:
    side = SMALL if spec.small_stem else PHOTOGRAPH
    return spec.image_size or (side, side)


def _pair(size: int | Sequence[int] | None, own: tuple[int, int]) -> tuple[int, int]:
    if size is None:
        return own
    values = (size, size) if isinstance(size, int) else tuple(size)
    if len(values) != 2 or not all(isinstance(value, int) and value > 0 for value in values):
        raise InputError(f"size must be a side or (height, width) in pixels, not {size!r}")
    return (values[0], values[1])


def _first_channels(module: nn.Module) -> int:
    """Channels that the first convolution of a module takes."""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels
