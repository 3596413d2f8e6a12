"""Plots of many cases in few bytes: dots of which a few hundred are drawn, smooth lines, and the figure around them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from resnets.pages.ink import PLACEHOLDERS, drawing, inline_svg, render, short, thousands
from resnets.pages.page import light

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
Colours = Mapping[str, str]

POINTS = 500  # cases drawn of many
MARKED = 10  # the largest residuals, marked in every plot
FEW = 10  # different values of a column up to which means stand for the smooth line
_SIZE = (4.6, 2.9)  # inches


@dataclass(frozen=True)
class Plot:
    """One figure: `name` is that of its file, `draw` draws it into empty axes in colours by a page's names."""

    name: str
    title: str
    caption: str
    draw: Callable[[Axes, Colours], None]


def inline(plot: Plot, key: str = "") -> str:
    """Return the plot as SVG for a page, in the page's own colours; `key` is unique on the page."""
    return _compact(
        inline_svg(short(plot.title, 110), _SIZE, partial(_whole, plot, PLACEHOLDERS), key=key or plot.name)
    )


def file(plot: Plot) -> bytes:
    """Return the plot as an SVG file that stands alone: on white, its letters as outlines; the same bytes each time."""
    from matplotlib.figure import Figure

    colours = light()
    with drawing(plot.name, colours, svg_fonttype="path", figure_facecolor=colours["paper"]):
        figure = Figure(figsize=_SIZE, layout="constrained")
        _whole(plot, colours, figure)
        return _compact(render(figure).decode()).encode()


def largest_of(residuals: Numbers, most: int = MARKED) -> NDArray[np.intp]:
    """Return the places of the largest absolute residuals, the largest first."""
    return np.argsort(-np.abs(residuals), kind="stable")[:most]


def thinned_words(n: int) -> str:
    """Return what to say of a plot in which not every case is drawn, with a space before it; nothing of others."""
    if n <= POINTS:
        return ""
    return f" Of {n:,} cases {POINTS:,} are drawn, among them the {MARKED} largest residuals; lines are of all."


def _drawn(x: Numbers, kept: NDArray[np.intp]) -> NDArray[np.intp]:
    """The cases to draw of many: evenly by their rank along x, without those that are marked anyway."""
    order = np.argsort(x, kind="stable")
    order = order[~np.isin(order, kept)]
    most = POINTS - len(kept)
    return order if len(order) <= most else order[np.linspace(0, len(order) - 1, most).round().astype(np.intp)]


def scatter(axes: Axes, x: Numbers, y: Numbers, marked: NDArray[np.intp], colours: Colours) -> None:
    """Draw cases as dots, `POINTS` of many, and those that are marked as rings."""
    drawn = _drawn(x, marked)
    axes.plot(
        x[drawn], y[drawn], linestyle="", marker="o", markersize=3, markeredgewidth=0, color=colours["first"],
        alpha=0.75 if len(drawn) < 200 else 0.5,
    )  # fmt: skip
    axes.plot(
        x[marked], y[marked], linestyle="", marker="o", markersize=4.2, markerfacecolor="none", markeredgewidth=1,
        color=colours["second"],
    )  # fmt: skip


def smooth(axes: Axes, x: Numbers, y: Numbers, colours: Colours) -> None:
    """Draw a line through the middle of y: lowess, or means where x has few values."""
    values = np.unique(x[: 4 * FEW]) if len(x) else x
    if len(values) <= FEW:
        values = np.unique(x)
    if len(values) <= FEW:
        heights = np.array([y[x == value].mean() for value in values])
        axes.plot(values, heights, color=colours["ink"], linewidth=1.4, marker="_", markersize=14)
        return
    from statsmodels.nonparametric.smoothers_lowess import lowess

    line = lowess(y, x, frac=0.5, it=3, delta=0.01 * float(np.ptp(x)))
    if len(line) > 150:
        line = line[np.linspace(0, len(line) - 1, 150).round().astype(int)]
    line = line[np.isfinite(line).all(1)]
    axes.plot(line[:, 0], line[:, 1], color=colours["ink"], linewidth=1.4)


def _whole(plot: Plot, colours: Colours, figure: Figure) -> None:
    axes = figure.add_subplot()
    axes.set_title("\n".join(textwrap.wrap(short(plot.title, 110), 56)))
    axes.grid(True, color=colours["rule"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    plot.draw(axes, colours)
    for axis in (axes.xaxis, axes.yaxis):
        if max(abs(bound) for bound in axis.get_view_interval()) < 1e6:
            axis.set_major_formatter(thousands)
    axes.locator_params(axis="x", nbins=6)


def _compact(svg: str) -> str:
    """The same figure in fewer bytes: hundreds of dots need no six decimals, nor a style each."""
    svg = re.sub(r'(<use xlink:href="[^"]*" x="-?\d+\.\d)\d*(" y="-?\d+\.\d)\d*(")', r"\1\2\3", svg)
    alike = r'<use [^>]*? style="([^"]*)"/>(?:\s*<use [^>]*? style="\1"/>)+'
    return re.sub(alike, _grouped, svg)


def _grouped(dots: re.Match[str]) -> str:
    style = f' style="{dots[1]}"'
    return f"<g{style}>{dots[0].replace(style, '')}</g>"
