"""Which convolutions of a network are computed otherwise than by oneDNN while it is trained on a processor in fp32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from torch import nn

from resnets.training import products, winograd
from resnets.training.device import Execution


@contextlib.contextmanager
def faster_convolutions(net: nn.Module, execution: Execution) -> Iterator[None]:
    """Within it, the convolutions of `net` that gain by it are computed by Winograd's algorithm or as matrix products.

    After it they are torch's own again, whose second derivative can be had too.
    """
    changed = []
    if execution.device == "cpu" and execution.precision == "fp32":
        for module in net.modules():
            if execution.native and winograd.suits(module):
                module._conv_forward = winograd.convolved  # type: ignore[assignment]
            elif isinstance(module, nn.Conv2d) and products.gains(module):
                module._conv_forward = partial(products.convolved, stride=module.stride[0])  # type: ignore[method-assign]
            else:
                continue
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module._conv_forward


def any_winograd(net: nn.Module) -> bool:
    """Whether Winograd's algorithm suits one of a network's convolutions."""
    return any(map(winograd.suits, net.modules()))


def any_products(net: nn.Module) -> bool:
    """Whether one of a network's convolutions gains by being a matrix product."""
    return any(isinstance(module, nn.Conv2d) and products.gains(module) for module in net.modules())
