"""How a network is trained, as a value: the recipe, its typed overrides, and the learning rate at every step.

[A] 94% on CIFAR-10 in 3.29 Seconds, arXiv 2404.00498.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from resnets.data import Augmentation
from resnets.errors import InputError, nearest
from resnets.evaluation.losses import LOSSES
from resnets.training.settings import check, typed


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Attributes:
        name: where it came from.
        epochs: passes over the training images; `iterations`, when set, counts optimiser steps instead.
        iterations: optimiser steps in all, or None.
        batch_size: images of one optimiser step (times `accumulate`).
        optimiser: `sgd`, or `muon`: orthogonalised updates for the filters of the stages, SGD for everything else.
        learning_rate: the schedule's peak, of SGD.
        filter_rate: the schedule's peak of Muon: the relative change of a filter bank in one step.
        momentum, nesterov, weight_decay: as in SGD; the decay is coupled (added to the gradient), as in the papers.
        decay_scales: whether biases and the scales and shifts of normalisations decay too.
        schedule: what follows the warm-up: `cosine` or `linear` to zero, `steps` (times `step_factor` at `milestones`,
            in iterations), or `constant`.
        warmup: length of a linear warm-up from zero, as a fraction of all steps.
        milestones, step_factor: of the `steps` schedule.
        cold_rate: when set, the learning rate until the training error falls below `cold_error`, as for ResNet-110.
        cold_error: percent, measured over the last 100 steps.
        loss: `auto`, which is `cross-entropy` for classes and `mse` for numbers; or one of these; or, for numbers,
            `mae`, `huber` or `gaussian` (see `resnets.evaluation.losses`).
        huber_delta: where `huber` turns from squared to linear, in standard deviations of the target.
        label_smoothing: probability spread over all classes (arXiv 1512.00567, section 7).
        ema: decay per step of the averaged weights, which are then the ones evaluated and kept; 0 is off.
        accumulate: batches whose gradients are summed into one optimiser step.
        clip: largest norm of the gradient of all parameters together; 0 is off.
        shrink, shrink_until: progressive resizing: until this fraction of the steps, the side of the images is this
            fraction of the full side.
        crop … cutmix: see `resnets.data.Augmentation`.
        whiten: begin with a stem that whitens small patches of the training images, and leave it so ([A], section 3.2);
            a run that starts from weights has theirs, and trains it.
        bias_rate: the learning rate of the normalisations' shifts, as a multiple of `learning_rate` ([A], section 3.4).
        mean_image: subtract the mean of every pixel, as [R], instead of normalising each channel.
        validation: fraction of the training images held out when the source has no validation split.
        choose: keep the weights of the `best` epoch on the validation split, or of the `last`.
    """

    name: str = "custom"
    epochs: int = 20
    iterations: int | None = None
    batch_size: int = 128
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    filter_rate: float = 0.04
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay_scales: bool = False
    schedule: str = "cosine"
    warmup: float = 0.05
    milestones: tuple[int, ...] = ()
    step_factor: float = 0.1
    cold_rate: float | None = None
    cold_error: float = 80.0
    loss: str = "auto"
    huber_delta: float = 1.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    clip: float = 0.0
    shrink: float = 1.0
    shrink_until: float = 0.0
    crop: str = "pad"
    padding: int = 4
    padding_mode: str = "reflect"
    scale: tuple[float, float] = (0.08, 1.0)
    flip: str = "random"
    policy: str = "none"
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    whiten: bool = False
    bias_rate: float = 1.0
    mean_image: bool = False
    validation: float = 0.1
    choose: str = "best"

    def __post_init__(self) -> None:
        check(self)

    @property
    def of_numbers(self) -> bool:
        """Whether this recipe teaches numbers (regression), not classes; `auto` is resolved when a run is planned."""
        return self.loss in LOSSES

    @property
    def augmentation(self) -> Augmentation:
        """The part of the recipe that the data room acts on."""
        names = {item.name for item in fields(Augmentation)}
        return Augmentation(**{name: getattr(self, name) for name in names})

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the whole training."""
        return self.iterations if self.iterations is not None else self.epochs * steps_per_epoch

    def replace(self, **changes: Any) -> Recipe:
        """A copy with typed changes; an unknown key is an `InputError` that names the nearest."""
        return override(self, changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` gives back an equal recipe."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Read `to_dict`'s form; InputError names an unknown key."""
        if not isinstance(data, Mapping):
            raise InputError(f"a recipe is a JSON object, not {type(data).__name__}")
        fields_ = {key: value for key, value in data.items() if key != "name"}
        return dataclasses.replace(override(cls(), fields_), name=str(data.get("name", "custom")))


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return `recipe` with `changes`, each checked against the type of its field.

    Raises:
        InputError: an unknown key (the nearest is named) or a value of the wrong type or range.
    """
    types = _types()
    new = {}
    for key, value in changes.items():
        if key not in types:
            raise InputError(f"unknown recipe setting '{key}'{nearest(key, types)} (settings: {', '.join(types)})")
        new[key] = typed(key, value, types[key])
    if "epochs" in new and "iterations" not in new:
        new["iterations"] = None  # whoever counts in epochs does not mean the paper's 64,000 steps
    return dataclasses.replace(recipe, **new)


@functools.cache
def _types() -> Mapping[str, Any]:
    """The type of every setting; worked out once, by evaluating this file's own annotations."""
    return {key: kind for key, kind in typing.get_type_hints(Recipe).items() if key != "name"}


def rate_factor(recipe: Recipe, step: int, total: int) -> float:
    """The learning rate of optimiser step `step` (from 0) of `total`, as a fraction of the peak."""
    warm = round(recipe.warmup * total)
    if step < warm:
        return (step + 1) / warm
    if recipe.schedule == "steps":
        return recipe.step_factor ** sum(step >= milestone for milestone in recipe.milestones)
    if recipe.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1, total - warm)
    return 1 - done if recipe.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def image_side(recipe: Recipe, step: int, total: int, side: int) -> int:
    """Side in pixels of the training images at this step, under progressive resizing."""
    if recipe.shrink >= 1 or step >= recipe.shrink_until * total:
        return side
    return max(1, 4 * round(recipe.shrink * side / 4)) if side >= 16 else side
