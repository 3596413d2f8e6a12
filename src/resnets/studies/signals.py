"""What flows through a network: the signal forward, the gradient backward, and how much of it the shortcuts carry.

[R] arXiv 1512.03385, section 4.1; [I] arXiv 1603.05027, equation 5, taken apart by `backward.py`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from resnets.models.units import Unit
from resnets.studies.backward import Parts, backward


@dataclass(frozen=True)
class UnitSignal:
    """One unit, measured on one batch of B images. Norms of gradients are Euclidean times √B.

    The loss is the mean over the images, so for activations, of which every image has its own, that is the root mean
    square over the images of the gradient of the summed loss, whatever B. It is not so for weights, which all images
    share: the part in which the images agree grows with √B, so the figures of weights compare at one B only.

    Attributes:
        index: from 0 through all stages, as `NetworkSpec.shortcut_units` counts.
        name: `layer1.0`, as in the `state_dict`.
        signal: root mean square of the output's activations.
        gradient: norm of the gradient of the loss with respect to the unit's output.
        weights: norm of the gradient with respect to the weights of the unit's convolutions (fully connected layers).
        factor: norm of the gradient at the unit's input divided by that at its output: what it is multiplied by on its
            way back through the unit.
        residual: norm of the part of the input's gradient that came through F.
        shortcut: norm of the part that came through the shortcut; None for a unit without one.
        gate: norm of the part that came through the gate of a gated shortcut; None without.
        cosine: of the angle between the shortcut's and F's part; None for a unit without shortcut.
        share: the shortcut's part projected on the whole gradient, as a share of it. That of F (and of the gate) is
            the rest: they sum to 1. None for a unit without shortcut.
    """

    index: int
    name: str
    signal: float
    gradient: float
    weights: float
    factor: float
    residual: float
    shortcut: float | None
    gate: float | None
    cosine: float | None
    share: float | None


@dataclass(frozen=True)
class Signals:
    """A network, measured on one batch: the stem (its output, and the gradient there) and every unit."""

    loss: float
    stem_signal: float
    stem_gradient: float
    stem_weights: float
    units: tuple[UnitSignal, ...]

    @property
    def finite(self) -> bool:
        """Whether every figure is a finite number."""
        values = [self.loss, self.stem_signal, self.stem_gradient, self.stem_weights]
        for unit in self.units:
            values += [value for value in dataclasses.astuple(unit) if isinstance(value, float)]
        return all(map(math.isfinite, values))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: the fields of `UnitSignal` as lists by unit, beside those of the stem."""
        names = [item.name for item in dataclasses.fields(UnitSignal)]
        return {
            "loss": self.loss,
            "stem": {"signal": self.stem_signal, "gradient": self.stem_gradient, "weights": self.stem_weights},
            "units": {name: [getattr(unit, name) for unit in self.units] for name in names},
        }


def measure_signals(net: nn.Module, images: Tensor, targets: Tensor) -> Signals:
    """Measure signal and gradient at the stem and at every unit, in training mode (batch statistics).

    Args:
        net: a network of units; it is left as it was: weights, their `.grad`, buffers, modes, random numbers.
        images: [B, C, H, W], normalised.
        targets: [B], int64.

    Raises:
        InputError: a network without units (VGG-19).
    """
    found = backward(net, images, targets)
    scale = math.sqrt(len(images))
    names = [name for name, module in net.named_modules() if isinstance(module, Unit)]
    units = tuple(
        _measured(index, names[index], y, part, scale)
        for index, (y, part) in enumerate(zip(found.outputs, found.parts, strict=True))
    )
    stem_gradient, stem_weights = scale * _norm(found.parts[0].whole), scale * _norm(*found.stem_weights)
    return Signals(found.loss, _rms(found.stem), stem_gradient, stem_weights, units)


def _measured(index: int, name: str, y: Tensor, part: Parts, scale: float) -> UnitSignal:
    output, whole, residual = _norm(part.output), _norm(part.whole), _norm(part.residual)
    shortcut = cosine = share = None
    if part.shortcut is not None:
        shortcut = _norm(part.shortcut)
        cosine = _ratio(_dot(part.shortcut, part.residual), shortcut * residual)
        share = _ratio(_dot(part.shortcut, part.whole), whole * whole)
    return UnitSignal(
        index, name, _rms(y), scale * output, scale * _norm(*part.weights), _ratio(whole, output), scale * residual,
        None if shortcut is None else scale * shortcut, None if part.gate is None else scale * _norm(part.gate),
        cosine, share,
    )  # fmt: skip


def _norm(*tensors: Tensor) -> float:
    """Euclidean, in double precision: squares of a vanished gradient underflow in single."""
    return math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors))


def _rms(tensor: Tensor) -> float:
    return _norm(tensor) / math.sqrt(tensor.numel())


def _dot(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other.double()).sum())


def _ratio(part: float, whole: float) -> float:
    """Zero where there is nothing to divide: a gradient that is exactly zero stays it."""
    return part / whole if whole else 0.0
