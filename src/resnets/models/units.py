"""The residual unit: y = x + F(x), in every ordering and with every shortcut."""

from __future__ import annotations

from torch import Tensor, nn

from resnets.architecture import NetworkSpec, pooled_steps, unit_steps
from resnets.models.layers import normalisation, weight_layer
from resnets.models.shortcuts import joint, matched


class Unit(nn.Module):
    """One unit, basic (two 3x3), bottleneck (1x1, 3x3, 1x1), pooled or linear (two fully connected layers).

    Its weight layers and normalisations are conv1, bn1, conv2, … as in torchvision; the spec's ordering says in what
    sequence they run (`resnets.architecture.unit_steps`), and the shortcut joins x to the end of it.
    """

    def __init__(self, spec: NetworkSpec, index: int, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * spec.expansion
        if spec.unit == "bottleneck":
            inner = spec.inner_width(width)
            first, second = (stride, 1) if spec.stride_in == "1x1" else (1, stride)
            layers = [
                (inputs, inner, 1, first, 1),
                (inner, inner, 3, second, spec.groups),
                (inner, outputs, 1, 1, 1),
            ]
        elif spec.unit == "pooled":
            layers = [(inputs, width, 3, 1, 1), (width, width, 3, 1, 1)]
        else:
            kernel = 1 if spec.unit == "linear" else 3
            layers = [(inputs, width, kernel, stride, 1), (width, width, kernel, 1, 1)]
        reshapes = stride != 1 or inputs != outputs
        # A bare stem leaves the first pre-activation to the first unit.
        activated = index == 0 and spec.stem_norm
        if spec.unit == "pooled":
            self.steps = pooled_steps(pools=stride == 2)
            if stride == 2:
                self.pool = nn.MaxPool2d(2)
            inputs, stride = width, 1  # where the shortcut begins
        else:
            self.steps = unit_steps(spec.ordering, len(layers), first=activated, reshapes=reshapes)
        used = (*self.steps.shared, *self.steps.residual, *self.steps.after)
        for k, (before, after, kernel, pace, groups) in enumerate(layers, start=1):
            self.add_module(f"conv{k}", weight_layer(spec, before, after, kernel=kernel, stride=pace, groups=groups))
            if f"bn{k}" in used:
                channels = before if spec.ordering == "full-preactivation" else after
                self.add_module(f"bn{k}", normalisation(spec, channels))
        self.relu = nn.ReLU()
        self.downsample = None
        self.join = None
        if spec.has_shortcut(index):
            self.downsample = matched(spec, inputs, outputs, stride)
            self.join = joint(spec, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] → [B, outputs, H/stride, W/stride]."""
        x = self.run(self.steps.shared, x)
        y = self.residual(x)
        if self.join is not None:
            y = self.join(x, self.shortcut(x), y)
        return self.run(self.steps.after, y)

    def residual(self, x: Tensor) -> Tensor:
        """F(x)."""
        return self.run(self.steps.residual, x)

    def shortcut(self, x: Tensor) -> Tensor:
        """h(x): x itself, unless the shape changes or the spec puts a projection there."""
        return x if self.downsample is None else self.downsample(x)

    def run(self, steps: tuple[str, ...], x: Tensor) -> Tensor:
        """Apply the named layers of this unit in turn."""
        for step in steps:
            x = getattr(self, step)(x)
        return x

    def last_scale(self) -> nn.Module | None:
        """The normalisation that ends F(x), where the ordering ends it so: the one that `zero_init` sets to zero."""
        last = self.steps.residual[-1]
        return getattr(self, last) if last.startswith("bn") else None
