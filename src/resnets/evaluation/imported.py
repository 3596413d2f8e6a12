"""Weights from elsewhere as a run folder: recognised, converted, proved, and written with all that using them needs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.architecture import NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.data import ORIGINS, Origin, Preprocessing, preprocessing_of
from resnets.errors import InputError, nearest
from resnets.evaluation import provenance
from resnets.evaluation.naming import class_names
from resnets.evaluation.report import write_report
from resnets.evaluation.run import Run
from resnets.files import publish_folder, sha256
from resnets.models import build, read_state, save_weights
from resnets.models.folder import FORMAT, close_run, read_run, weights_file
from resnets.models.foreign import LIBRARIES, compared, recognise, to_ours, why_not
from resnets.models.pretrained import pretrained

# Of the largest logit, or of 1 if that is less: what rounding explains; a wrong stride or epsilon makes far more.
TOLERANCE = 1e-4
# timm's variants that `recognise` takes for networks without.
_UNSEEN = "blurred or average pooling between stages, dilation and max-pooled heads leave no keys: taken to be absent"


@dataclasses.dataclass(frozen=True)
class _Found:
    """Weights under our keys, and what is known of them; `preprocessing` only where their maker says it."""

    spec: NetworkSpec
    state: Mapping[str, Tensor]
    layout: str | None
    origin: str | None
    preprocessing: Preprocessing | None
    classes: Sequence[str] | None
    digest: str | None
    notes: list[str]


def import_weights(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    origin: str | None = None,
    arch: str | os.PathLike[str] | NetworkSpec | None = None,
    stride_in: str | None = None,
    norm_eps: float | None = None,
    size: int | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channel_order: str | None = None,
    value_range: int | None = None,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
) -> Run:
    """Make a run folder of a weights file of torchvision's, timm's or ours.

    The network is read off the keys and shapes. Where the library that the keys are of is installed, its own network
    is given the same weights and images, and the largest difference of the logits is kept in run.json.

    Args:
        file: a `.safetensors` or `.pth` file; or `torchvision:NAME`, `hf:OWNER/NAME`.
        out: the run folder to make.
        origin: `torchvision`, `timm` or `keras`: whose habits hold for what keys cannot say; by default what the keys
            tell, torchvision where they fit both.
        arch: the network, where the keys do not tell it; anything that `resnets.spec` takes.
        stride_in: `3x3` or `1x1`; see `NetworkSpec`.
        norm_eps: see `NetworkSpec`.
        size: this and what follows says how images are prepared; see `preprocessing_of`.
        crop_fraction: see there.
        interpolation: see there.
        mean: of each channel, in the order in which the network takes them, of values from 0 to `value_range`.
        std: likewise.
        channel_order: RGB or BGR.
        value_range: 1 or 255.
        classes: their names in the order of the logits, or a text file with one a line; by default ImageNet's for
            1000 classes, else `class-0` and so on.

    Raises:
        InputError: weights that belong to a run already, cannot be read or are of no network of ours (the keys are
            named), logits that differ from the library's by more than `TOLERANCE` explains, an option out of range, or
            an `out` that is not free.
    """
    started = provenance.now()
    path = _free(Path(out))
    if not os.fspath(file):
        raise InputError("no weights are named; give a .safetensors or .pth file, torchvision:NAME or hf:OWNER/NAME")
    if origin is not None and origin not in ORIGINS:
        raise InputError(f"unknown origin '{origin}' (known: {', '.join(ORIGINS)}){nearest(origin, ORIGINS)}")
    if re.match(r"(torchvision|hf):", text := os.fspath(file)):
        if any(option is not None for option in (origin, arch, stride_in, norm_eps)):
            raise InputError(
                f"{text} says itself what network it is; leave out --origin, --arch, --stride-in, --norm-eps"
            )
        found = _named(text)
    else:
        found = _file(Path(file), ORIGINS.get(origin or ""), arch, stride_in, norm_eps)
    spec = found.spec
    if spec.in_channels not in (1, 3):
        raise InputError(
            f"{text}: the network takes images of {spec.in_channels} channels, and a run those of 1 or 3; for a network"
            f" adapted to 3 use resnets.create(weights={text!r}, in_channels=3)"
        )
    changes: dict[str, Any] = {
        "size": size, "crop_fraction": crop_fraction, "interpolation": interpolation, "mean": mean, "std": std,
        "channel_order": channel_order, "value_range": value_range,
    }  # fmt: skip
    origin = origin or found.origin
    preprocessing = preprocessing_of(found.preprocessing or ORIGINS.get(origin or ""), spec.in_channels, **changes)
    if (
        spec.in_channels == 1
        and None in (mean, std)
        and (found.preprocessing is None or found.preprocessing.channels == 3)
    ):
        found.notes.append(
            "grey images: mean and deviation are the means of the colours' (--mean and --std say otherwise)"
        )
    names, named = class_names(classes, found.classes, spec.num_classes)
    state, rounded = _as_float32(found.state)
    library, difference, proof = _proof(spec, state, origin)
    label = spec.name or (arch if isinstance(arch, str) else "") or "network"

    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in build(spec).parameters())

    def fill(folder: Path) -> None:
        save_weights(folder / "weights.safetensors", state)
        info = {
            "format": FORMAT, "status": "finished", "arch": label, "spec": spec.to_dict(), "recipe": None,
            "source": None,
            "imported": {
                "file": text if found.digest is None else str(Path(file).resolve()), "sha256": found.digest,
                "origin": origin, "layout": found.layout, "library": library, "parity": difference, "proof": proof,
                "notes": [*found.notes, *named, *rounded],
            },
            "classes": list(names), "preprocessing": preprocessing.to_dict(),
            "parameters": parameters, "command": provenance.command(), "versions": provenance.versions(),
            "started": started, "finished": provenance.now(), "results": {},
            "weights": {"file": "weights.safetensors", "sha256": sha256(folder / "weights.safetensors")},
        }  # fmt: skip
        run = Run(folder, spec, tuple(names), preprocessing, info)
        run.model()  # refuses weights that do not fit
        write_report(run)
        close_run(folder, info)

    publish_folder(path, fill)
    return Run.open(path)


def _free(path: Path) -> Path:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is already there; --out names a new folder for the run")
    return path


def _file(
    path: Path,
    origin: Origin | None,
    arch: str | os.PathLike[str] | NetworkSpec | None,
    stride_in: str | None,
    norm_eps: float | None,
) -> _Found:
    """Read, recognise and convert a weights file."""
    if (path / "run.json").exists():
        raise InputError(f"{path} is a run folder already: use it as it is")
    if _is_of_a_run(path):
        raise InputError(
            f"{path} belongs to the run {path.parent}, which says its classes and preprocessing: use that as it is"
        )
    state, metadata = read_state(path)
    notes = [f"read from '{metadata['within']}' of the file"] if "within" in metadata else []
    stated: dict[str, Any] = {
        key: getattr(origin, key) if value is None and origin else value
        for key, value in (("stride_in", stride_in), ("norm_eps", norm_eps))
    }
    stated = {key: value for key, value in stated.items() if value is not None}
    if arch is None:
        try:
            found = recognise(state, **stated)
            spec, converted, layout = found.spec, to_ours(found, state), found.layout
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    else:
        named = pretrained(path, arch=make_spec(arch).replace(**stated))
        spec, converted, layout = named.spec, named.state, _layout(state)
    name = origin.name if origin else None
    if name is None and layout != "resnets":
        name = "timm" if layout.startswith("timm") else "torchvision"
        alike = "torchvision's and timm's alike; taken for torchvision's" if name == "torchvision" else f"{name}'s"
        notes.append(f"the keys are {alike}: images are prepared as {name} does (--origin says otherwise)")
    if name == "timm" or (origin is None and layout == "torchvision"):
        notes.append(_UNSEEN)
    return _Found(spec, converted, layout, name, None, None, sha256(path), notes)


def _is_of_a_run(path: Path) -> bool:
    """Whether a weights file is that of the run folder in which it lies."""
    with contextlib.suppress(InputError, LookupError, TypeError, AttributeError):
        return path.name == weights_file(path.parent, read_run(path.parent)).name
    return False


def _layout(state: Mapping[str, Tensor]) -> str:
    """Whose keys these are, of weights whose network the user had to name."""
    try:
        return recognise(state).layout
    except InputError:
        return "resnets"


def _named(text: str) -> _Found:
    """Weights that come with all that is to be known, from torchvision or a hub."""
    found = pretrained(text)
    preprocessing = None if found.preprocessing is None else Preprocessing.from_dict(found.preprocessing)
    origin = text.partition(":")[0]
    return _Found(found.spec, found.state, None, origin, preprocessing, found.classes, None, [])


def _proof(spec: NetworkSpec, state: Mapping[str, Tensor], origin: str | None) -> tuple[str | None, float | None, str]:
    """The library compared with, the largest difference of logits, and a sentence about it.

    Raises:
        InputError: the logits differ by more than rounding explains.
    """
    reasons = []
    for library in sorted(LIBRARIES, key=lambda name: name != origin):
        both = compared(spec, state, library)
        if both is None:
            reasons.append(f"{library} {why_not(spec, library) or 'is not installed'}")
            continue
        difference, largest = both
        allowed = TOLERANCE * max(1.0, largest)
        if not difference <= allowed:
            raise InputError(
                f"the logits differ from {library}'s own network by up to {difference:.2g}, where rounding explains"
                f" {allowed:.2g}: this is another network than was recognised; nothing was written"
            )
        what = "none: they are equal to the bit" if difference == 0 else f"{difference:.2g}"
        if difference and largest > 1:
            what += f", {difference / largest:.2g} of the largest logit"
        used = f"{library} {version(library)}"
        return used, difference, f"Largest difference of the logits from those of {used}: {what}."
    return None, None, f"Not compared with another library's network: {'; '.join(reasons)}."


def _as_float32(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights in the type that networks here compute in, and what to say if that is not their own.

    Raises:
        InputError: a weight that is not finite; names its key.
    """
    others = {value.dtype for value in state.values() if value.is_floating_point()} - {torch.float32}
    found = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    for key, value in found.items():
        if not bool(value.isfinite().all()):
            raise InputError(
                f"'{key}' holds values that are not finite: the weights are damaged, or their training was"
            )
    return found, [
        f"{str(kind).removeprefix('torch.')} weights are kept as float32" for kind in sorted(others, key=str)
    ]
