"""The arithmetic of convolutions, by hand and without torch: what a kernel, a stack or a bottleneck costs and sees.

docs/ARITHMETIC.md shows it at work. Sizes and kernels are sides of squares, in pixels. The parameters of a convolution
are its weights (a normalisation stands in for the bias); those of a fully connected layer include its biases, as VGG's
do. Multiply-adds are for one image.

[R] arXiv 1512.03385, [VGG] arXiv 1409.1556, [NiN] Network in Network arXiv 1312.4400, [GoogLeNet] arXiv 1409.4842.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from resnets.errors import InputError


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Side of the map that a convolution or a pooling makes: floor((size + 2·padding − reach) / stride) + 1.

    `reach` = dilation·(kernel − 1) + 1 is the side of the window; `padding` is that of one border.

    Raises:
        InputError: a number that is not whole or too small, or a window that does not fit into the padded map.
    """
    _check(size=size, kernel=kernel, stride=stride, dilation=dilation)
    _check(least=0, padding=padding)
    reach = dilation * (kernel - 1) + 1
    if reach > size + 2 * padding:
        raise InputError(
            f"a window of {reach} pixels does not fit into a map of {size} with a padding of {padding}: expected a"
            " larger map, a smaller kernel or more padding"
        )
    return (size + 2 * padding - reach) // stride + 1


def receptive_field(
    kernels: Sequence[int], strides: Sequence[int] | None = None, dilations: Sequence[int] | None = None
) -> int:
    """Side of the square of input pixels that one output pixel of a stack of convolutions or poolings sees.

    Each layer adds dilation·(kernel − 1) steps, a step being the product of the strides before it (Araujo, Norris and
    Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, equation 2).

    Args:
        kernels: from the input on; an empty stack sees one pixel.
        strides: one for each kernel; None means 1.
        dilations: one for each kernel; None means 1.

    Raises:
        InputError: a number that is not a whole one from 1, or strides or dilations of another length than the kernels.
    """
    strides = [1] * len(kernels) if strides is None else strides
    dilations = [1] * len(kernels) if dilations is None else dilations
    for name, values in (("strides", strides), ("dilations", dilations)):
        if len(values) != len(kernels):
            raise InputError(f"{name}: expected one for each of the {len(kernels)} kernels, not {len(values)}")
    field, step = 1, 1
    for kernel, stride, dilation in zip(kernels, strides, dilations, strict=True):
        _check(kernel=kernel, stride=stride, dilation=dilation)
        field += step * dilation * (kernel - 1)
        step *= stride
    return field


def convolution_parameters(inputs: int, outputs: int, kernel: int, groups: int = 1) -> int:
    """Weights of a kernel x kernel convolution from `inputs` to `outputs` channels, without bias.

    Raises:
        InputError: a number that is not a whole one from 1, or channels that `groups` does not divide.
    """
    _check(inputs=inputs, outputs=outputs, kernel=kernel, groups=groups)
    if inputs % groups or outputs % groups:
        raise InputError(f"groups: {groups} does not divide {inputs} and {outputs} channels; expected a common divisor")
    return inputs // groups * outputs * kernel**2


def linear_parameters(*widths: int) -> int:
    """Weights and biases of a chain of fully connected layers: `linear_parameters(25088, 4096)` is one layer.

    Raises:
        InputError: fewer than two widths, or one that is not a whole number from 1.
    """
    if len(widths) < 2:
        raise InputError(f"a fully connected layer needs two widths, inputs and outputs, not {len(widths)}")
    for width in widths:
        _check(width=width)
    return sum((before + 1) * after for before, after in pairwise(widths))


