"""Receptive fields: which pixels one value of a map can see, followed operation by operation.

Along one axis, value o of a map sees the pixels from o·jump + low to o·jump + high, as in Araujo, Norris and Sim,
Computing Receptive Fields of Convolutional Neural Networks (Distill 2019); the smallest path stands beside the hull.
The mean and deviation that a normalisation takes over the map are left out, as is usual. What none of the rules below
follows (upsampling, maps whose axes are exchanged) makes a field unknown, not wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnets.inspection.operations import Operation


@dataclass(frozen=True)
class Axis:
    """A field along one axis, in pixels; padding counts as pixels of the image.

    Attributes:
        jump: distance between the fields of neighbouring values; None where every value sees the whole image.
        low, high: first and last pixel that value 0 sees over all paths.
        least: size of the field over the one path on which it is smallest.
        image: pixels of the image along this axis.
    """

    jump: int | None
    low: int
    high: int
    least: int
    image: int

    @property
    def most(self) -> int:
        """Size of the field over all paths together; the image's own size where it is all of it."""
        return self.image if self.jump is None else self.high - self.low + 1

    def moved(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> Axis:
        """After a window that slides over the map."""
        if self.jump is None:
            return self
        reach = (kernel - 1) * dilation * self.jump
        start = padding * self.jump
        return replace(
            self,
            jump=self.jump * stride,
            low=self.low - start,
            high=self.high + reach - start,
            least=self.least + reach,
        )

    def gathered(self, length: int) -> Axis:
        """After all `length` values of the map are taken together."""
        if self.jump is None or length < 1:
            return self
        least = self.least + (length - 1) * self.jump
        return replace(self, jump=None, low=0, high=self.image - 1, least=min(least, self.image))


@dataclass(frozen=True)
class Field:
    """What one value of a map sees of the image.

    Attributes:
        axes: height and width; none for a vector from the start.
        known: whether every operation on the way was one whose field is known.
    """

    axes: tuple[Axis, ...]
    known: bool = True

    @classmethod
    def image(cls, size: Sequence[int]) -> Field:
        """A pixel sees itself."""
        return cls(tuple(Axis(1, 0, 0, 1, length) for length in size))

    @property
    def whole(self) -> bool:
        """Whether every value sees the whole image."""
        return all(axis.jump is None for axis in self.axes)

    def to_dict(self) -> dict[str, int | None]:
        """Smallest and largest size in pixels; None where they are not known."""
        return {"min": self.least, "max": self.most} if self.known else {"min": None, "max": None}

    @property
    def least(self) -> int:
        """Size over the smallest path, in pixels, along the axis where it is larger."""
        return max((axis.least for axis in self.axes), default=1)

    @property
    def most(self) -> int:
        """Size over all paths together, in pixels, along the axis where it is larger."""
        return max((axis.most for axis in self.axes), default=1)


def joined(fields: Sequence[Field]) -> Field:
    """The field of a value that is made from several, such as an addition."""
    first, *others = fields
    for other in others:
        known = first.known and other.known and len(other.axes) == len(first.axes)
        first = Field(tuple(_union(a, b) for a, b in zip(first.axes, other.axes, strict=False)), known)
    return first


def _union(a: Axis, b: Axis) -> Axis:
    least = min(a.least, b.least)
    if a.jump is None or b.jump is None:
        return replace(a, jump=None, low=0, high=a.image - 1, least=least)
    # Maps of one size keep one pace; where a broadcast mixes paces, the larger one stands for both.
    return replace(a, jump=max(a.jump, b.jump), low=min(a.low, b.low), high=max(a.high, b.high), least=least)


def field_of(operation: Operation, fields: Sequence[Field]) -> Field:
    """The field after an operation, from those of its inputs."""
    field = joined(fields)
    slide = operation.slide()
    if slide is not None:
        axes = tuple(axis.moved(*steps) for axis, steps in zip(field.axes, slide, strict=False))
        return replace(field, axes=axes)
    count = len(field.axes)
    before, after = (_positions(tensor.shape, count) for tensor in (operation.inputs[0], operation.output))
    if field.whole or not before or (before == after and not operation.exchanges(count)):
        return field
    if not after or math.prod(after) == 1:  # pooled over the map, or a vector made of all of it
        # A reshape keeps every value apart, but what follows mixes them: from here on a value belongs to the image.
        axes = tuple(axis.gathered(length) for axis, length in zip(field.axes, before, strict=True))
        return replace(field, axes=axes)
    if "adaptive" in operation.name and all(n >= m for n, m in zip(before, after, strict=True)):
        # Windows of at most this size.
        steps = [(-(-n // m) + (1 if n % m else 0), max(1, n // m), 0) for n, m in zip(before, after, strict=True)]
        return replace(field, axes=tuple(axis.moved(*step) for axis, step in zip(field.axes, steps, strict=True)))
    return replace(field, known=False)


def _positions(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """Lengths of the last `count` axes of a map; none for vectors, which have no more than two axes besides."""
    return tuple(shape[-count:]) if count and len(shape) >= count + 2 else ()
