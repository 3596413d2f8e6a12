"""Weights that say what network they are of: run folders, weights files, torchvision's own, repositories of the hub."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.architecture import NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.errors import InputError, nearest
from resnets.models import folder, hub
from resnets.models.foreign import recognise, to_ours
from resnets.models.foreign_keys import COUNT
from resnets.models.foreign_libraries import NAMES
from resnets.models.network import build
from resnets.models.reading import read_state
from resnets.models.weights import check_keys, load_weights, misshaped

# What two specifications of one network may differ in: the ends, which `start_from` adapts, and what only initialises.
_FREE = ("name", "num_classes", "in_channels", "image_size", "zero_init")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights, and what is known of them.

    Attributes:
        spec: the network, with as many classes and channels as the weights have.
        state: its `state_dict`.
        preprocessing: how images are prepared for it, in the form of `Preprocessing.to_dict`; None if nothing says it.
        classes: the names of the logits, as their maker has them; None if nothing says them.
        origin: what was read, so that it can be given again.
    """

    spec: NetworkSpec
    state: dict[str, Tensor]
    preprocessing: Mapping[str, Any] | None
    classes: tuple[str, ...] | None
    origin: str


def pretrained(text: str | os.PathLike[str] | Enum, *, arch: NetworkSpec | None = None) -> Pretrained:
    """Read weights from wherever they lie.

    Args:
        text: a run folder; a weights file, ours or another library's; a folder as the hub has them;
            `torchvision:NAME` for a network (`torchvision:resnet50`) or certain weights
            (`torchvision:ResNet50_Weights.IMAGENET1K_V1`), or a member of its enums; or `hf:OWNER/NAME`, perhaps with
            `@REVISION`.
        arch: the network that these must be weights of. The keys of some files do not tell theirs, nor those of any
            where the stride lies: there `arch` does.

    Raises:
        InputError: nothing there, nothing that can be read, or weights of another network (names the key or field).
    """
    if isinstance(text, Enum) and hasattr(text, "url"):  # torchvision's, whose text is its name
        text = f"torchvision:{text}"
    if not isinstance(text, str | os.PathLike) or not os.fspath(text):
        given = repr(text) if text == "" else f"of type {type(text).__name__}"
        raise InputError(
            f"weights are named by text, not {given}: a run folder, a .safetensors or .pth file, torchvision:NAME or"
            " hf:OWNER/NAME (tensors in memory: net.load_state_dict)"
        )
    name = os.fspath(text)
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        found = _torchvision(rest)
    elif kind == "hf":
        found = _repository(*hub.pull(rest))
    elif kind in ("http", "https"):
        raise InputError(f"{name}: weights are not read from an address; download the file, or say hf:OWNER/NAME")
    elif Path(name).is_dir():
        place = Path(name)
        found = _repository(place, str(place.resolve())) if hub.is_repository(place) else _run(place)
    elif Path(name).is_file():
        found = _file(Path(name), arch)
    else:
        raise InputError(
            f"{name}: no such weights; give a run folder, a .safetensors or .pth file, torchvision:NAME or"
            " hf:OWNER/NAME"
        )
    spec = found.spec if arch is None else _agreed(arch, found)
    if spec.stem == "auto":
        spec = spec.replace(stem="imagenet", name=spec.name)
    return dataclasses.replace(found, spec=spec, state=_fitting(spec, found.state, found.origin))


def _run(path: Path) -> Pretrained:
    info = folder.read_run(path)
    try:
        spec = NetworkSpec.from_dict(info["spec"]).replace(name=str(info["arch"]))
        classes, preprocessing = tuple(info["classes"]), info["preprocessing"]
        if preprocessing.get("kind") == "table":
            preprocessing = None  # there are no images to prepare
        folder.verify(path, info)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path / 'run.json'} is damaged or was edited ({error!r})") from None
    file = folder.weights_file(path, info)
    return Pretrained(spec, load_weights(file), preprocessing, classes, str(file.resolve()))


def _file(path: Path, arch: NetworkSpec | None) -> Pretrained:
    """A weights file: that of the run that it lies in, or one whose keys are to tell the network."""
    if (path.parent / "run.json").is_file():
        info = folder.read_run(path.parent)
        if folder.weights_file(path.parent, info) == path:
            return _run(path.parent)
    state, _ = read_state(path)
    origin = str(path.resolve())
    if arch is None:
        return Pretrained(*_recognised(state, str(path)), None, None, origin)
    fitted = _fitted(arch, state)
    try:
        return Pretrained(fitted, _fitting(fitted, state, str(path)), None, None, origin)
    except InputError:
        # Another library's keys, perhaps. What they do not tell, `arch` does, so it is only held against them.
        with contextlib.suppress(InputError):
            _, converted = _recognised(state, str(path), arch)
            return Pretrained(_fitted(arch, converted), converted, None, None, origin)
        raise


