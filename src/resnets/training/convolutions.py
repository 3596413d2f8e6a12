"""Which convolutions of a network are computed otherwise than by oneDNN while it is trained on a processor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from resnets.training import filters, products, winograd
from resnets.training.device import Execution


@contextlib.contextmanager
def faster_convolutions(net: nn.Module, execution: Execution) -> Iterator[None]:
    """Within it, the convolutions of `net` that gain by it are computed by Winograd's algorithm or as matrix products,
    in bf16 their filters' gradients by the tile multiplier.

    After it they are torch's own again, whose second derivative can be had too.
    """
    changed: list[tuple[nn.Module, object]] = []
    if torch.device(execution.device).type == "cpu":
        for module in net.modules():
            way = _way(module, execution) if isinstance(module, nn.Conv2d) and _own(module) else None
            if way is not None:
                setattr(module, "_conv_forward", way)  # noqa: B010  no method is assigned to, but hidden
                changed.append((module, way))
    try:
        yield
    finally:
        for module, way in changed:
            if module.__dict__.get("_conv_forward") is way:
                del module._conv_forward


def _way(module: nn.Conv2d, execution: Execution) -> Any:
    stride = module.stride[0]
    if execution.precision == "bf16":
        tiles = execution.tiles and filters.kernels() is not None and filters.suits(module)
        return partial(filters.convolved, stride=stride) if tiles else None
    if execution.precision != "fp32":
        return None
    if execution.native and winograd.suits(module):
        return partial(winograd.convolved)
    return partial(products.convolved, stride=stride) if products.gains(module) else None


def _own(module: nn.Conv2d) -> bool:
    """Whether a convolution is computed as torch does it: neither its class nor anybody else has another way."""
    return type(module)._conv_forward is nn.Conv2d._conv_forward and "_conv_forward" not in module.__dict__


def any_winograd(net: nn.Module) -> bool:
    """Whether Winograd's algorithm suits one of a network's convolutions."""
    return any(map(winograd.suits, net.modules()))


def any_products(net: nn.Module) -> bool:
    """Whether one of a network's convolutions gains by being a matrix product."""
    return any(isinstance(module, nn.Conv2d) and products.gains(module) for module in net.modules())