@dataclass(frozen=True)
class Convolution:
    """One convolution, for `measure`: its channels, and its window as in `output_size`.

    Raises:
        InputError: on any of the grounds of `output_size` and `convolution_parameters`.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        convolution_parameters(self.inputs, self.outputs, self.kernel, self.groups)
        _check(stride=self.stride, dilation=self.dilation)
        _check(least=0, padding=self.padding)

    def __str__(self) -> str:
        return f"{self.kernel}x{self.kernel} {self.inputs}→{self.outputs}"


@dataclass(frozen=True)
class Figures:
    """What some layers give and cost, for one image: output map and receptive field by their sides, in pixels."""

    name: str
    output_size: int
    receptive_field: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Comparison:
    """Two ways to the same end. `print` it for a table."""

    first: Figures
    second: Figures

    @property
    def ratio(self) -> float:
        """Parameters of the first for one parameter of the second."""
        return self.first.parameters / self.second.parameters

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "output", "receptive field", "parameters", "multiply-adds")]
        for each in (self.first, self.second):
            numbers = (each.output_size, each.receptive_field, each.parameters, each.multiply_adds)
            rows.append((each.name, *(f"{number:,}" for number in numbers)))
        name, *columns = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            row[0].ljust(name) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], columns, strict=True))
            for row in rows
        ]
        saved = 100 * (1 - self.ratio)
        lines.append(f"{self.ratio:.3f} of the parameters: {abs(saved):.1f} % {'fewer' if saved >= 0 else 'more'}")
        return "\n".join(lines)


def measure(stack: Sequence[Convolution], size: int, name: str = "") -> Figures:
    """Figures of convolutions, one after the other, on maps of `size` x `size`.

    Raises:
        InputError: an empty stack, channels that do not meet, or a map that becomes smaller than a window.
    """
    if not stack:
        raise InputError("an empty stack has no figures; expected at least one Convolution")
    for before, after in pairwise(stack):
        if before.outputs != after.inputs:
            raise InputError(f"{after} cannot follow {before}: expected {before.outputs} input channels")
    parameters = multiply_adds = 0
    for each in stack:
        weights = convolution_parameters(each.inputs, each.outputs, each.kernel, each.groups)
        size = output_size(size, each.kernel, each.stride, each.padding, each.dilation)
        parameters += weights
        multiply_adds += weights * size**2  # every weight is used once at every position of the output
    field = receptive_field([x.kernel for x in stack], [x.stride for x in stack], [x.dilation for x in stack])
    return Figures(name or ", ".join(map(str, stack)), size, field, parameters, multiply_adds)


def stack_against_kernel(kernels: Sequence[int], channels: int, size: int) -> Comparison:
    """A stack of small kernels against the one kernel that sees as much ([VGG], section 2.3).

    Stride 1, no padding, `channels` in and out throughout, on maps of `size` x `size`.

    Raises:
        InputError: on the grounds of `measure`.
    """
    stack = [Convolution(channels, channels, kernel) for kernel in kernels]
    return Comparison(measure(stack, size), measure([Convolution(channels, channels, receptive_field(kernels))], size))


def bottleneck_against_basic(channels: int, reduced: int, size: int) -> Comparison:
    """1x1, 3x3 and 1x1 convolutions by way of `reduced` channels against two 3x3 at full width ([R], figure 5).

    Stride 1, maps of `size` x `size` kept by padding.

    Raises:
        InputError: on the grounds of `measure`.
    """
    full = Convolution(channels, channels, 3, padding=1)
    narrow = [
        Convolution(channels, reduced, 1),
        Convolution(reduced, reduced, 3, padding=1),
        Convolution(reduced, channels, 1),
    ]
    return Comparison(measure(narrow, size), measure([full, full], size))


def reduced_against_direct(inputs: int, reduced: int, outputs: int, kernel: int, size: int) -> Comparison:
    """A 1x1 convolution to `reduced` channels before a large kernel, against the kernel alone ([GoogLeNet], section 4).

    Stride 1, an odd kernel, maps of `size` x `size` kept by padding.

    Raises:
        InputError: an even kernel, or on the grounds of `measure`.
    """
    _check(kernel=kernel)
    if kernel % 2 == 0:
        raise InputError(f"kernel: expected an odd one, which keeps the map's size when padded, not {kernel}")
    padding = kernel // 2
    through = [Convolution(inputs, reduced, 1), Convolution(reduced, outputs, kernel, padding=padding)]
    return Comparison(measure(through, size), measure([Convolution(inputs, outputs, kernel, padding=padding)], size))


def pooling_against_flattening(channels: int, widths: Sequence[int], size: int) -> Comparison:
    """Global average pooling and one fully connected layer against layers on the flattened map ([NiN], section 3.2).

    Pooling has no parameters and no multiply-adds, only additions. Both see the whole map.

    Args:
        channels: maps before the head.
        widths: outputs of the fully connected layers on the flattened map; the last is the number of classes.
        size: side of these maps; VGG-19: `pooling_against_flattening(512, (4096, 4096, 1000), 7)`.

    Raises:
        InputError: no width, or a number that is not a whole one from 1.
    """
    _check(channels=channels, size=size)
    figures = []
    for name, chain in (
        ("pooling", (channels, *widths[-1:])),
        ("flattening", (channels * size**2, *widths)),
    ):
        named = f"{name}, {'→'.join(map(str, chain))}"
        weights = sum(math.prod(pair) for pair in pairwise(chain))
        figures.append(Figures(named, 1, size, linear_parameters(*chain), weights))
    return Comparison(*figures)


def _check(least: int = 1, **numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}: expected a whole number from {least}, not {value!r}")
