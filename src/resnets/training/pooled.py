"""Max pooling of 2x2 in training, on processors: pooled.c as a function that torch can differentiate.

Values and gradients are torch's to the bit; torch keeps eight bytes for each value to find where it came from, pooled.c
one.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.training.kernels import CHANNELS, MACROS, compiled, last, readable

_SOURCE = Path(__file__).with_suffix(".c")


def kernels(dtype: torch.dtype = torch.float32) -> ctypes.CDLL | None:
    """The compiled functions for activations of that kind; None without a compiler, or for a processor without AVX2."""
    return compiled(_SOURCE, *MACROS[dtype])


def suits(pool: nn.Module, x: Tensor) -> bool:
    """Whether this is max pooling of 2x2 without overlap, channels in sixteens, whose gradient will be asked for."""
    return (
        type(pool) is nn.MaxPool2d and pool.kernel_size in (2, (2, 2)) and pool.stride in (2, (2, 2))
        and pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1)) and not pool.ceil_mode
        and not pool.return_indices and torch.is_grad_enabled() and x.requires_grad
        and not torch.compiler.is_compiling()  # its tensors have no memory
        and x.dim() == 4 and x.numel() > 0 and not x.shape[1] % CHANNELS and min(x.shape[2:]) > 1
        and x.dtype in MACROS and readable(x, x.dtype) and kernels(x.dtype) is not None
    )  # fmt: skip


def pooled(x: Tensor) -> Tensor:
    """The largest of each 2x2 of x [B, C, H, W], where `suits`.

    Returns:
        [B, C, ⌊H/2⌋, ⌊W/2⌋], channels_last; it can be differentiated once.
    """
    made: Tensor = _Pooled.apply(x)
    return made


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = last(x)
        count, channels, height, width = ctx.shape = x.shape
        made, which = (
            torch.empty(
                (count, channels, height // 2, width // 2), dtype=dtype, device="cpu", memory_format=torch.channels_last
            )
            for dtype in (x.dtype, torch.uint8)
        )
        _call("pooled_forward", x.dtype, (x, made, which), ctx.shape)
        ctx.save_for_backward(which)
        ctx.dtype = x.dtype
        return made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        found = torch.empty(ctx.shape, dtype=ctx.dtype, device="cpu", memory_format=torch.channels_last)
        _call("pooled_backward", ctx.dtype, (last(gradient.to(ctx.dtype)), which, found), ctx.shape)
        return found


def _call(name: str, dtype: torch.dtype, tensors: tuple[Tensor, ...], shape: torch.Size) -> None:
    count, channels, height, width = shape
    found = kernels(dtype)
    assert found is not None
    sizes = [ctypes.c_long(size) for size in (count, height, width, channels, torch.get_num_threads())]
    getattr(found, name)(*(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors), *sizes)
