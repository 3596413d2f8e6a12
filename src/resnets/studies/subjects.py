"""What a study examines when training is over: a network with its weights, and images as it wants them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnets.data import Preprocessing, Source, choose_preprocessing, eval_batches, load_split, open_source, subset
from resnets.errors import InputError
from resnets.evaluation import Run, selection
from resnets.evaluation.numbers import require_classes
from resnets.models import ResNet, build, pretrained

BATCH = 250  # images at a time


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network of units, in evaluation mode and free to be changed, and the images to examine it on.

    Attributes:
        name: of the network.
        net: on the CPU; its parameters ask for no gradients.
        batches: (images float32 [B, C, S, S], normalised; labels int64 [B], in the order of the logits if `labelled`).
        images: of which source and split, and how many, in words.
        notes: what should be known of them.
    """

    name: str
    net: ResNet
    batches: Sequence[tuple[Tensor, Tensor]]
    images: str
    notes: tuple[str, ...] = ()


def of_run(
    run: str | os.PathLike[str] | Run, *, data: str | None = None, split: str | None = None, limit: int | None = None
) -> Subject:
    """A run's network, and images of its own source or of another one with the same classes.

    Args:
        run: a finished run, trained or imported.
        data: another source than the run's own, which imported weights do not have.
        split: of the source; None is the test split or, without one, the validation split. `train` gives the training
            images as they are evaluated: not augmented.
        limit: at most so many images, evenly spaced through the split.

    Raises:
        InputError: no such run or source, a network without units, or imported weights without `data`.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    require_classes(run, "a study")
    if data is None and not run.source:
        raise InputError(f"{run.path} holds imported weights and has no images of its own; name some: --data SOURCE")
    if data is None:
        source = open_source(str(run.source.get("path") or run.source["name"]))
        chosen = selection.choose_own(source, run.info, split)
    else:
        source = open_source(data)
        chosen = selection.choose(source, split if split in source.splits else None)
    order = torch.from_numpy(selection.match_classes(source, run.classes))
    skip = data is None and bool(run.source.get("skip_unreadable"))
    found = _images(source, chosen, run.preprocessing, limit, skip)
    batches = [(images, order[labels]) for images, labels in found]
    name = run.spec.name or str(run.info.get("arch"))
    return Subject(name, _examined(run.model(), name), batches, _told(source, chosen, batches), chosen.notes)


def of_weights(text: str, data: str | None, *, limit: int | None = None) -> Subject:
    """Weights from anywhere (see `resnets.models.pretrained`), and images of a source; their labels are the source's.

    Raises:
        InputError: no such weights or source, a network without units, or no `data`.
    """
    found = pretrained(text)
    if data is None:
        raise InputError(
            f"{text}: weights that come without images; name some to measure on: --data SOURCE (a built-in source, a"
            " folder of class folders or of parquet shards)"
        )
    source = open_source(data)
    chosen = selection.choose(source, None)
    notes = list(chosen.notes)
    if found.preprocessing is not None:
        preprocessing = Preprocessing.from_dict(found.preprocessing)
    else:
        side = found.spec.image_size[0] if found.spec.image_size else None
        preprocessing = choose_preprocessing(chosen.split, size=side, channels=found.spec.in_channels)
        notes.append(f"nothing says how images are prepared for {text}: size, mean and deviation are those of {data}")
    net = build(found.spec, seed=0)
    net.load_state_dict(found.state)
    batches = _images(source, chosen, preprocessing, limit, False)
    name = found.spec.name or text
    return Subject(name, _examined(net, name), batches, _told(source, chosen, batches), tuple(notes))


def is_run(text: str) -> bool:
    """Whether a run folder lies there."""
    return (Path(text) / "run.json").is_file()


def _examined(net: torch.nn.Module, name: str) -> ResNet:
    if not isinstance(net, ResNet):
        raise InputError(f"{name} is no network of units; give a residual network or a plain one")
    return net.eval().requires_grad_(False)


def _images(
    source: Source, chosen: selection.Selection, preprocessing: Preprocessing, limit: int | None, skip: bool
) -> list[tuple[Tensor, Tensor]]:
    split = chosen.split
    if limit is not None and limit < len(split):
        # Evenly spaced: the images of class folders come class by class.
        split = subset(split, np.linspace(0, len(split) - 1, limit).round().astype(np.int64))
    data = load_split(split, preprocessing, training=False, skip_unreadable=skip)
    batches = eval_batches(data, preprocessing=preprocessing, batch_size=BATCH)
    return [(batch.images.clone(), batch.targets) for batch in batches]  # a batch's memory is used again for the next


def _told(source: Source, chosen: selection.Selection, batches: Sequence[tuple[Tensor, Tensor]]) -> str:
    count = sum(len(labels) for _, labels in batches)
    return f"{count:,} images of the {chosen.name} split of {source.name}"
