"""The loss around trained weights, along random directions that are as long as the weights, filter by filter.

[L] Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural Nets, arXiv 1712.09913, sections 4
and 6; where the text leaves it open, as their code does it (tomgoldstein/loss-landscape).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from resnets.models import ResNet
from resnets.studies.subjects import Subject

Direction = Mapping[str, Tensor]  # parameter → change


def random_direction(net: ResNet, seed: int) -> dict[str, Tensor]:
    """A Gaussian direction, filter-normalised ([L] section 4): every filter as long as the network's own.

    A filter is what makes one output channel: a row of the weight. What has one dimension, biases and the scales and
    shifts of normalisations, stays where it is. The same seed gives the same direction before normalisation.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, weight in net.named_parameters():
        drawn = torch.randn(weight.shape, generator=generator)
        if weight.dim() < 2:
            found[name] = torch.zeros_like(weight)
            continue
        own, length = (each.detach().flatten(1).norm(dim=1) for each in (weight, drawn))
        scale = own / (length + 1e-10)
        found[name] = drawn * scale.view(-1, *[1] * (weight.dim() - 1))
    return found


def surface(
    subject: Subject, first: Direction, second: Direction, x: Sequence[float], y: Sequence[float]
) -> list[list[float]]:
    """The mean loss, in nats an image, at weights + x·first + y·second: a row for each y.

    In evaluation mode, with the normalisations' statistics as the training left them, as [L]'s code does. A loss that
    is no number, which weights far out may give, is infinite.
    """
    net = copy.deepcopy(subject.net).eval()
    parameters = dict(net.named_parameters())
    origin = {name: value.detach().clone() for name, value in parameters.items()}
    rows = []
    with torch.no_grad():
        for down in y:
            row = []
            for across in x:
                for name, value in parameters.items():
                    value.copy_(origin[name] + across * first[name] + down * second[name])
                row.append(_loss(net, subject))
            rows.append(row)
    return rows


def _loss(net: ResNet, subject: Subject) -> float:
    total, count = 0.0, 0
    for images, labels in subject.batches:
        losses = functional.cross_entropy(net(images), labels, reduction="none").double()
        total, count = total + float(losses.sum()), count + len(labels)
    mean = total / count
    return mean if mean == mean else float("inf")


def landscape(subject: Subject, *, reach: float, points: int, line_points: int, seed: int = 0) -> dict[str, Any]:
    """Measure the loss on a line and on a square around the weights.

    Args:
        subject: the network, and the images that the loss is of.
        reach: half the side, in lengths of the filters.
        points: on a side of the square; odd, so that the weights themselves are among them.
        line_points: on the line, likewise.
        seed: of the two directions.

    Returns:
        Plain data: `line` {"x", "loss"}, `square` {"x", "y", "z"} (z by rows of y) and `images`. The line
        runs along the first direction of the square.
    """
    first, second = random_direction(subject.net, 2 * seed), random_direction(subject.net, 2 * seed + 1)
    line, side = steps(reach, line_points), steps(reach, points)
    return {
        "line": {"x": line, "loss": surface(subject, first, second, line, [0.0])[0]},
        "square": {"x": side, "y": side, "z": surface(subject, first, second, side, side)},
        "images": subject.images,
    }


def steps(reach: float, points: int) -> list[float]:
    """Evenly spaced from -reach to reach, with an exact zero in the middle of an odd number."""
    half = (points - 1) / 2
    return [reach * (index - half) / half for index in range(points)]
