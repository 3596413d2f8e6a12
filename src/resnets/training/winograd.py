"""Convolutions by Winograd's algorithm, on processors, in fp32: winograd.c as operators that torch can differentiate.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): F(4x4, 3x3) needs 36 multiplications where
a convolution has 144. It is the same function, and the gradients are its exact adjoint, but rounded otherwise: some
1e-6 of a layer's size from the exact value where oneDNN is 3e-7 away, and up to 2e-5 in the gradient of filters that
is summed over thousands of tiles (docs/LOG.md).
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
PADDED = 24  # inputs from which it pays to put zeros behind them up to the next sixteen
SMALLEST = 3  # side from which a map's tiles hold fewer products than the convolution has


def kernels() -> ctypes.CDLL | None:
    """The compiled functions; None without a compiler, and on processors without AVX2, where they do not pay."""
    return compiled(_SOURCE)


def suits(module: nn.Module) -> bool:
    """Whether a layer is such a convolution: 3x3, stride 1, padding 1, channels about sixteens, no groups, no bias."""
    return (
        isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.stride == (1, 1)
        and module.padding == (1, 1) and module.dilation == (1, 1) and module.groups == 1 and module.bias is None
        and module.padding_mode == "zeros" and not module.out_channels % CHANNELS
        and (not module.in_channels % CHANNELS or module.in_channels >= PADDED)
    )  # fmt: skip


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of x [B, C, H, W] with filters [K, C, 3, 3], padded by 1.

    Returns:
        [B, K, H, W], channels_last; by Winograd's algorithm where gradients are asked for, else as torch does it.
    """
    fits = x.dim() == 4 and x.shape[1] == weight.shape[1] and min(x.shape[2:]) >= SMALLEST
    if not (fits and readable(x) and readable(weight) and bias is None and torch.is_grad_enabled()):
        return functional.conv2d(x, weight, bias, 1, 1)
    if torch.compiler.is_compiling():
        return OUTPUTS(x, weight)
    made: Tensor = _Winograd.apply(x, weight)
    return made


def _outputs(x: Tensor, weight: Tensor) -> Tensor:
    x, weight = _ready(x), _ready(weight)
    made = _shape_of_outputs(x, weight)
    _call("winograd_forward", (x, weight, made), x.shape, len(weight), backward=False)
    return made


def _gradients(gradient: Tensor, x: Tensor, weight: Tensor, of_images: bool, of_filters: bool) -> tuple[Tensor, Tensor]:
    """The gradients of x and the filters, given that of the outputs; one that is not asked for is empty."""
    inputs = x.shape[1]
    gradient, x, weight = _ready(gradient), _ready(x), _ready(weight)
    images, filters = _shapes_of_gradients(gradient, x, weight, of_images, of_filters)
    _call("winograd_backward", (x, weight, gradient, images, filters), x.shape, len(weight), backward=True)
    if x.shape[1] > inputs:
        images, filters = (last(made[:, :inputs]) if len(made) else made for made in (images, filters))
    return images, filters


def _call(name: str, tensors: tuple[Tensor, ...], shape: torch.Size, outputs: int, *, backward: bool) -> None:
    count, channels, height, width = shape
    numbers = [ctypes.c_long(n) for n in (count, height, width, channels, outputs, torch.get_num_threads())]
    found = kernels()
    assert found is not None
    room = scratch(found.winograd_room(*numbers, int(backward)))
    pointers = [ctypes.c_void_p(tensor.data_ptr() if len(tensor) else None) for tensor in (*tensors, room)]
    getattr(found, name)(*pointers, *numbers)


def _shape_of_outputs(x: Tensor, weight: Tensor) -> Tensor:
    count, _, height, width = x.shape
    return x.new_empty(count, height, width, len(weight)).permute(0, 3, 1, 2)


def _shapes_of_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, of_images: bool, of_filters: bool
) -> tuple[Tensor, Tensor]:
    images, filters = (
        torch.empty_like(kept, memory_format=torch.channels_last) if wanted else kept.new_empty(0)
        for kept, wanted in ((x, of_images), (weight, of_filters))
    )
    return images, filters


# Operators of their own, so that torch's compiler takes them as they are. A call of one takes 0.2 to 0.3 ms more than
# a plain function's, which networks that are not compiled are spared.
OUTPUTS = torch.library.custom_op("resnets::winograd", _outputs, mutates_args=())
GRADIENTS = torch.library.custom_op("resnets::winograd_gradients", _gradients, mutates_args=())


def _backward(ctx: Any, gradient: Tensor, gradients: Any = GRADIENTS) -> tuple[Tensor | None, Tensor | None]:
    wanted = ctx.needs_input_grad[:2]
    images, filters = gradients(gradient, *ctx.saved_tensors, *wanted)
    return images if wanted[0] else None, filters if wanted[1] else None


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _outputs(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return _backward(ctx, gradient, _gradients)


def _ready(tensor: Tensor) -> Tensor:
    """In channels_last, with zeros behind the channels up to the next sixteen."""
    missing = -tensor.shape[1] % CHANNELS
    if not missing:
        return last(tensor)
    return functional.pad(tensor.permute(0, 2, 3, 1), (0, missing)).permute(0, 3, 1, 2)


OUTPUTS.register_fake(_shape_of_outputs)
OUTPUTS.register_autograd(_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
GRADIENTS.register_fake(_shapes_of_gradients)