def _recognised(
    state: Mapping[str, Tensor], origin: str, arch: NetworkSpec | None = None
) -> tuple[NetworkSpec, dict[str, Tensor]]:
    """The network that the keys and shapes tell, and the weights under our keys."""
    try:
        found = recognise(state) if arch is None else recognise(state, stride_in=arch.stride_in, norm_eps=arch.norm_eps)
        return found.spec, to_ours(found, state)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None


def _repository(place: Path, origin: str) -> Pretrained:
    """A folder with `config.json` and `model.safetensors`, of ours or of timm's."""
    config = hub.read_config(place, origin)
    state = load_weights(place / hub.WEIGHTS)
    spec = config.spec
    if config.foreign:
        own, state = _recognised(state, origin)
        spec = _agreed(spec, Pretrained(own, state, None, None, origin))
    return Pretrained(spec, state, config.preprocessing, config.classes, origin)


def _torchvision(text: str) -> Pretrained:
    """Weights of torchvision, by its weights API; the keys of these networks are ours."""
    # Imported here: torchvision takes two seconds.
    from torchvision import models

    enums = {name: models.get_model_weights(name) for name in NAMES["torchvision"]}
    if "." in text:
        wanted, _, variant = text.partition(".")
        name = next((name for name, enum in enums.items() if enum.__name__ == wanted), None)
        known = [f"{enum.__name__}.{item}" for enum in enums.values() for item in enum.__members__]
    else:
        name, variant, known = (text if text in enums else None), "DEFAULT", list(enums)
    if name is None or variant not in enums[name].__members__:
        raise InputError(
            f"torchvision:{text}: no weights of a network of ours{nearest(text, known)} (known: {', '.join(enums)}; one"
            " of several by their name, such as torchvision:ResNet50_Weights.IMAGENET1K_V1)"
        )
    weights = enums[name][variant]
    origin = f"torchvision:{weights}"
    view = weights.transforms()
    (size,), (resized,) = view.crop_size, view.resize_size
    preprocessing = {
        "size": size, "channels": 3, "mean": list(view.mean), "std": list(view.std),
        "interpolation": view.interpolation.value, "crop_fraction": size / resized,
    }  # fmt: skip
    classes = tuple(weights.meta["categories"])
    return Pretrained(
        make_spec(NAMES["torchvision"][name]), _downloaded(weights, origin), preprocessing, classes, origin
    )


def _downloaded(weights: Any, origin: str) -> dict[str, Tensor]:
    """The tensors, downloaded into torch's cache unless they lie there."""
    file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says on standard output that it downloads
            return dict(
                weights.get_state_dict(
                    progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
                )
            )
    except Exception as error:  # of the network, of the disk, or, on a damaged file, almost anything
        if file.is_file():
            raise InputError(f"{origin}: {file} is damaged; delete it, and it is downloaded again") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{origin}: cannot be downloaded ({reason}); connect, or put the file at {file}") from None


def _fitted(arch: NetworkSpec, state: Mapping[str, Tensor]) -> NetworkSpec:
    """The network with the classes, channels and, where it leaves that open, the stem that the weights have."""
    changes: dict[str, Any] = {}
    last = state.get("classifier.6.weight" if arch.unit == "vgg" else "fc.weight")
    first = next((state[key] for key in ("conv1.weight", "conv1.0.weight", "features.0.weight") if key in state), None)
    if last is not None and last.dim() == 2 and len(last):
        changes["num_classes"] = len(last)
    if first is not None and first.dim() == 4:
        changes["in_channels"] = max(1, first.shape[1])
        if arch.stem == "auto":
            changes["stem"] = {2: "patches", 3: "small"}.get(first.shape[2], "imagenet")
    return arch.replace(**changes)


def _agreed(arch: NetworkSpec, found: Pretrained) -> NetworkSpec:
    """The network asked for, after checking that the weights are of it."""
    fitted = _fitted(arch, found.state)
    _fitting(fitted, found.state, found.origin)
    for item in dataclasses.fields(fitted):
        asked, own = getattr(fitted, item.name), getattr(found.spec, item.name)
        if item.name not in _FREE and asked != own and {asked, own} != {"auto", "imagenet"}:
            raise InputError(
                f"{found.origin}: weights of a network with {item.name}={own}, not {asked}; ask for"
                f" {found.spec.name or 'that network'}, or leave the network to the weights"
            )
    return fitted


def _fitting(spec: NetworkSpec, state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The weights in the order of the network's own, after checking that they are of exactly it."""
    with torch.device("meta"):
        own = build(spec).state_dict()
    whole = {**{key: torch.zeros((), dtype=torch.int64) for key in own if key.endswith(COUNT)}, **state}
    try:
        check_keys(own, whole)
        for key, value in own.items():
            if whole[key].shape != value.shape:
                raise misshaped(key, whole[key], value)
            if whole[key].is_floating_point() != value.is_floating_point():
                raise InputError(f"'{key}' holds {whole[key].dtype}, and the network {value.dtype}")
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    return {key: whole[key] for key in own}
