"""The convolutions of a network alone: what no training step with these convolutions can be below."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.steps import LAST, PLAIN, Case, small
from resnets.training import products, winograd


def bare(case: Case, precision: str) -> Callable[[], list[float]]:
    """Measures CPU seconds of all convolutions of a network alone: by oneDNN, and each in the way that takes least.

    In bf16 oneDNN's are the only ones, of maps and filters that are bf16 already.
    """
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    found: Counter[tuple[int, ...]] = Counter()
    net = small(case)
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda layer, args, _: found.update([(
                layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], args[0].shape[-1]
            )]))  # fmt: skip
    with torch.no_grad():
        net(torch.zeros(2, 3, case.side, case.side))

    def measure() -> list[float]:
        totals = [0.0, 0.0]
        for (inputs, outputs, kernel, stride, side), times in found.items():
            ways = [(functional.conv2d, PLAIN), (functional.conv2d, LAST)]
            layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            if precision == "fp32":
                ways += [(by_products, LAST)] if products.gains(layer) else []
                ways += [(by_winograd, LAST)] if winograd.suits(layer) and winograd.kernels() else []
            seconds = []
            for way, layout in ways:
                x = torch.randn(case.batch, inputs, side, side, dtype=dtype).contiguous(memory_format=layout)
                weight = torch.randn(outputs, inputs, kernel, kernel, dtype=dtype).contiguous(memory_format=layout)
                x.requires_grad_(inputs > 3), weight.requires_grad_()
                gradient = torch.ones_like(way(x, weight, None, stride, kernel // 2))
                seconds.append(least_of_two(way, x, weight, gradient, stride))
            totals[0] += times * min(seconds[:2])
            totals[1] += times * min(seconds)
        return totals

    return measure


def by_products(x: Tensor, weight: Tensor, bias: None, stride: int, padding: int) -> Tensor:
    return products.convolved(x, weight, bias, stride=stride)


def by_winograd(x: Tensor, weight: Tensor, bias: None, stride: int, padding: int) -> Tensor:
    return winograd.convolved(x, weight, bias)


def least_of_two(way: Callable[..., Tensor], x: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> float:
    """CPU seconds of a convolution forward and backward."""
    found = []
    for _ in range(2):
        began = time.process_time()
        made = way(x, weight, None, stride, weight.shape[-1] // 2)
        torch.autograd.grad(made, [part for part in (x, weight) if part.requires_grad], gradient)
        found.append(time.process_time() - began)
    return min(found)
