"""The paths through a network: how many there are, and how long.

"Residual networks behave like ensembles of relatively shallow networks" (arXiv 1605.06431, section 3): a unit with a
shortcut can be passed in two ways, so that n of them unravel into 2^n paths, most of them half as long as the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest

from resnets.inspection.layers import INPUT, Layer, Trace

WEIGHTED = ("conv", "linear")


@dataclass(frozen=True)
class Paths:
    """The paths from image to logits.

    Attributes:
        depth: weight layers on the longest.
        shallowest: weight layers on the shortest.
        count: how many paths there are.
        units: residual functions with a shortcut past them.
        shares: share of the paths that pass through 0, 1, …, `units` residual functions.
        mean: residual functions that a path passes through, on average.
    """

    depth: int
    shallowest: int
    count: int
    units: int
    shares: tuple[float, ...]
    mean: float

    def within(self, share: float = 0.95) -> tuple[int, int]:
        """The narrowest range of lengths around the middle that holds at least this share of the paths."""
        low, high, held = 0, len(self.shares) - 1, 1.0
        while low < high:
            side = low if self.shares[low] <= self.shares[high] else high
            if held - self.shares[side] < share:
                break
            held -= self.shares[side]
            low, high = (low + 1, high) if side == low else (low, high - 1)
        return low, high


def paths(trace: Trace) -> Paths:
    """Follow every path of a trace at once.

    A gate (whatever has gone through a sigmoid) modulates what it is multiplied with, and is no path of its own.
    """
    layers = trace.layers
    depths = weight_depths(layers, max)
    shallow = weight_depths(layers, min)
    polynomials = _polynomials(layers, depths)
    counts = polynomials[trace.output]
    total = sum(counts)
    return Paths(
        depth=depths[trace.output],
        shallowest=shallow[trace.output],
        count=total,
        units=len(counts) - 1,
        shares=tuple(float(Fraction(count, total)) for count in counts),
        mean=float(Fraction(sum(length * count for length, count in enumerate(counts)), total)),
    )


def routes(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """The inputs of every layer that carry a path: all but the gates."""
    gates: set[int] = set()
    found = []
    for place, layer in enumerate(layers):
        carriers = tuple(source for source in layer.inputs if source not in gates)
        if layer.kind == "sigmoid" or not carriers:
            gates.add(place)
        found.append(carriers or layer.inputs)
    return found


def weight_depths(layers: Sequence[Layer], choose: Callable[[list[int]], int] = max) -> list[int]:
    """Weight layers on the longest (or, with `min`, the shortest) path to every layer."""
    found: list[int] = []
    for layer, sources in zip(layers, routes(layers), strict=True):
        before = [0 if source == INPUT else found[source] for source in sources]
        found.append(choose(before) + (layer.kind in WEIGHTED))
    return found


def _polynomials(layers: Sequence[Layer], depths: Sequence[int]) -> list[list[int]]:
    """For every layer, how many paths reach it through 0, 1, … residual functions."""
    found: list[list[int]] = []
    for layer, sources in zip(layers, routes(layers), strict=True):
        reached = [[1] if source == INPUT else found[source] for source in sources]
        if layer.kind == "add" and len(sources) == 2:
            # The residual function is the branch with more weight layers on it.
            long = [0 if source == INPUT else depths[source] for source in sources]
            residual = int(long[1] > long[0])
            reached[residual] = [0, *reached[residual]]
        if len(reached) == 1:
            found.append(reached[0])
            continue
        found.append([sum(terms) for terms in zip_longest(*reached, fillvalue=0)])
    return found
