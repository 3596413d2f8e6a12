"""The gradient of every unit, taken apart: what came through the shortcut, through F, and through a gate.

[I] arXiv 1603.05027, equations 4 and 5: for a unit y = h(x) + F(x) the gradient of the loss is
dL/dx = h'(x)ᵀ dL/dy + F'(x)ᵀ dL/dy. With h the identity the first part is dL/dy itself: the "1 +". Both are exact:
the two paths are given copies of x of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnets.errors import InputError
from resnets.models.network import ResNet
from resnets.models.shortcuts import Gating
from resnets.models.units import Unit
from resnets.studies.borrowing import borrowed


@dataclass(frozen=True, eq=False)
class Parts:
    """The gradients of one unit, as tensors: at its output, and at its input in parts that sum to the whole.

    Attributes:
        output: dL/dy, shaped as y.
        whole: dL/dx, shaped as x.
        residual, shortcut, gate: the parts of `whole`; None for a path that the unit does not have.
        weights: with respect to the weights of F's convolutions.
    """

    output: Tensor
    whole: Tensor
    residual: Tensor
    shortcut: Tensor | None
    gate: Tensor | None
    weights: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class _Local:
    """One unit's forward pass, cut off from the others: x is a leaf, and so is the copy of it in each path."""

    unit: Unit
    x: Tensor
    shared: Tensor
    residual: Tensor
    shortcut: Tensor
    gate: Tensor
    y: Tensor

    @classmethod
    def of(cls, unit: Unit, x: Tensor) -> _Local:
        """Run x through the unit; its two paths, and the gate, have copies of x that are leaves."""
        x = _leaf(x)
        shared = unit.run(unit.steps.shared, x)
        residual, shortcut, gate = _leaf(shared), _leaf(shared), _leaf(shared)
        y = unit.residual(residual)
        if unit.join is not None:
            y = unit.join(gate, unit.shortcut(shortcut), y)
        return cls(unit, x, shared, residual, shortcut, gate, unit.run(unit.steps.after, y))

    def back(self, gradient: Tensor) -> Parts:
        """The gradients, given that at the output."""
        weights = _weights(self.unit)
        wanted = [self.residual, self.shortcut, self.gate, *weights]
        found = torch.autograd.grad(self.y, wanted, gradient, allow_unused=True, materialize_grads=True)
        if self.shared is self.x:
            residual, shortcut, gate = found[:3]
        else:  # the steps before the paths part are one linear map for each of the parts
            residual, shortcut, gate = (
                torch.autograd.grad(self.shared, self.x, part, retain_graph=True)[0] for part in found[:3]
            )
        joined, gated = self.unit.join is not None, isinstance(self.unit.join, Gating)
        return Parts(
            gradient, residual + shortcut + gate, residual, shortcut if joined else None, gate if gated else None,
            tuple(found[3:]),
        )  # fmt: skip


def gradient_parts(net: nn.Module, images: Tensor, targets: Tensor) -> list[Parts]:
    """The gradients of the mean cross-entropy at every unit, in parts, from the first unit to the last.

    Args:
        net: a network of units; it is left as it was: weights, their `.grad`, buffers, modes, random numbers.
        images: [B, C, H, W], normalised.
        targets: [B], int64.

    Raises:
        InputError: a network without units (VGG-19).
    """
    return list(backward(net, images, targets).parts)


@dataclass(frozen=True, eq=False)
class Backward:
    """A pass back through a network: the loss, the stem's output and weights' gradients, and every unit's.

    Attributes:
        loss: mean cross-entropy, in nats.
        stem: the stem's output.
        stem_weights: gradients of the weights of its convolutions; empty where they are not trained.
        outputs: of the units.
        parts: of the units.
    """

    loss: float
    stem: Tensor
    stem_weights: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parts: tuple[Parts, ...]


def backward(net: nn.Module, images: Tensor, targets: Tensor) -> Backward:
    """Go through a network and back, unit by unit; arguments, care and errors are those of `gradient_parts`."""
    if not isinstance(net, ResNet):
        raise InputError("signals are measured by unit, and this network has no units; give a residual or a plain one")
    device = next(net.parameters()).device
    images = images.to(device)
    with borrowed(net), torch.enable_grad():
        stem = net.entry(images)
        x, passed = stem, []
        for unit in net.each_unit():
            passed.append(_Local.of(unit, x))
            x = passed[-1].y
        last = _leaf(x)
        loss = functional.cross_entropy(net.classify(net.ending(last), images), targets.to(device))
        (gradient,) = torch.autograd.grad(loss, [last])
        parts: list[Parts] = []
        for local in reversed(passed):
            parts.append(local.back(gradient))
            gradient = parts[-1].whole
        weights = _weights(net)
        found = torch.autograd.grad(stem, weights, gradient) if weights else ()
    outputs = tuple(local.y.detach() for local in passed)
    return Backward(float(loss.detach()), stem.detach(), tuple(found), outputs, tuple(parts[::-1]))


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _weights(module: nn.Module) -> list[Tensor]:
    """The weights, without biases, of conv1, conv2, … of a unit or of the stem; under weight normalisation both factors
    of them. A stem that is not trained has none.
    """
    return [
        weight
        for name, weight in module.named_parameters()
        if name.startswith("conv") and weight.dim() > 1 and weight.requires_grad
    ]
