"""The recipes by name: functions of the network and the number of training images, for what depends on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from resnets.architecture import SMALL_IMAGE, NetworkSpec
from resnets.errors import InputError, nearest
from resnets.training.recipe import Recipe, override

SMALL_SET = 10_000  # images; a set below this is learnt by heart before the schedule ends, one above is not


def paper(spec: NetworkSpec, images: int) -> Recipe:
    """The CIFAR recipe of arXiv 1512.03385, section 4.2, to the letter.

        resnets train cifar10 --arch resnet20 --recipe paper        # the paper: 8.75 % error

    SGD, momentum 0.9, weight decay 1e-4 on every parameter, batch 128, rate 0.1 divided by 10 at 32k and 48k of 64k
    iterations, 45k/5k split, per-pixel mean subtracted, 4 zeros padded, random crop, random flip. From 110 layers on,
    0.01 until the training error is below 80 %. The last weights are kept: nothing is chosen.
    """
    return Recipe(
        name="paper", iterations=64_000, batch_size=128, learning_rate=0.1, momentum=0.9, nesterov=False,
        weight_decay=1e-4, decay_scales=True, schedule="steps", warmup=0.0, milestones=(32_000, 48_000),
        cold_rate=0.01 if spec.depth >= 110 else None, padding_mode="zero", mean_image=True, choose="last",
    )  # fmt: skip


def fast(spec: NetworkSpec, images: int) -> Recipe:
    """The default: the best accuracy per minute.

    Muon on the filters of the stages (arXiv 2502.16982 and Keller Jordan's airbench), SGD with Nesterov momentum on the
    rest, a linear fall to zero, smaller images for most of the way, flips that alternate between epochs; smoothed
    labels for small sets, which are otherwise learnt by heart (docs/LOG.md).
    """
    # A small set needs more passes: a network wants some 800 steps whatever the number of images.
    epochs = max(24, -(-800 // max(1, images // 128)))
    photographs = spec.image_size is not None and min(spec.image_size) >= SMALL_IMAGE
    resizable = spec.unit in ("basic", "bottleneck") and spec.head == "average"
    return Recipe(
        name="fast", epochs=epochs, batch_size=128, optimiser="muon", learning_rate=0.1, filter_rate=0.03,
        weight_decay=5e-4, schedule="linear", warmup=0.1,
        shrink=0.75 if resizable else 1.0, shrink_until=0.6, padding=crop_padding(spec),
        crop="resized" if photographs else "pad", scale=(0.35, 1.0), flip="alternate",
        label_smoothing=0.1 if images < SMALL_SET else 0.0,
    )  # fmt: skip


def speedrun(spec: NetworkSpec, images: int) -> Recipe:
    """For the network `speedrun`: CIFAR-10 in little time, after airbench94 (arXiv 2404.00498).

        resnets train cifar10 --arch speedrun --recipe speedrun      # 93 %, on all images (README)

    A whitened stem that is not trained, a high rate for the shifts of normalisations, large batches, images of
    five eighths of the side (20 of 32 pixels) for half of the way. Its rates belong together: with another, look at the
    others too.
    """
    return Recipe(
        name="speedrun", epochs=22, batch_size=500, optimiser="muon", learning_rate=0.005, filter_rate=0.09,
        momentum=0.85, weight_decay=0.2, schedule="linear", warmup=0.0, shrink=0.625, shrink_until=0.5, padding=2,
        flip="alternate", label_smoothing=0.2, whiten=True, bias_rate=5000.0, choose="last",
    )  # fmt: skip


def long(spec: NetworkSpec, images: int) -> Recipe:
    """The best accuracy, whatever it takes: 200 epochs, stronger augmentation, averaged weights."""
    return dataclasses.replace(
        fast(spec, images), name="long", epochs=200, shrink=1.0, shrink_until=0.0, policy="trivialaugment", erasing=0.1,
        label_smoothing=0.1, ema=0.999, schedule="cosine", warmup=0.02,
    )  # fmt: skip


def imagenet(spec: NetworkSpec, images: int) -> Recipe:
    """For photographs, 90 epochs after arXiv 1706.02677: batch 256, rate 0.1, warm-up of 5, random resized crops."""
    return Recipe(
        name="imagenet", epochs=90, batch_size=256, learning_rate=0.1, weight_decay=1e-4, schedule="cosine",
        warmup=5 / 90, crop="resized", label_smoothing=0.1,
    )  # fmt: skip


def finetune(spec: NetworkSpec, images: int) -> Recipe:
    """For a network that already knows images: 10 epochs at a fiftieth of the usual rate, averaged weights."""
    return Recipe(
        name="finetune", epochs=10, batch_size=32, learning_rate=0.002, weight_decay=1e-4, schedule="cosine",
        warmup=0.1, crop="resized", scale=(0.35, 1.0), ema=0.99,
    )  # fmt: skip


def table(spec: NetworkSpec, images: int) -> Recipe:
    """For tables of numbers: small batches, plain SGD, averaged weights, a fifth of the rows held out.

        resnets train diabetes

    A few hundred rows are learnt by heart in seconds, so the weights of everything, scales too, decay: by as much as a
    prior worth 30 rows, but at most by a tenth.
    """
    return Recipe(
        name="table", epochs=max(20, -(-160 // max(1, images // 32))), batch_size=32 if images < SMALL_SET else 128,
        learning_rate=0.01, weight_decay=min(0.1, 30 / max(1, images)), decay_scales=True, schedule="cosine",
        warmup=0.1, ema=0.99, clip=1.0, crop="none", flip="none", loss="mse", validation=0.2,
    )  # fmt: skip


def crop_padding(spec: NetworkSpec) -> int:
    """An eighth of the side, as the paper's 4 pixels are of 32: more would push the object out of a small image."""
    return 4 if spec.image_size is None else min(max(1, round(min(spec.image_size) / 8)), 1000)


RECIPES: Mapping[str, Callable[[NetworkSpec, int], Recipe]] = MappingProxyType(
    {
        "fast": fast,
        "paper": paper,
        "speedrun": speedrun,
        "long": long,
        "imagenet": imagenet,
        "finetune": finetune,
        "table": table,
    }
)


def recipe(
    name: str, spec: NetworkSpec, *, images: int = 50_000, changes: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """Return a recipe by name, for this network and number of training images, with typed changes.

    Raises:
        InputError: an unknown name, key or value; the nearest known one is offered.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe '{name}'{nearest(name, RECIPES)} (one of: {', '.join(RECIPES)})")
    return override(RECIPES[name](spec, images), changes)
