"""Which images a run is measured on: the source, its split, and its classes in the run's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnets.data import Batch, Preprocessing, Source, Split, eval_batches, hold_out, load_split
from resnets.errors import InputError, nearest
from resnets.evaluation.metrics import Evaluation, evaluate

_TRAINED_ON = "the network was trained on these {}, so the figures say little about new ones"
BATCH = 250  # images; CPU kernels may round differently at other batch sizes, so every evaluation uses one size


@dataclass(frozen=True)
class Selection:
    """A split to measure, and what to say about the choice."""

    name: str
    split: Split
    notes: tuple[str, ...] = ()


def evaluate_split(
    module: nn.Module,
    split: Split,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    order: NDArray[np.int64] | None = None,
    flips: bool = False,
    autocast: torch.dtype | None = None,
    device: torch.device | str | None = None,
    batch_size: int = BATCH,
    workers: int = 0,
    skip_unreadable: bool = False,
    keep_probabilities: bool = False,
    temperature: float = 1.0,
) -> Evaluation:
    """Decode a split and measure `module` on it: the one way in which a run's figures are made, then and
    later.

    Args:
        module: a classifier of `classes`, on `device`.
        split: the images and their labels.
        classes: the class names, in the order of the logits.
        preprocessing: how the module wants its images.
        order: int64; the index in `classes` of each of the split's own labels, where they differ
            (`match_classes`).
        flips: average over each picture and its mirror image.
        autocast: type of the forward pass's mixed precision.
        device: where the module is.
        batch_size: images at a time.
        workers: processes that decode what does not fit in memory.
        skip_unreadable: leave unreadable images out, and list them in the result, instead of refusing.
        keep_probabilities: keep the log-probabilities of every image.
        temperature: what the logits are divided by.

    Raises:
        InputError: unreadable images (named), no images, or a network that does not fit them.
    """
    data = load_split(split, preprocessing, training=False, skip_unreadable=skip_unreadable, workers=workers)
    batches = eval_batches(data, preprocessing=preprocessing, batch_size=batch_size, workers=workers)
    mapping = None if order is None else torch.from_numpy(order)
    result = evaluate(
        module,
        batches if mapping is None else _relabelled(batches, mapping),
        classes,
        device=device,
        flips=flips,
        autocast=autocast,
        keep_probabilities=keep_probabilities,
        temperature=temperature,
        name=data.name,  # of what is left when unreadable images were skipped
    )
    return replace(result, skipped=tuple(data.skipped))


def choose(source: Source, split: str | None, *, trained_on: bool = False) -> Selection:
    """Pick a split of a source that the user named: the one asked for, or test, else validation, else all.

    `trained_on` says that the run was trained on this source: a note then tells what its figures are worth.

    Raises:
        InputError: the source has no such split.
    """
    notes = []
    if split is None:
        split = next((name for name in ("test", "validation") if name in source.splits), "train")
        if split == "train":
            notes.append(f"{source.name} has no test or validation split: all its {_things(source)} are evaluated")
    if split == "train" and trained_on:
        notes.append(_TRAINED_ON.format(_things(source)))
    return Selection(split, _named(source, split), tuple(notes))


def choose_own(source: Source, info: Mapping[str, Any], split: str | None) -> Selection:
    """Pick a split of the source that the run was trained on, cut as the run cut it.

    `info` is run.json. A validation split that the run held out of the training images is held
    out again; without a test split it is what gets evaluated, and a note says what such a figure is worth.

    Raises:
        InputError: the source has no such split, or has changed so that the held-out images cannot be told
            any more.
    """
    recorded = info["source"]
    held_out = recorded.get("held_out")
    if split is None:
        whole = "validation" if "validation" in source.splits or held_out is not None else "train"
        split = "test" if "test" in source.splits else whole
    if held_out is None or split == "test":
        selection = Selection(split, _named(source, split))
    else:
        _check_unchanged(source, recorded)
        cut = hold_out(source, fraction=held_out["fraction"], seed=held_out["seed"])
        selection = Selection(split, _named(cut, split))
    notes, things = [], _things(source)
    if split == "validation":
        if "test" not in source.splits:
            notes.append(f"{source.name} has no test split: this is the validation split")
        if held_out is not None:
            notes.append(
                f"the validation split is the {100 * held_out['fraction']:g} % of the training {things} that "
                f"the run held out (stratified, seed {held_out['seed']})"
            )
        if "validation" in str(info.get("results", {}).get("chosen", {}).get("by")):
            notes.append(f"the weights were chosen on these {things}: expect a little less on new ones")
    if split == "train":
        notes.append(_TRAINED_ON.format(things))
    before, now = recorded.get("splits", {}).get(split), len(selection.split)
    if before is not None and before != now:
        notes.append(f"the {split} split has {now} {things} now; it had {before} when the run was trained")
    return Selection(split, selection.split, tuple(notes))


def match_classes(source: Source, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the run's index of each of the source's classes, matched by name.

    Raises:
        InputError: the two sets of names differ; what is missing and what is unknown is named. Or there are no classes.
    """
    if source.task == "regression":
        raise InputError(f"{source.name} has numbers to predict, and the run knows classes; give class folders")
    missing = [name for name in classes if name not in set(source.classes)]
    unknown = [name for name in source.classes if name not in set(classes)]
    if missing or unknown:
        parts = []
        if unknown:
            hint = nearest(unknown[0], classes) if len(unknown) == 1 else ""
            parts.append(f"it has {_listed(unknown)}, which the run does not know{hint}")
        if missing:
            parts.append(f"it lacks {_listed(missing)}")
        raise InputError(
            f"the classes of {source.name} are not the run's: {'; '.join(parts)} "
            f"(classes are matched by name: rename its folders, or give a source with the run's classes)"
        )
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[name] for name in source.classes], dtype=np.int64)


def _relabelled(batches: Iterator[Batch], mapping: Tensor) -> Iterator[Batch]:
    for batch in batches:
        yield replace(batch, targets=mapping[batch.targets])


def _named(source: Source, split: str) -> Split:
    if split not in source.splits:
        raise InputError(
            f"{source.name} has no {split} split{nearest(split, source.splits)} (it has {', '.join(source.splits)})"
        )
    return source.splits[split]


def _things(source: Source) -> str:
    return "rows" if source.tabular else "images"


def _check_unchanged(source: Source, recorded: Mapping[str, Any]) -> None:
    """A split is cut by position: were images added or removed, it would hold images trained on."""
    splits = recorded.get("splits", {})
    known = splits.get("train", 0) + splits.get("validation", 0)
    found = len(source.splits.get("train", ()))
    if found != known:
        raise InputError(
            f"{source.name} has {found} training {_things(source)}, but had {known} when the run was trained: which "
            f"were held out cannot be told any more; give the {_things(source)} to evaluate as a source of their own"
        )


def _listed(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
