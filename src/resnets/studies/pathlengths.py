"""The gradient that reaches the input of a residual network over paths of a given length.

[V] Veit, Wilber and Belongie, arXiv 1605.06431, "The importance of short paths in residual networks": the values of
the forward pass are the whole network's; in the backward pass k of the n units let the gradient through F alone, the
others through the shortcut alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resnets.models import ResNet, Unit
from resnets.studies.lesioning import Step, through


class Paths:
    """The gradients of a loss with respect to the images, path by path, after one forward pass.

    A gate's own gradient is left out: a gate weighs paths and is none. For every other shortcut the gradients of all
    2^n paths add up to the whole one.

    Args:
        net: a network whose units all have shortcuts, in evaluation mode; nothing in it is changed.
        images: [B, C, H, W], normalised.
        labels: int64 [B].
    """

    def __init__(self, net: ResNet, images: Tensor, labels: Tensor) -> None:
        self.residual: Collection[int] = ()
        self.images = images.detach().clone().requires_grad_(True)
        steps = [_forked(self, index, unit) for index, unit in enumerate(net.each_unit())]
        self.units = len(steps)
        with torch.enable_grad():
            # The sum over images: without a batch's statistics, each image's gradient is its own.
            self.loss = functional.cross_entropy(through(net, self.images, steps), labels, reduction="sum")

    def gradient(self, residual: Collection[int]) -> Tensor:
        """The gradient [B, C, H, W] over the path through F of these units and through the shortcuts of the others."""
        self.residual = residual
        (found,) = torch.autograd.grad(self.loss, self.images, retain_graph=True)
        return found


class _Valve(torch.autograd.Function):
    """The identity, which passes the gradient on only while its unit's path leads through here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, paths: Paths, index: int, residual: bool) -> Tensor:
        ctx.paths, ctx.index, ctx.residual = paths, index, residual
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        open_ = (ctx.index in ctx.paths.residual) == ctx.residual
        return (gradients[0] if open_ else None), None, None, None


def _forked(paths: Paths, index: int, unit: Unit) -> Step:
    def step(x: Tensor) -> Tensor:
        assert unit.join is not None
        x = unit.run(unit.steps.shared, x)
        h = _Valve.apply(unit.shortcut(x), paths, index, False)
        f = _Valve.apply(unit.residual(x), paths, index, True)
        return unit.run(unit.steps.after, unit.join(x.detach(), h, f))

    return step


def path_lengths(net: ResNet, images: Tensor, labels: Tensor, *, draws: int, seed: int = 0) -> dict[str, Any] | None:
    """Measure the gradient at the input over paths of every length.

    Args:
        net: see `Paths`.
        images: see `Paths`.
        labels: see `Paths`.
        draws: paths of each length; all of them where there are no more.
        seed: of the choice.

    Returns:
        `norm`: for the lengths 0 … n units, the Euclidean norm of an image's gradient, mean over images and paths;
        `paths`: how many paths have that length. None if a unit has no shortcut.
    """
    if any(unit.join is None for unit in net.each_unit()):
        return None
    paths, random = Paths(net, images, labels), np.random.default_rng(seed)
    norms = []
    for length in range(paths.units + 1):
        found = [
            paths.gradient(chosen).flatten(1).norm(dim=1).mean()
            for chosen in _chosen(paths.units, length, draws, random)
        ]
        norms.append(float(torch.stack(found).double().mean()))
    return {"norm": norms, "paths": [math.comb(paths.units, length) for length in range(paths.units + 1)]}


def _chosen(units: int, length: int, draws: int, random: np.random.Generator) -> Iterator[Sequence[int]]:
    if math.comb(units, length) <= draws:
        yield from itertools.combinations(range(units), length)
    else:
        for _ in range(draws):
            yield random.choice(units, length, replace=False).tolist()
