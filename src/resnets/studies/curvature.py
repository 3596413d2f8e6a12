"""How convex a measured surface is: the principal curvatures of a grid, by finite differences.

[L] arXiv 1712.09913, section 6: the principal curvatures of a random slice are weighted means of those of the whole
surface, so a slice that is not convex shows that the whole is not; one that is convex shows that convexity dominates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def principal_curvatures(z: Sequence[Sequence[float]], step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smaller and the larger eigenvalue of the Hessian at every inner point, by central differences.

    Args:
        z: the surface, a row for each y, equally spaced by `step` in x and y.
        step: distance of neighbours.

    Returns:
        Two arrays of two rows and two columns less than `z`.
    """
    surface = np.asarray(z, dtype=np.float64)
    middle = surface[1:-1, 1:-1]
    across = (surface[1:-1, 2:] - 2 * middle + surface[1:-1, :-2]) / step**2
    down = (surface[2:, 1:-1] - 2 * middle + surface[:-2, 1:-1]) / step**2
    mixed = (surface[2:, 2:] - surface[2:, :-2] - surface[:-2, 2:] + surface[:-2, :-2]) / (4 * step**2)
    mean, half = (across + down) / 2, np.sqrt(((across - down) / 2) ** 2 + mixed**2)
    return mean - half, mean + half


def non_convexity(z: Sequence[Sequence[float]], step: float) -> float:
    """Percent of |least| in |least| + |largest| curvature where the least is negative, mean over the inner points.

    0: convex everywhere on the grid; 50: as strongly curved down as up. Points whose neighbours are not finite are left
    out; nan if none is left.
    """
    with np.errstate(invalid="ignore"):
        least, largest = principal_curvatures(z, step)
        size = np.abs(least) + np.abs(largest)
        share = np.where(size > 0, np.maximum(0.0, -least) / np.where(size > 0, size, 1.0), 0.0)
    kept = np.isfinite(size)
    return 100 * float(share[kept].mean()) if kept.any() else float("nan")


def negative_share(z: Sequence[Sequence[float]], step: float) -> float:
    """Percent of the inner points with a negative curvature in some direction; nan if no point is finite."""
    with np.errstate(invalid="ignore"):
        least, _ = principal_curvatures(z, step)
    kept = least[np.isfinite(least)]
    return 100 * float((kept < 0).mean()) if kept.size else float("nan")
