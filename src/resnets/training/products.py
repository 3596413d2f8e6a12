"""Convolutions with large filters as matrix products, where a processor gains by it (fp32; figures in docs/LOG.md).

oneDNN takes the images of a batch one after the other and goes through all filters, or all of their gradient, for each.
Where these are larger than a core's own cache, that is slower than one product over the whole batch, which takes the
images unfolded: every output's k·k·C inputs side by side. The sums are the same, in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGE = 2**18  # numbers in the filters from which their gradient gains: 1 MiB, the second cache of a Cascade Lake core
WIDE = 16  # columns of the output up to which the gradient of the filters gains
NARROW = 4  # columns of the output up to which the other two gain as well: oneDNN works on rows of pixels
PIECE = 2**23  # numbers that are unfolded at a time: 32 MiB


def gains(module: nn.Conv2d) -> bool:
    """Whether a convolution is plain and its filters large."""
    (kernel, height), (stride, down), padding = module.kernel_size, module.stride, module.padding
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    square = kernel == height and stride == down and padding == (kernel // 2, kernel // 2)
    return plain and square and kernel in (3, 5, 7) and module.weight.numel() >= LARGE


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """The convolution of x [B, C, H, W] with square filters [O, C, k, k], padded by k // 2.

    Returns:
        [B, O, ⌈H/stride⌉, ⌈W/stride⌉] for odd k; by matrix products where gradients are asked for, x and the filters
        are channels_last and there is no bias; else as torch does it.
    """
    last = all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    if bias is not None or not last or not torch.is_grad_enabled():
        return functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)
    return _outputs(x, weight, stride)


# Operators of their own, so that they are run as written in a compiled network too: of the sums over nine slices
# Inductor makes a kernel that g++ does not finish compiling in four minutes.
@torch.library.custom_op("resnets::convolved", mutates_args=())
def _outputs(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The convolution: oneDNN's, or by products where it is narrow."""
    kernel, width = weight.shape[-1], -(-x.shape[3] // stride)
    if width > NARROW:
        return functional.conv2d(x, weight, None, stride, kernel // 2)
    filters = _matrix(weight).t()
    rows = [unfolded @ filters for _, unfolded in _pieces(x, kernel, stride)]
    return torch.cat(rows).view(len(x), -1, width, len(weight)).permute(0, 3, 1, 2)


@torch.library.custom_op("resnets::gradient_of_filters", mutates_args=())
def _of_filters(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the filters [O, C, k, k], given that of the outputs."""
    outputs, kernel = gradient.permute(0, 2, 3, 1), weight.shape[-1]
    found = torch.zeros_like(_matrix(weight))
    for piece, unfolded in _pieces(x, kernel, stride):
        found.addmm_(outputs[piece].reshape(-1, len(weight)).t(), unfolded)
    return found.view(len(weight), kernel, kernel, -1).permute(0, 3, 1, 2)


@torch.library.custom_op("resnets::gradient_of_images", mutates_args=())
def _of_images(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of x [B, C, H, W], given that of narrow outputs: a window's share is added where it was taken."""
    count, channels, height, width = x.shape
    kernel, padding = weight.shape[-1], weight.shape[-1] // 2
    rows, columns = gradient.shape[2:]
    found = x.new_zeros(count, height + 2 * padding, width + 2 * padding, channels)
    for piece in _slices(count, rows * columns * kernel * kernel * channels):
        shares = gradient[piece].permute(0, 2, 3, 1).reshape(-1, len(weight)) @ _matrix(weight)
        shares = shares.view(-1, rows, columns, kernel, kernel, channels)
        for i in range(kernel):
            for j in range(kernel):
                down, right = (slice(k, k + stride * (n - 1) + 1, stride) for k, n in ((i, rows), (j, columns)))
                found[piece, down, right] += shares[:, :, :, i, j]
    inside = found[:, padding : padding + height, padding : padding + width]
    return inside.contiguous().permute(0, 3, 1, 2)


def _shape_of_outputs(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    made = x.new_empty(len(x), *(-(-side // stride) for side in x.shape[2:]), len(weight))
    return made.permute(0, 3, 1, 2)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.stride = inputs[2]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    (x, weight), stride = ctx.saved_tensors, ctx.stride
    (images, filters), pad, width = ctx.needs_input_grad[:2], weight.shape[-1] // 2, gradient.shape[3]
    torchs = [images and width > NARROW, filters and width > WIDE, False]
    of_images, of_filters, _ = (
        torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, torchs
        )
        if any(torchs)
        else (None, None, None)
    )
    if images and not torchs[0]:
        of_images = _of_images(gradient, x, weight, stride)
    if filters and not torchs[1]:
        of_filters = _of_filters(gradient, x, weight, stride)
    return of_images, of_filters, None


_outputs.register_fake(_shape_of_outputs)
_outputs.register_autograd(_backward, setup_context=_keep)
_of_filters.register_fake(lambda gradient, x, weight, stride: torch.empty_like(weight))
_of_images.register_fake(lambda gradient, x, weight, stride: torch.empty_like(x))


def _matrix(weight: Tensor) -> Tensor:
    """Filters [O, C, k, k] as [O, k·k·C]."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _pieces(x: Tensor, kernel: int, stride: int) -> Iterator[tuple[slice, Tensor]]:
    """Some images of x [B, C, H, W] at a time, and them unfolded: [outputs, k·k·C], one row an output pixel."""
    padding, channels = kernel // 2, x.shape[1]
    outputs = -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    for piece in _slices(len(x), outputs * kernel * kernel * channels):
        padded = functional.pad(x[piece].permute(0, 2, 3, 1), (0, 0, *[padding] * 4))
        windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride).permute(0, 1, 2, 4, 5, 3)
        yield piece, windows.reshape(-1, kernel * kernel * channels)


def _slices(images: int, numbers: int) -> Iterator[slice]:
    """The images in pieces of at most `PIECE` numbers, where one image has `numbers`."""
    count = max(1, PIECE // numbers)
    for begin in range(0, images, count):
        yield slice(begin, begin + count)
