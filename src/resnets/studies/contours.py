"""Surfaces drawn as filled contours, several beside each other on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from resnets.pages.ink import short, thousands
from resnets.studies.plots import Colours, finite
from resnets.studies.study import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = 14
_WIDE = 30  # times its least value: a surface that rises further has logarithmic levels, lest its floor be one colour


def surfaces(chart: Chart, figure: Figure, colours: Colours) -> None:
    """Panels of filled contours over one scale; what is not finite stays empty."""
    from matplotlib import colors, ticker

    grid = chart.grid or {}
    heights = {name: finite([value for row in panel["z"] for value in row]) for name, panel in grid.items()}
    if chart.log_y:
        heights = {name: np.where(z > 0, z, np.nan) for name, z in heights.items()}
    known = np.concatenate([z[np.isfinite(z)] for z in heights.values()] or [np.ones(0)])
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 2.0)
    if high <= low:
        high = low + max(1e-9, abs(low) * 1e-6)
    wide = low > 0 and (chart.log_y or high > _WIDE * low)
    levels = np.geomspace(low, high, _LEVELS) if wide else np.linspace(low, high, _LEVELS)
    norm = colors.LogNorm(low, high) if wide else colors.Normalize(low, high)
    columns = min(2, len(grid)) or 1
    drawn, filled = [], None
    for place, (name, panel) in enumerate(grid.items(), 1):
        axes = figure.add_subplot(math.ceil(len(grid) / columns), columns, place)
        x, y = finite(panel["x"]), finite(panel["y"])
        z = heights[name].reshape(len(y), len(x))
        axes.set_title(short(name, 30), fontsize=8.5)
        if np.isfinite(z).any():
            filled = axes.contourf(x, y, np.ma.masked_invalid(z), levels, norm=norm, cmap="viridis", extend="both")
            axes.contour(x, y, np.ma.masked_invalid(z), levels, colors="white", linewidths=0.35, alpha=0.6)
        axes.locator_params(nbins=4)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(thousands)
        axes.set_xlabel(chart.x_label)
        if place % columns == 1 or columns == 1:
            axes.set_ylabel(chart.y_label)
        axes.spines[:].set_linewidth(0.6)
        drawn.append(axes)
    if filled is not None:
        scale = figure.colorbar(filled, ax=drawn, shrink=0.85, ticks=ticker.FixedLocator(levels[::3].tolist()))
        scale.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        scale.ax.yaxis.set_minor_locator(ticker.NullLocator())
        scale.outline.set_linewidth(0.6)
