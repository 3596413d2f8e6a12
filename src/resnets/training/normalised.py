"""Batch normalisation in training, on processors: normalised.c as a function that torch can differentiate.

Ioffe and Szegedy, "Batch Normalization" (arXiv 1502.03167), algorithm 1. The addition and the ReLU that follow it are
done in the same passes over the activations, and a ReLU's gradient in those of the normalisation's. In bf16, where only
activations and their gradients are, as in torch's autocast, the sum that a ReLU takes is rounded once, while separate
layers round it two or three times.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.training.kernels import MACROS, compiled, last, readable, scratch

_SOURCE = Path(__file__).with_suffix(".c")
_SECOND = "_resnets_second"  # attribute of a result: the same once more
_forking = ContextVar("_forking", default=False)
_CHANNELS = 8  # channels are multiples of it
_NUMBERS = 16  # and all numbers of images of this: what a vector of AVX-512 reads at the end


def kernels(dtype: torch.dtype = torch.float32) -> ctypes.CDLL | None:
    """The compiled functions for activations of that kind; None without a compiler, or for a processor without AVX2."""
    return compiled(_SOURCE, *MACROS[dtype])


def suits(norm: nn.Module, x: Tensor) -> bool:
    """Whether this is a batch normalisation in training, of channels in eights, whose gradients will be asked for."""
    return (
        type(norm) is nn.BatchNorm2d and norm.training and not norm.num_features % _CHANNELS
        and torch.is_grad_enabled() and not torch.compiler.is_compiling()  # its tensors have no memory
        and x.dim() == 4 and x.shape[1] == norm.num_features and x.numel() > norm.num_features
        and not x.numel() % _NUMBERS
        and x.dtype in MACROS and readable(x, x.dtype) and kernels(x.dtype) is not None
        and all(readable(part) and (part is None or part.is_contiguous())
                for part in (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    )  # fmt: skip


def normalised(
    norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None, *, relu: bool = False, forks: bool = False
) -> Tensor:
    """bn(x), relu(bn(x)) or relu(bn(x) + shortcut), where `suits`; the running statistics change as the layer's do.

    Args:
        norm: the layer.
        x: [B, C, H, W].
        shortcut: [B, C, H, W], to be added; a ReLU follows.
        relu: whether a ReLU follows where nothing is added.
        forks: whether what follows a ReLU is a unit and its shortcut, which takes `second` of the result: it is then,
            within `forking`, another tensor.

    Returns:
        [B, C, H, W], channels_last; it can be differentiated once.
    """
    share = 0.0 if norm.momentum is None else norm.momentum
    if norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # the mean of all batches
            share = 1.0 / float(norm.num_batches_tracked)
    kept = (norm.running_mean, norm.running_var) if norm.track_running_stats else (None, None)
    forks = forks and (relu or shortcut is not None) and _forking.get()
    found = _Normalised.apply(x, shortcut, norm.weight, norm.bias, *kept, norm.eps, share, relu, forks)
    made: Tensor = found[0] if forks else found
    if forks:
        setattr(made, _SECOND, found[1])
    return made


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Around a forward pass of which nobody will ask for gradients but those of the weights: results may fork."""
    token = _forking.set(True)
    try:
        yield
    finally:
        _forking.reset(token)


def second(x: Tensor) -> Tensor:
    """x, once more, where it is the result of `normalised` that `forks`: for one of the two that take it.

    The two gradients are then summed in the normalisation's own pass over them, where torch would pass over them for
    that alone. What arrives at x is then only one of the two. So this is x where somebody has asked for that gradient,
    or changed x in place.
    """
    found: Tensor | None = getattr(x, _SECOND, None)
    return x if found is None or x._version or x._backward_hooks or x.retains_grad else found


class _Normalised(torch.autograd.Function):
    # No operator of torch's as Winograd's is, which takes 0.3 ms more a layer: compiled networks do without.
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor | None, bias: Tensor | None,
        running_mean: Tensor | None, running_var: Tensor | None, eps: float, share: float, relu: bool,
        forks: bool,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        x, shortcut = last(x), None if shortcut is None else last(shortcut)
        made = torch.empty_like(x)
        mean, rstd = (torch.empty(x.shape[1], dtype=torch.float32, device="cpu") for _ in range(2))
        tensors = (x, shortcut, weight, bias, running_mean, running_var, made, mean, rstd)
        _call("normalised_forward", x, tensors, relu, eps, share)
        # The sign of an output is computed from x again, unless there is more to it.
        ctx.save_for_backward(x, None if shortcut is None else made, weight, bias, mean, rstd)
        ctx.relu = relu
        ctx.set_materialize_grads(False)
        # No view: that would keep the tensor that it is an attribute of, so that neither would ever be freed.
        return (made, made.data) if forks else made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        x, made, weight, bias, mean, rstd = ctx.saved_tensors
        found = [
            torch.empty_like(x),
            None if made is None else torch.empty_like(x),
            *map(torch.empty_like, (mean, rstd)),
        ]
        parts = [last(gradient.to(x.dtype)) for gradient in gradients if gradient is not None]
        if not parts:
            return (None,) * 10
        tensors = (parts[0], parts[1] if parts[1:] else None, x, made, weight, bias, mean, rstd, *found)
        _call("normalised_backward", x, tensors, ctx.relu)
        wanted = ctx.needs_input_grad[:4]
        return (*(made if asked else None for made, asked in zip(found, wanted, strict=True)), *[None] * 6)


def _call(name: str, x: Tensor, tensors: tuple[Tensor | None, ...], relu: bool, *numbers: float) -> None:
    count, channels, height, width = x.shape
    threads = torch.get_num_threads()
    found = kernels(x.dtype)
    assert found is not None
    room = scratch(found.normalised_room(ctypes.c_long(channels), ctypes.c_long(threads)))
    places = [None if tensor is None else tensor.data_ptr() for tensor in (*tensors, room)]
    sizes = [ctypes.c_long(size) for size in (count * height * width, channels, relu, threads)]
    getattr(found, name)(*map(ctypes.c_void_p, places), *map(ctypes.c_double, numbers), *sizes)
