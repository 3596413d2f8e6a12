"""Residual networks written out by hand from the figures of the papers, one function an ordering.

They share nothing with the package but the names of the weights, and say which of these they used.
[R] arXiv 1512.03385, figures 2, 3 and 5. [I] arXiv 1603.05027, figure 4 and appendix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, linear, max_pool2d, relu


def randomise(net: nn.Module, seed: int = 0) -> None:
    """Give every weight, shift and running statistic of a network a value that matters."""
    generator = torch.Generator().manual_seed(seed)
    pool = torch.empty(100_003).uniform_(-1, 1, generator=generator)  # repeated: drawing 10⁸ numbers would take seconds
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(0)
            elif name.endswith("running_var") or (value.dim() == 1 and name.endswith("weight")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.dim() == 1:
                value.uniform_(-0.5, 0.5, generator=generator)
            else:
                bound = (3 / value[0].numel()) ** 0.5  # unit gain
                value.copy_(bound * pool.repeat(value.numel() // len(pool) + 1)[: value.numel()].view_as(value))


@dataclass
class Weights:
    """The tensors of a network (or of one unit of it), evaluation mode; `used` collects the names that were read."""

    state: Mapping[str, Tensor]
    prefix: str = ""
    strides: tuple[int, ...] = (1, 1, 1)  # of conv1, conv2, conv3
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return f"{self.prefix}{name}" in self.state

    def get(self, name: str) -> Tensor:
        self.used.add(f"{self.prefix}{name}")
        return self.state[f"{self.prefix}{name}"]

    def conv(self, k: int, x: Tensor) -> Tensor:
        weight = self.get(f"conv{k}.weight")
        return conv2d(x, weight, stride=self.strides[k - 1], padding=weight.shape[-1] // 2)

    def bn(self, name: str | int, x: Tensor) -> Tensor:
        name = f"bn{name}" if isinstance(name, int) else name
        mean, var = self.get(f"{name}.running_mean"), self.get(f"{name}.running_var")
        return batch_norm(x, mean, var, self.get(f"{name}.weight"), self.get(f"{name}.bias"), eps=1e-5)

    def shortcut(self, x: Tensor, channels: int, *, normalised: bool = True) -> Tensor:
        """Option A, B, C or the identity, whatever the network has weights for."""
        stride = max(self.strides)
        if "downsample.0.weight" in self:
            x = conv2d(x, self.get("downsample.0.weight"), stride=stride)
            return self.bn("downsample.1", x) if normalised else x
        x = x[:, :, ::stride, ::stride]
        batch, had, height, width = x.shape
        return torch.cat([x, torch.zeros(batch, channels - had, height, width)], 1) if had < channels else x


# [I], figure 4 (a) to (e): F, then the addition, for two and for three weight layers.
# `has` says whether the unit has a shortcut; `first` and `reshapes` are what the appendix and the authors' code treat
# apart.


def original(w: Weights, x: Tensor, *, three: bool, has: bool, first: bool, reshapes: bool) -> Tensor:
    y = relu(w.bn(1, w.conv(1, x)))
    y = w.bn(2, w.conv(2, y))
    if three:
        y = w.bn(3, w.conv(3, relu(y)))
    return relu(w.shortcut(x, y.shape[1]) + y if has else y)


def bn_after_addition(w: Weights, x: Tensor, *, three: bool, has: bool, first: bool, reshapes: bool) -> Tensor:
    y = w.conv(2, relu(w.bn(1, w.conv(1, x))))
    if three:
        y = w.conv(3, relu(w.bn(2, y)))
    y = w.shortcut(x, y.shape[1]) + y if has else y
    return relu(w.bn(3 if three else 2, y))


def relu_before_addition(w: Weights, x: Tensor, *, three: bool, has: bool, first: bool, reshapes: bool) -> Tensor:
    y = relu(w.bn(1, w.conv(1, x)))
    y = relu(w.bn(2, w.conv(2, y)))
    if three:
        y = relu(w.bn(3, w.conv(3, y)))
    return w.shortcut(x, y.shape[1]) + y if has else y


def relu_only_preactivation(w: Weights, x: Tensor, *, three: bool, has: bool, first: bool, reshapes: bool) -> Tensor:
    active = x if first else relu(x)
    y = w.bn(1, w.conv(1, active))
    y = w.bn(2, w.conv(2, relu(y)))
    if three:
        y = w.bn(3, w.conv(3, relu(y)))
    return w.shortcut(active if reshapes else x, y.shape[1]) + y if has else y


def full_preactivation(w: Weights, x: Tensor, *, three: bool, has: bool, first: bool, reshapes: bool) -> Tensor:
    active = x if first else relu(w.bn(1, x))
    y = w.conv(1, active)
    y = w.conv(2, relu(w.bn(2, y)))
    if three:
        y = w.conv(3, relu(w.bn(3, y)))
    # The authors' code (KaimingHe/resnet-1k-layers) normalises no projection here.
    return w.shortcut(active if reshapes else x, y.shape[1], normalised=False) + y if has else y


UNITS: dict[str, Callable[..., Tensor]] = {
    "original": original,
    "bn-after-addition": bn_after_addition,
    "relu-before-addition": relu_before_addition,
    "relu-only-preactivation": relu_only_preactivation,
    "full-preactivation": full_preactivation,
}


def logits(
    state: Mapping[str, Tensor],
    x: Tensor,
    *,
    ordering: str,
    units: tuple[int, ...],
    bottleneck: bool = False,
    stride_in: str = "3x3",
    imagenet_stem: bool = False,
    shortcut_units: set[int] | None = None,
) -> tuple[Tensor, set[str]]:
    """Logits of a whole network in evaluation mode, and the names of the weights that it took.

    `shortcut_units` None: every unit has a shortcut; an empty set: a plain network.
    """
    w = Weights(state)
    if imagenet_stem:
        x = relu(w.bn(1, conv2d(x, w.get("conv1.weight"), stride=2, padding=3)))
        x = max_pool2d(x, 3, stride=2, padding=1)
    else:
        x = relu(w.bn(1, conv2d(x, w.get("conv1.weight"), padding=1)))
    index = 0
    for stage, count in enumerate(units):
        for k in range(count):
            stride = 2 if stage > 0 and k == 0 else 1
            in_second = bottleneck and stride_in == "3x3"
            unit = replace(w, prefix=f"layer{stage + 1}.{k}.", strides=(1, stride, 1) if in_second else (stride, 1, 1))
            channels = state[f"{unit.prefix}conv{3 if bottleneck else 2}.weight"].shape[0]
            x = UNITS[ordering](
                unit,
                x,
                three=bottleneck,
                has=shortcut_units is None or index in shortcut_units,
                first=index == 0,
                reshapes=stride == 2 or x.shape[1] != channels,
            )
            index += 1
    if ordering == "full-preactivation":
        x = w.bn("bn_last", x)
    if "preactivation" in ordering:
        x = relu(x)
    return linear(x.mean((2, 3)), w.get("fc.weight"), w.get("fc.bias")), w.used
