"""How strongly the layers of a network respond: the standard deviation of their outputs.

[R] Deep Residual Learning, arXiv 1512.03385, section 4.2, "Analysis of Layer Responses", and figure 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from resnets.models import ResNet, Unit
from resnets.studies.subjects import Subject


def layer_responses(subject: Subject) -> dict[str, Any]:
    """Measure the response of every weight layer before the classifier, in network order.

    A layer's response is what has become of its output where the next nonlinearity or addition takes it: after the
    normalisation that follows the layer, if one does ("after BN and before other nonlinearity (ReLU/addition)").

    Returns:
        Plain data: `layers` (names), `std` (standard deviation of each one's responses, over images, channels and
        positions), `stage` (of each, from 1; 0 for the stem) and `images` (what was measured on, in words).
    """
    sums: dict[str, list[float]] = {}
    with torch.no_grad():
        for images, _ in subject.batches:
            for name, _, response in _responses(subject.net, images):
                kept = sums.setdefault(name, [0.0, 0.0, 0.0])
                values = response.double()
                kept[0] += values.numel()
                kept[1] += float(values.sum())
                kept[2] += float(values.square().sum())
    stages = {name: stage for name, stage, _ in _responses(subject.net, subject.batches[0][0][:1])}
    # Rounding may leave less than zero. What is no number stays so: max() gives its first where neither is larger.
    deviations = [math.sqrt(max(square / n - (total / n) ** 2, 0.0)) for n, total, square in sums.values()]
    return {"layers": list(sums), "std": deviations, "stage": list(stages.values()), "images": subject.images}


def _responses(net: ResNet, x: Tensor) -> Iterator[tuple[str, int, Tensor]]:
    """The name, stage and response of every weight layer, as the images pass."""
    if net.spec.unit == "linear":
        x = torch.flatten(x, 1)
    steps = net.conv1 if isinstance(net.conv1, nn.Sequential) else nn.Sequential(net.conv1)
    if net.spec.stem_norm:
        steps = nn.Sequential(*steps, net.bn1, net.relu)
    found: list[tuple[str, Tensor]] = []
    x = net.maxpool(_watched([(f"stem.{k}", step) for k, step in enumerate(steps)], x, found))
    yield from ((f"conv1.{k}" if len(found) > 1 else "conv1", 0, response) for k, (_, response) in enumerate(found, 1))
    for stage in range(1, len(net.spec.units) + 1):
        for number, unit in enumerate(getattr(net, f"layer{stage}")):
            found = []
            x = _through_unit(unit, x, found)
            yield from ((f"layer{stage}.{number}.{name}", stage, response) for name, response in found)


def _through_unit(unit: Unit, x: Tensor, found: list[tuple[str, Tensor]]) -> Tensor:
    def named(steps: tuple[str, ...]) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
        return [(step, getattr(unit, step)) for step in steps]

    if unit.join is None:  # no addition: what follows F is followed as F is
        return _watched(named((*unit.steps.shared, *unit.steps.residual, *unit.steps.after)), x, found)
    x = _watched(named(unit.steps.shared), x, found)
    y = _watched(named(unit.steps.residual), x, found)
    return unit.run(unit.steps.after, unit.join(x, unit.shortcut(x), y))


def _watched(steps: list[tuple[str, Callable[[Tensor], Tensor]]], x: Tensor, found: list[tuple[str, Tensor]]) -> Tensor:
    """Apply the steps; what a ReLU, or the end, takes from a weight layer is that layer's response."""
    layer = None
    for name, step in steps:
        if isinstance(step, nn.ReLU | nn.MaxPool2d) and layer is not None:
            found.append((layer, x))
            layer = None
        x = step(x)
        if _weighs(step):
            layer = name
    if layer is not None:
        found.append((layer, x))
    return x


def _weighs(step: object) -> bool:
    return isinstance(step, nn.Conv2d | nn.Linear)
