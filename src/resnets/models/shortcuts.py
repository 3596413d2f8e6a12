"""Shortcuts: h(x), which carries x past the residual function, and the ways in which h(x) and F(x) are joined.

[R] arXiv 1512.03385, options A, B and C. [I] arXiv 1603.05027, section 3 and figure 2: the five other forms.
[T] arXiv 1812.01187, section 4.1: D.
`matched` gives h(x) where the shape changes (or everywhere: option C); `joint` gives y from x, h(x) and F(x).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnets.architecture import NetworkSpec, Shortcut
from resnets.models.layers import normalisation, weight_layer


class ZeroPadded(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the new channels. No parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.inputs, self.outputs = stride, inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] → [B, outputs, H/stride, W/stride]; for linear units [B, inputs] → [B, outputs]."""
        missing = self.outputs - self.inputs
        if x.dim() == 2:
            return functional.pad(x, (0, missing))
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x

    def extra_repr(self) -> str:
        return f"{self.inputs} → {self.outputs}, stride {self.stride}"


def projection(spec: NetworkSpec, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Option B (where the shape changes) or C (everywhere): a 1x1 convolution and its normalisation.

    Under D the pixels are averaged over 2x2 instead of every second one being taken; at an odd edge the mean is that of
    the pixels there are, and the map is as large as a convolution of stride 2 makes it. Under full pre-activation no
    normalisation follows the convolution, as in the authors' code.
    """
    layers: list[nn.Module] = []
    if spec.shortcut.matching == "D":
        pooled = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
        layers.append(nn.Identity() if stride == 1 else pooled)
        stride = 1
    layers.append(weight_layer(spec, inputs, outputs, stride=stride))
    if spec.ordering != "full-preactivation":
        layers.append(normalisation(spec, outputs))
    return nn.Sequential(*layers)


def matched(spec: NetworkSpec, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """h(x) of a unit from `inputs` to `outputs` channels with this stride; None is the identity."""
    shortcut = spec.shortcut
    reshapes = stride != 1 or inputs != outputs
    if shortcut.kind == "projection" or (reshapes and shortcut.matching in ("B", "D")):
        return projection(spec, inputs, outputs, stride)
    return ZeroPadded(inputs, outputs, stride) if reshapes else None


class Addition(nn.Module):
    """y = h(x) + F(x), equation 1 of [R]."""

    def forward(self, x: Tensor, h: Tensor, f: Tensor) -> Tensor:
        return f + h


class Scaling(nn.Module):
    """Constant scaling: y = scale·h(x) + residual_scale·F(x)."""

    def __init__(self, scale: float, residual_scale: float) -> None:
        super().__init__()
        self.scale, self.residual_scale = scale, residual_scale

    def forward(self, x: Tensor, h: Tensor, f: Tensor) -> Tensor:
        return self.scale * h + self.residual_scale * f

    def extra_repr(self) -> str:
        return f"scale={self.scale}, residual_scale={self.residual_scale}"


class Gating(nn.Module):
    """Gates g = sigmoid(W x + b), W a 1x1 convolution, b at first the spec's `gate_bias`.

    y = (1-g)·h(x) + g·F(x), exclusive as in Highway Networks (1505.00387), or y = (1-g)·h(x) + F(x), shortcut-only.
    """

    def __init__(self, spec: NetworkSpec, inputs: int, outputs: int, stride: int, *, exclusive: bool) -> None:
        super().__init__()
        self.exclusive, self.bias = exclusive, spec.shortcut.gate_bias
        self.conv = (
            nn.Linear(inputs, outputs) if spec.unit == "linear" else nn.Conv2d(inputs, outputs, 1, stride, bias=True)
        )

    def initialise(self) -> None:
        """Set the gate's bias, which He initialisation leaves at zero."""
        nn.init.constant_(self.conv.bias, self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, h: Tensor, f: Tensor) -> Tensor:
        g = torch.sigmoid(self.conv(x))
        return (1 - g) * h + (g * f if self.exclusive else f)


class Dropped(nn.Module):
    """Dropout of the shortcut with probability `rate` in training: y = dropout(h(x)) + F(x)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, h: Tensor, f: Tensor) -> Tensor:
        return functional.dropout(h, self.rate, self.training) + f

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def joint(spec: NetworkSpec, inputs: int, outputs: int, stride: int) -> nn.Module:
    """How h(x) and F(x) are joined in a unit of this spec."""
    shortcut: Shortcut = spec.shortcut
    if shortcut.kind == "scaling":
        return Scaling(shortcut.scale, shortcut.residual_scale)
    if shortcut.kind in ("exclusive-gating", "shortcut-only-gating"):
        return Gating(spec, inputs, outputs, stride, exclusive=shortcut.kind == "exclusive-gating")
    if shortcut.kind == "dropout":
        return Dropped(shortcut.rate)
    return Addition()
