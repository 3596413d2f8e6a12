"""Convolutions in bf16 whose filters' gradient is summed by filters.c, on processors that multiply tiles (AMX).

Outputs and the images' gradient are oneDNN's, which is fast at them; the filters' gradient takes it twice to ten times
as long (docs/LOG.md). It is the same sum, in float32 and in another order, and is not rounded to bf16 at its end.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnets.training.kernels import CHANNELS, compiled, last, readable, scratch

_SOURCE = Path(__file__).with_suffix(".c")
ROOM = 2**28  # bytes that the sums of all threads may take: of large filters on many cores not every core gets some


def kernels() -> ctypes.CDLL | None:
    """The compiled functions; None without a compiler, and on processors without AMX."""
    return compiled(_SOURCE)


def suits(module: nn.Module) -> bool:
    """Whether a layer is such a convolution: 1x1 or 3x3, of stride 1 or 2, channels in sixteens, no groups, no bias."""
    return (
        isinstance(module, nn.Conv2d) and module.kernel_size in ((1, 1), (3, 3)) and module.stride in ((1, 1), (2, 2))
        and module.padding == (module.kernel_size[0] // 2,) * 2 and module.dilation == (1, 1) and module.groups == 1
        and module.bias is None and module.padding_mode == "zeros" and not module.out_channels % CHANNELS
        and not module.in_channels % CHANNELS
    )  # fmt: skip


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """The convolution of x [B, C, H, W] with filters [K, C, k, k], padded by k // 2, as torch's autocast computes it.

    Returns:
        [B, K, ⌈H/stride⌉, ⌈W/stride⌉] in bf16, channels_last; with gradients in our way where they are asked for within
        autocast to bf16, else as torch does it.
    """
    within = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    fits = x.dim() == 4 and x.shape[1] == weight.shape[1] and x.numel() > 0
    read = readable(weight) and (readable(x) or readable(x, torch.bfloat16))
    if not (within and fits and read and bias is None and torch.is_grad_enabled() and weight.requires_grad):
        return functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)
    made: Tensor = _Convolved.apply(x, weight, stride)
    return made


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        x, filters = last(x.bfloat16()), last(weight.bfloat16())
        ctx.save_for_backward(x, filters)
        ctx.stride = stride
        return functional.conv2d(x, filters, None, stride, weight.shape[-1] // 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, filters), stride, of_images = ctx.saved_tensors, ctx.stride, None
        gradient = last(gradient.bfloat16())
        if ctx.needs_input_grad[0]:
            pad = filters.shape[-1] // 2
            of_images = torch.ops.aten.convolution_backward(
                gradient, x, filters, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, [True, False, False]
            )[0]
        return of_images, gradient_of_filters(x, gradient, filters.shape[-1], stride), None


def gradient_of_filters(x: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """The gradient [K, C, k, k] in float32 of filters, given images and the gradient of the outputs.

    Args:
        x: [B, C, H, W] in bf16, channels_last.
        gradient: [B, K, ⌈H/stride⌉, ⌈W/stride⌉] in bf16, channels_last.
        kernel: 1 or 3.
        stride: 1 or 2.
    """
    (count, channels, height, width), outputs = x.shape, gradient.shape[1]
    found = kernels()
    assert found is not None
    threads = max(1, min(torch.get_num_threads(), ROOM // (4 * outputs * channels * kernel**2)))
    sizes = (count, height, width, channels, outputs, kernel, stride, threads)
    numbers = [ctypes.c_long(size) for size in sizes]
    made = torch.empty(outputs, kernel, kernel, channels, dtype=torch.float32, device="cpu").permute(0, 3, 1, 2)
    room = scratch(found.filters_room(*numbers))
    found.filters_gradient(*(ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, gradient, made, room)), *numbers)
    return made
