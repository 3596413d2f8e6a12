"""What a run of numbers has that one of classes has not: the task, the targets' scale, a recipe that keeps a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resnets.data import Source
from resnets.data.targets import target_fault
from resnets.errors import InputError, brief
from resnets.evaluation.losses import RunTarget, standardised
from resnets.training.loop import Record
from resnets.training.recipe import Recipe, override

TASKS = ("classification", "regression")
CALM_RATE, CALM_CLIP = 0.01, 1.0
# What has no meaning for numbers, and what it is then.
_CLASSES_ONLY: dict[str, Any] = {"label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0, "cold_rate": None}
# What shows another picture than the one whose number is known; a user may still ask for it.
_MAY_CHANGE: dict[str, Any] = {"flip": "none", "policy": "none", "erasing": 0.0}
# What only images can have done to them.
_IMAGES_ONLY: dict[str, Any] = {
    "crop": "none", "flip": "none", "policy": "none", "erasing": 0.0, "shrink": 1.0, "mean_image": False,
    "whiten": False,
}  # fmt: skip


def check_task(source: Source, task: str | None) -> None:
    """Refuse a task that the source is not for.

    Raises:
        InputError: says which task it is for, and what the other one needs.
    """
    if task is None or task == source.task:
        return
    if task not in TASKS:
        raise InputError(f"unknown task '{task}' (one of: {', '.join(TASKS)})")
    if task == "regression":
        raise InputError(f"{source.name} has classes, not numbers: regression needs a CSV of file,target or a table")
    named = ", ".join(target.name for target in source.targets)
    raise InputError(
        f"{source.name} has numbers to predict ({named}), not classes: classification needs a folder of class folders"
    )


def fit_targets(source: Source) -> tuple[RunTarget, ...]:
    """The targets of a source with the mean and deviation of its training rows; none for classes.

    Raises:
        InputError: a target that is the same in every row, or too small.
    """
    found = []
    for place, target in enumerate(source.targets):
        values = np.asarray(source.splits["train"].labels, dtype=np.float64)[:, place]
        if fault := target_fault(values):
            raise InputError(f"{source.name}: the target '{brief(target.name)}' {fault}")
        found.append(RunTarget(target.name, target.unit, float(values.mean()), float(values.std())))
    return tuple(found)


def learnt(data: Any, targets: Sequence[RunTarget]) -> Any:
    """Loaded training data with its labels as the network learns them; data of classes as it is."""
    return dataclasses.replace(data, labels=standardised(data.labels.numpy(), targets)) if targets else data


def suited(recipe: Recipe, source: Source, changes: Mapping[str, Any], *, padding: int = 0) -> tuple[Recipe, list[str]]:
    """The recipe for this source's task, with what the user should be told about it.

    Args:
        recipe: with the user's changes in it, or a recipe of the user's own.
        source: of classes or numbers.
        changes: what the user asked for, which is refused where it makes no sense, and never undone.
        padding: in pixels, of the crops that take the place of resized ones.

    Raises:
        InputError: a setting that does not fit the task.
    """
    if source.task == "classification":
        if recipe.of_numbers:
            raise InputError(f"recipe setting loss={recipe.loss} is for numbers; {source.name} has classes")
        return recipe, []
    if recipe.loss == "cross-entropy":
        raise InputError(f"recipe setting loss=cross-entropy is for classes; {source.name} has numbers to predict")
    table = source.tabular
    never = {**_CLASSES_ONLY, **(_IMAGES_ONLY if table else {})}
    for key, value in never.items():
        if key in changes and getattr(recipe, key) != value:
            what = "numbers" if key in _CLASSES_ONLY else "a table, whose rows are no images"
            raise InputError(f"recipe setting {key} means nothing for {what}; leave it out")
    off = never if table else {**never, **{key: value for key, value in _MAY_CHANGE.items() if key not in changes}}
    if not table and recipe.crop == "resized" and "crop" not in changes:
        off |= {"crop": "pad", "padding": padding}
    off = {key: value for key, value in off.items() if getattr(recipe, key) != value}
    notes = []
    if told := [key for key in off if key != "padding"]:
        why = "a table has no images to change" if table else "what they do to an image or its target may not keep it"
        notes.append(f"off, for numbers ({why}): {', '.join(told)}")
    return override(recipe, {**off, "loss": "mse" if recipe.loss == "auto" else recipe.loss}), notes


def calmed(recipe: Recipe, source: Source, changes: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
    """A recipe made for classes, for numbers: a lower rate and gradients that are clipped, unless the user said others.

    The gradient of cross-entropy is bounded and that of squares is not: at a rate of 0.1 they blow up within an epoch.
    """
    wanted = {"learning_rate": min(recipe.learning_rate, CALM_RATE), "clip": recipe.clip or CALM_CLIP}
    new = {key: value for key, value in wanted.items() if key not in changes and getattr(recipe, key) != value}
    if source.task == "classification" or not new:
        return recipe, []
    told = ", ".join(f"{key}={value:g}" for key, value in new.items())
    return override(recipe, new), [f"squared errors have steeper gradients than classes, so: {told}"]


def outputs_of(source: Source, recipe: Recipe) -> int:
    """How many outputs a network needs: one a class or target, two a target where it gives a variance too."""
    if source.task == "classification":
        return len(source.classes)
    return len(source.targets) * (2 if recipe.loss == "gaussian" else 1)


def shown(record: Record, targets: Sequence[RunTarget]) -> Record:
    """A record of regression in the unit of its one target; of several targets, or of classes, as it is."""
    if record.rmse is None or len(targets) != 1:
        return record
    return dataclasses.replace(record, rmse=record.rmse * targets[0].std, unit=targets[0].unit)
