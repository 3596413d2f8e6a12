"""How long a study will take, before it begins: a few steps are timed, the rest follows from the operations.

The hours on an H200 are a calculation, not a measurement: see `H200`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from resnets.architecture import NetworkSpec
from resnets.data import choose_preprocessing, open_source, steps_per_epoch
from resnets.errors import InputError
from resnets.inspection.inspect import inspect
from resnets.models import build
from resnets.studies.study import Case, Settings
from resnets.training.recipe import Recipe
from resnets.training.recipes import recipe as make_recipe

BUDGET = 12.0  # seconds that measuring may take
START = 5.0  # seconds for a run's images, checks, evaluations and files


@dataclass(frozen=True)
class H200:
    """What the calculated time of a step on an H200 assumes; none of it was measured here.

    A step of small networks is bounded by the kernels that it launches (three forward and six backward for a weight
    layer with its normalisation and ReLU), of large ones by multiply-adds (three passes, two operations each) at a
    third of the dense bf16 peak.
    """

    launch: float = 6e-6  # seconds
    kernels: float = 9.0  # a weight layer
    operations: float = 989e12 / 3  # a second


@dataclass(frozen=True)
class Cost:
    """What one run of a case costs.

    Attributes:
        spec: the case's network, fitted to the images.
        parameters, multiply_adds: of the network; the latter for one image.
        steps, epochs: optimiser steps of the run, and passes over the training images.
        seconds: by one thread (or on the accelerator), expected.
        h200_seconds: calculated.
        measured: whether the step of this very network was timed, not inferred from another's.
    """

    spec: NetworkSpec
    parameters: int
    multiply_adds: int
    steps: int
    epochs: float
    seconds: float
    h200_seconds: float
    measured: bool


def costs(cases: Sequence[Case], settings: Settings, device: str, *, timed: Collection[str]) -> dict[str, Cost]:
    """Case name → what one run of it costs.

    Args:
        cases: of the study.
        settings: of the study.
        device: `cpu`, `cuda`, ….
        timed: names of the cases whose seconds are asked for; those of the others are not known (NaN).

    Raises:
        InputError: the source cannot be read, or a network does not fit its images.
    """
    source = open_source(settings.data)
    if source.task == "regression":
        raise InputError(f"{settings.data} has numbers to predict, but studies train classifiers; give class folders")
    if "train" not in source.splits:
        raise InputError(f"{settings.data}: no training images here, only {', '.join(source.splits)}")
    preprocessing = choose_preprocessing(source.splits["train"], size=settings.size)
    images, side, channels = len(source.splits["train"]), preprocessing.size, preprocessing.channels
    facts = {}
    for case in cases:
        spec = case.spec.fit(image_size=(side, side), in_channels=channels, num_classes=len(source.classes))[0]
        recipe = make_recipe(settings.recipe, spec, images=images, changes={**settings.overrides, **case.overrides})
        kept = images if "validation" in source.splits else images - round(recipe.validation * images)
        per_epoch = steps_per_epoch(kept, recipe.batch_size)
        look = inspect(spec)
        facts[case.name] = (spec, recipe, recipe.total_steps(per_epoch), per_epoch, look.parameters, look.multiply_adds)
    known = _timed({name: (fact[0], fact[1], fact[5]) for name, fact in facts.items() if name in timed}, device)
    found = {}
    for name, (spec, recipe, steps, per_epoch, parameters, multiply_adds) in facts.items():
        seconds, measured = known.get(name, (math.nan, False))
        found[name] = Cost(
            spec, parameters, multiply_adds, steps, steps / per_epoch, START + steps * seconds,
            START + steps * _h200_step(spec, multiply_adds, recipe.batch_size), measured,
        )  # fmt: skip
    return found


def hours(found: Mapping[str, Cost], runs: Sequence[tuple[str, int]], jobs: int) -> float:
    """Expected hours of these (case, seed) runs by so many processes: a run is one process's."""
    seconds = [found[name].seconds for name, _ in runs]
    return max(sum(seconds) / max(1, jobs), max(seconds, default=0.0)) / 3600


def _timed(cases: Mapping[str, tuple[NetworkSpec, Recipe, int]], device: str) -> dict[str, tuple[float, bool]]:
    """Seconds of a step, and whether it was measured; the cheapest first, others by their operations and layers."""
    found: dict[str, tuple[float, bool]] = {}
    seen: dict[tuple[NetworkSpec, int], float] = {}
    end, last = time.monotonic() + BUDGET, None
    for name, (spec, recipe, multiply_adds) in sorted(cases.items(), key=lambda item: (item[1][2], item[0])):
        same = (spec, recipe.batch_size)
        work = multiply_adds * recipe.batch_size + spec.depth * 1e7
        expected = seen.get(same) or (last[0] * work / last[1] if last else 0.0)
        if same in seen or time.monotonic() + 3 * expected > end:
            found[name] = (expected, same in seen)
            continue
        seconds = step_seconds(spec, recipe.batch_size, device)
        found[name], seen[same], last = (seconds, True), seconds, (seconds, work)
    return found


def step_seconds(spec: NetworkSpec, batch: int, device: str) -> float:
    """Seconds of one training step of this network on images: the faster of two, after one that does not count.

    Where that one takes more than a third of `BUDGET`, only one follows.

    Args:
        spec: fitted to its images.
        batch: images.
        device: where; one thread of a processor.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        net = build(spec, seed=0).to(device).to(memory_format=torch.channels_last)
        height, width = spec.image_size or (32, 32)
        images = torch.zeros(batch, spec.in_channels, height, width, device=device)
        images = images.to(memory_format=torch.channels_last)
        targets = torch.zeros(batch, dtype=torch.int64, device=device)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)
        times: list[float] = []
        while len(times) < (2 if times and times[0] > BUDGET / 3 else 3):
            begin = time.perf_counter()
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images), targets).backward()
            optimiser.step()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begin)
        return min(times[1:])
    finally:
        torch.set_num_threads(threads)


def _h200_step(spec: NetworkSpec, multiply_adds: int, batch: int) -> float:
    assumed = H200()
    return max(spec.depth * assumed.kernels * assumed.launch, 6 * multiply_adds * batch / assumed.operations)
