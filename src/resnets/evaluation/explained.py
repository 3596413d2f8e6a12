"""Class activation maps of image files: of a run's network, laid over the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from resnets.data import UnreadableImage, read_image, read_reduced
from resnets.errors import InputError, nearest
from resnets.evaluation import overlay
from resnets.evaluation.activation import class_activation_maps, head
from resnets.evaluation.device import pick_device
from resnets.evaluation.numbers import require_classes
from resnets.evaluation.prediction import expand
from resnets.evaluation.run import Run
from resnets.files import publish

_LISTED = 10  # class names that an error line shows


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The map of one class for one image.

    Attributes:
        name, index: the class, and its place among the logits.
        logit, probability: what the network says of the image.
        bias: of the class in the classifier: `mean` plus this is the logit.
        values: float32 [height, width], the cells of the last feature map; in units of the logit.
    """

    name: str
    index: int
    logit: float
    probability: float
    bias: float
    values: NDArray[np.float32] = field(repr=False)

    @property
    def mean(self) -> float:
        """Mean of the map's cells: the logit without its bias."""
        return float(self.values.mean(dtype=np.float64))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, without the cells."""
        return {
            "class": self.name,
            "logit": self.logit,
            "probability": self.probability,
            "mean": self.mean,
            "bias": self.bias,
            "cells": list(self.values.shape),
        }


@dataclass(frozen=True, eq=False)
class Explained:
    """The class activation maps of one image file.

    Attributes:
        path: the file, as named or found.
        maps: of the classes asked for; empty when there is an error.
        seen: left, top, right and bottom of what the network saw, in pixels of the upright picture.
        out: the overlay that was written, if any.
        error: why there is no map, in one line; None when there is.
    """

    path: str
    maps: tuple[ClassMap, ...] = ()
    seen: tuple[float, float, float, float] = (0, 0, 0, 0)
    out: str | None = None
    error: str | None = None

    def picture(self) -> Image.Image:
        """The maps laid over the picture, which is read again: one class at its own size, several as panels.

        Raises:
            InputError: there are no maps, or the file is not there any more.
        """
        if self.error is not None:
            raise InputError(f"{self.path}: {self.error}")
        try:
            return _draw(read_image(self.path), self.path, self.maps, self.seen)
        except UnreadableImage as error:
            raise InputError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: `path`, and `out`, `seen` and `classes`, or `error`."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {
            "path": self.path,
            "out": self.out,
            "seen": list(self.seen),
            "classes": [item.to_dict() for item in self.maps],
        }


def cam(
    run: Run | str | os.PathLike[str],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    classes: str | Sequence[str] = (),
    top: int | None = None,
    out: str | os.PathLike[str] | None = None,
    device: torch.device | str = "auto",
) -> list[Explained]:
    """Show where in image files a run's network finds its classes.

    Args:
        run: a run, or its folder.
        paths: files, folders and patterns, as for `Run.predict`.
        classes: names of classes to show.
        top: how many of the likeliest classes to show, before those named; None is 1, or none where some are named.
        out: the folder for one overlay a file, `NAME-cam.png`, at the picture's own size; for several classes, panels
            side by side. None writes nothing: `Explained.picture()` draws one.
        device: `auto` takes the accelerator if there is one.

    Returns:
        One result a file; of one that cannot be read, `error` says why, and the others are still done.

    Raises:
        InputError: an unknown class, a network without such maps, no paths, or an overlay that is already there;
            nothing is written then.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    require_classes(run, "a class activation map")
    named = list(dict.fromkeys(_index(run, name) for name in ([classes] if isinstance(classes, str) else classes)))
    if top is None:
        top = 0 if named else 1
    if top < 0 or not (top or named):
        raise InputError(f"top must be at least 1, not {top}, unless classes are named")
    files = expand(paths)
    targets = _targets(files, Path(out)) if out is not None else [None] * len(files)
    place = pick_device(device)
    module = run.model(place)
    head(module)  # refuses before any file is read
    return [_explain(run, module, file, named, top, target, place) for file, target in zip(files, targets, strict=True)]


def _explain(
    run: Run, module: nn.Module, file: str, named: Sequence[int], top: int, target: Path | None, place: torch.device
) -> Explained:
    try:
        given = read_reduced(file, reduction=run.preprocessing.reduction)
        # The network sees what `predict` shows it; what is drawn on is whole.
        picture = given.picture if given.scale == 1 or target is None else read_image(file)
    except UnreadableImage as error:
        return Explained(file, error=error.reason)
    batch = run.preprocessing.normalise(run.preprocessing.image(given)[None]).to(place)
    found, answers = class_activation_maps(module, batch)
    cells, logits = found[0].float().cpu(), answers[0].float().cpu()
    if not bool(logits.isfinite().all()):
        return Explained(file, error="the network's output is not finite; its weights are damaged")
    probabilities = logits.softmax(0)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    _, fc = head(module)
    biases = fc.bias.tolist() if isinstance(fc.bias, Tensor) else [0.0] * len(order)
    maps = tuple(
        ClassMap(run.classes[k], k, float(logits[k]), float(probabilities[k]), biases[k], cells[k].numpy())
        for k in dict.fromkeys([*order[:top], *named])
    )
    seen = run.preprocessing.seen(*given.whole)
    if target is not None:
        drawn = _draw(picture, file, maps, seen)
        target.parent.mkdir(parents=True, exist_ok=True)
        publish(target, lambda aside: drawn.save(aside, format="PNG"))
    return Explained(file, maps, seen, None if target is None else str(target))


def _draw(
    picture: Image.Image, path: str, maps: Sequence[ClassMap], seen: tuple[float, float, float, float]
) -> Image.Image:
    if len(maps) == 1:
        return overlay.overlay(picture, maps[0].values, seen)
    captions = [(item.name, f"{100 * item.probability:.1f} %") for item in maps]
    return overlay.panels(picture, Path(path).name, [item.values for item in maps], captions, seen)


def _index(run: Run, name: str) -> int:
    """The place of a class among the logits."""
    if name in run.classes:
        return run.classes.index(name)
    known = ", ".join(run.classes[:_LISTED]) + (", …" if len(run.classes) > _LISTED else "")
    raise InputError(f"{run.path} has no class '{name}' (its classes: {known}){nearest(name, run.classes)}")


def _targets(files: Sequence[str], folder: Path) -> list[Path]:
    """`NAME-cam.png` for every file, numbered where two files have one name: `NAME-2-cam.png`.

    Raises:
        InputError: one of them is already there, or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out names a folder")
    taken: set[str] = set()
    targets = []
    for file in files:
        stem, number = Path(file).stem, 1
        name = f"{stem}-cam.png"
        while name.casefold() in taken:  # some file systems do not tell A from a
            number += 1
            name = f"{stem}-{number}-cam.png"
        taken.add(name.casefold())
        targets.append(folder / name)
    there = next((target for target in targets if target.exists()), None)
    if there is not None:
        raise InputError(f"{there} is already there and is not overwritten; choose another --out")
    return targets
