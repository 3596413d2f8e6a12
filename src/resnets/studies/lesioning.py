"""Networks with units taken out, put elsewhere or silenced, without touching the network itself.

[V] Veit, Wilber and Belongie, Residual Networks Behave Like Ensembles of Relatively Shallow Networks, arXiv 1605.06431,
section 4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets.errors import InputError
from resnets.models import ResNet, Unit
from resnets.studies.subjects import Subject

Step = Callable[[Tensor], Tensor]  # a unit, or what stands in its place


def through(net: ResNet, x: Tensor, steps: Sequence[Step]) -> Tensor:
    """Images [B, C, H, W] to logits [B, classes], with `steps` in the place of the network's units."""
    images, x = x, net.entry(x)
    for step in steps:
        x = step(x)
    return net.classify(net.ending(x), images)


def deleted(unit: Unit) -> Step:
    """What is left of a unit when F is deleted: its shortcut or, in a plain network, nothing at all ([V] section 4.1).

    What both paths share, and what follows the addition, stays. A plain unit leaves the identity, so only one that
    keeps its input's shape can be deleted.
    """
    if unit.join is None:
        return lambda x: x

    def shortcut(x: Tensor) -> Tensor:
        x = unit.run(unit.steps.shared, x)
        h = unit.shortcut(x)
        return unit.run(unit.steps.after, unit.join(x, h, torch.zeros_like(h)))  # type: ignore[misc]

    return shortcut


def zeroed(unit: Unit) -> Step:
    """The unit with all weights of F zero; its normalisations, with what they have stored, stay.

    A residual unit keeps its shortcut; nothing of its input passes a plain one.
    """

    def run(steps: Sequence[str], x: Tensor) -> Tensor:
        for name in steps:
            x = getattr(unit, name)(x)
            if name.startswith("conv"):
                x = torch.zeros_like(x)
        return x

    def silent(x: Tensor) -> Tensor:
        x = unit.run(unit.steps.shared, x) if unit.join is not None else run(unit.steps.shared, x)
        y = run(unit.steps.residual, x)
        if unit.join is not None:
            y = unit.join(x, unit.shortcut(x), y)
        return unit.run(unit.steps.after, y)

    return silent


def keeping_shape(net: ResNet, images: Tensor) -> list[int]:
    """The units, counted from 0, whose output has the shape of their input: what a plain network can do without."""
    found = []
    with torch.no_grad():
        x = net.entry(images[:1])
        for index, unit in enumerate(net.each_unit()):
            y = unit(x)
            if y.shape == x.shape:
                found.append(index)
            x = y
    return found


def error(subject: Subject, steps: Sequence[Step]) -> float:
    """Percent of the subject's images that the network with these steps gets wrong; logits that are no numbers are."""
    wrong = count = 0
    with torch.no_grad():
        for images, labels in subject.batches:
            logits = through(subject.net, images, steps)
            right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
            wrong, count = wrong + int((~right).sum()), count + len(labels)
    return 100 * wrong / count


def lesions(subject: Subject, *, most: int, draws: int, seed: int = 0) -> dict[str, Any]:
    """Measure the error under every lesion; the same draws for every network of as many units.

    Args:
        subject: the network, and the images for its error.
        most: units deleted together, at most.
        draws: random choices for each number of deleted units, and for each number of swaps.
        seed: of these choices.

    Returns:
        Plain data: `units` (number), `stage` (of each, from 1), `keeping` (units that keep their shape), `error`
        (percent, whole network), `single` and `zeroed` (unit → percent; `single` of a plain network for `keeping`
        only), `several` (one entry a number of deleted units: percent for each draw; of one, for each of `keeping`),
        `permuted` (pairs of Kendall's tau and percent) and `images`.

    Raises:
        InputError: no unit keeps its shape.
    """
    net, units = subject.net, subject.net.each_unit()
    keeping = keeping_shape(net, subject.batches[0][0])
    if not keeping:
        raise InputError(f"{subject.name}: every unit changes the shape; lesions need one that keeps it (more layers)")
    plain = [index for index, unit in enumerate(units) if unit.join is None and index not in keeping]

    def changed(changes: Mapping[int, Step]) -> float:
        return error(subject, [changes.get(index, unit) for index, unit in enumerate(units)])

    random = np.random.default_rng(seed)
    single = {k: changed({k: deleted(unit)}) for k, unit in enumerate(units) if k not in plain}
    several = [[single[k] for k in keeping]] + [
        [changed({index: deleted(units[index]) for index in chosen}) for chosen in _choices(keeping, k, draws, random)]
        for k in range(2, min(most, len(keeping)) + 1)
    ]
    stages = [stage for stage, count in enumerate(net.spec.units, start=1) for _ in range(count)]
    permuted = [
        [_kendall(order), error(subject, [units[index] for index in order])]
        for order in _orders(keeping, stages, draws, random)
    ]
    return {
        "units": len(units), "stage": stages, "keeping": keeping, "images": subject.images,
        "error": changed({}),
        "single": {str(k): value for k, value in single.items()},
        "zeroed": {str(k): changed({k: zeroed(unit)}) for k, unit in enumerate(units)},
        "several": several, "permuted": permuted,
    }  # fmt: skip


def _choices(units: Sequence[int], k: int, draws: int, random: np.random.Generator) -> list[tuple[int, ...]]:
    """All sets of k units if they are no more than the draws, else so many different random ones.

    They are runs of k along a random circle of the units, so that all units are deleted about equally often: a unit
    that matters much, as the first ones do, would else make the error jump from one k to the next.
    """
    if math.comb(len(units), k) <= draws:
        return list(itertools.combinations(units, k))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < draws:
        circle = random.permutation(np.asarray(units))
        starts = min(draws, len(units))
        for start in range(starts):
            found[tuple(sorted(np.roll(circle, -(start * len(units) // starts))[:k].tolist()))] = None
    return list(found)[:draws]


def _orders(keeping: Sequence[int], stages: Sequence[int], draws: int, random: np.random.Generator) -> list[list[int]]:
    """Orders of all units after 1, 2, … random swaps within stages, among the units that keep their shape ([V] 4.3).

    The original order is not among them, and none comes twice.
    """
    pairs = [pair for pair in itertools.combinations(keeping, 2) if stages[pair[0]] == stages[pair[1]]]
    found: dict[tuple[int, ...], None] = {}
    for swaps in range(1, len(keeping) + 1 if pairs else 1):
        for _ in range(draws):
            order = list(range(len(stages)))
            for place in random.integers(len(pairs), size=swaps):
                one, other = pairs[int(place)]
                order[one], order[other] = order[other], order[one]
            if order != sorted(order):
                found[tuple(order)] = None
    return [list(order) for order in found]


def _kendall(order: Sequence[int]) -> float:
    """Kendall's rank correlation of an order without ties with the original one: 1 is unchanged, -1 reversed."""
    pairs = list(itertools.combinations(order, 2))
    return sum(1 if one < other else -1 for one, other in pairs) / len(pairs)
