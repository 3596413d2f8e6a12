"""Two ways to draw a chart: curves (or points), and bars."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnets.pages.ink import COLOURS, short, thinned, thousands
from resnets.studies.numbers import number
from resnets.studies.study import Chart, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "osD^vP*X"
ROOM = 56  # letters that stand beside each other under a chart
_OVER = 68  # and over it, where they are smaller
_BANDS = 40  # points from which an interval is a band and no bars

Colours = Mapping[str, str]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """How a line looks: `colour` is the name of a variable of the page, `strength` its opacity."""

    colour: str
    strength: float
    mark: str
    dashed: bool


def looks(lines: Sequence[Line]) -> list[Look]:
    """How each of the lines looks; up to 12 lines no two look alike."""
    groups = [line.group or line.name for line in lines]
    seen: Counter[tuple[str, bool]] = Counter()
    places = []
    for line, group in zip(lines, groups, strict=True):
        places.append(seen[group, line.dashed])
        seen[group, line.dashed] += 1
    if len(set(groups)) == 1:  # then colours are free to tell its lines apart
        groups, places = [str(place) for place in places], [0] * len(places)
    kinds = list(dict.fromkeys(groups))
    last = {group: max(p for p, other in zip(places, groups, strict=True) if other == group) for group in kinds}
    found = []
    for line, group, place in zip(lines, groups, places, strict=True):
        turn, kind = divmod(kinds.index(group), len(COLOURS))
        mark = place if any(last.values()) else kind
        strength = 1.0 if last[group] == 0 else 0.55 + 0.45 * place / last[group]
        found.append(Look(COLOURS[kind], strength, MARKS[(mark + 3 * turn) % len(MARKS)], line.dashed))
    return found


def words_of(chart: Chart) -> list[str]:
    """The words under the chart, in the order they come; empty where x are numbers (but under bars all are words)."""
    values = [x for line in chart.lines for x in line.x]
    if chart.kind == "bars" or any(isinstance(x, str) for x in values):
        return list(dict.fromkeys(short(number(x), 34) for x in values))
    return []


def is_sideways(chart: Chart) -> bool:
    """Whether the bars lie, because their words would not fit beside each other under standing ones."""
    words = words_of(chart)
    return chart.kind == "bars" and sum(len(word) + 2 for word in words) > ROOM


def legend_rows(chart: Chart) -> int:
    """Rows of the legend, which stands under the chart; a line without a name needs none."""
    names = [short(line.name, 44) for line in chart.lines if line.name]
    return math.ceil(len(names) / _columns(names)) if names else 0


def curves(chart: Chart, figure: Figure, colours: Colours) -> None:
    """Lines over x, with dots where the chart is of `points`; intervals as bands, of few points as error bars."""
    axes = figure.add_subplot()
    words = words_of(chart)
    styles = looks(chart.lines)
    marked = chart.kind == "points" or len(chart.lines) > 4 or len({look.strength for look in styles}) > 1
    for order, (line, look) in enumerate(zip(chart.lines, styles, strict=True)):
        x = [words.index(short(number(word), 34)) for word in line.x] if words else line.x
        place, y, low, high = thinned(*(finite(column, len(line.x)) for column in (x, line.y, line.low, line.high)))
        if chart.log_y:
            y, low, high = (np.where(column > 0, column, np.nan) for column in (y, low, high))
        style: dict[str, Any] = {"color": colours[look.colour], "alpha": look.strength}
        if line.low is not None and chart.kind == "points" and len(y) < _BANDS:
            axes.errorbar(place, y, _arms(y, low, high), fmt="none", capsize=2.5, elinewidth=1.1, **style)
        elif line.low is not None:
            axes.fill_between(place, low, high, color=colours[look.colour], alpha=0.16, linewidth=0)
        every = 1 if chart.kind == "points" and len(y) < _BANDS else max(1, len(y) // 7)
        axes.plot(
            place, y, label=short(line.name, 44) or "_", linestyle=(0, (3.5, 1.6)) if look.dashed else "-",
            marker=look.mark if marked or len(y) == 1 else "", markevery=(order * every // len(styles), every),
            markerfacecolor=colours["paper"] if look.dashed else colours[look.colour], markersize=4, linewidth=1.4,
            **style,
        )  # fmt: skip
    if words:
        axes.set_xlim(-0.5, len(words) - 0.5)
    else:
        axes.margins(x=0.02)
    _axes(figure, axes, chart, words, colours)
    if not words and chart.lines:
        whole = all(float(x).is_integer() for line in chart.lines for x in line.x)
        axes.locator_params(axis="x", nbins=6, integer=whole)
        axes.xaxis.set_major_formatter(thousands)
    _legend(figure, axes, chart)


def bars(chart: Chart, figure: Figure, colours: Colours) -> None:
    """Bars over words, those of several lines beside each other; lying ones where the words are long."""
    from matplotlib.patches import Patch

    axes = figure.add_subplot()
    words, lying = words_of(chart), is_sideways(chart)
    wide = 0.8 / max(1, len(chart.lines))
    handles = []
    for order, (line, look) in enumerate(zip(chart.lines, looks(chart.lines), strict=True)):
        y, low, high = (finite(column, len(line.x)) for column in (line.y, line.low, line.high))
        place = np.array([words.index(short(number(x), 34)) for x in line.x]) + (order + 0.5) * wide - 0.4
        fill: dict[str, Any] = {"color": colours[look.colour], "alpha": look.strength * (0.3 if look.dashed else 0.85)}
        (axes.barh if lying else axes.bar)(place, y, 0.92 * wide, **fill)
        handles.append(Patch(label=short(line.name, 44), **fill))
        if line.low is not None:
            where: dict[str, Any] = {"xerr" if lying else "yerr": _arms(y, low, high)}
            axes.errorbar(
                y if lying else place, place if lying else y, fmt="none", capsize=2.5, elinewidth=1,
                ecolor=colours["ink"], **where,
            )  # fmt: skip
    if not chart.log_y:
        (axes.axvline if lying else axes.axhline)(0, color=colours["muted"], linewidth=0.8)
    ends = (-0.5, max(1, len(words)) - 0.5)
    if lying:
        axes.set_ylim(*reversed(ends))
    else:
        axes.set_xlim(*ends)
    _axes(figure, axes, chart, words, colours, lying=lying)
    _legend(figure, axes, chart, handles)


def _axes(
    figure: Figure, axes: Axes, chart: Chart, words: Sequence[str], colours: Colours, *, lying: bool = False
) -> None:
    """Labels, rules, scales and the words along the axis."""
    from matplotlib import ticker

    along, up = (axes.yaxis, axes.xaxis) if lying else (axes.xaxis, axes.yaxis)
    axes.set_xlabel("\n".join(textwrap.wrap(chart.y_label if lying else chart.x_label, 40 if lying else ROOM)))
    tall = int(10 * figure.get_figheight())  # letters that stand over each other beside the chart
    axes.set_ylabel("\n".join(textwrap.wrap(chart.x_label if lying else chart.y_label, tall)))
    axes.grid(True, axis="both" if not words else "x" if lying else "y", color=colours["rule"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.log_y:
        (axes.set_xscale if lying else axes.set_yscale)("log")

        # Which marks between the powers of ten have a number is matplotlib's to say, and how it is written ours.
        class Plain(ticker.LogFormatter):
            def __call__(self, x: float, pos: int | None = None) -> str:
                return f"{x:g}" if super().__call__(x, pos) else ""

        up.set_major_formatter(Plain())
        up.set_minor_formatter(Plain(minor_thresholds=(1.6, 0.5)))
    else:
        up.set_major_formatter(thousands)
    if words:
        every = 1 if lying else math.ceil(len(words) / 21)
        shown = range(0, len(words), every)
        turned: dict[str, Any] = {"rotation": 90} if not lying and _crowded([words[k] for k in shown]) else {}
        (axes.set_yticks if lying else axes.set_xticks)(list(shown), [words[k] for k in shown], **turned)
        along.set_tick_params(length=0)
    places = [place for place, _ in chart.marks]
    for place in places:
        (axes.axhline if lying else axes.axvline)(place, color=colours["muted"], linewidth=0.9, linestyle=(0, (1, 1.5)))
    if places:
        names = [short(text, 24) for _, text in chart.marks]
        other = axes.secondary_yaxis("right") if lying else axes.secondary_xaxis("top")
        turned = {"rotation": 90} if not lying and _near(places, names, axes.get_xlim()) else {}
        (other.set_yticks if lying else other.set_xticks)(places, names, fontsize=7.5, **turned)
        other.tick_params(length=0)
        other.spines[:].set_visible(False)


def _legend(figure: Figure, axes: Axes, chart: Chart, handles: Sequence[Any] | None = None) -> None:
    names = [short(line.name, 44) for line in chart.lines if line.name]
    if names:
        lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
        figure.legend(
            handles=[handle for handle in handles or lines if handle.get_label()], loc="outside lower center",
            ncols=_columns(names), frameon=False, fontsize=8, handlelength=2.8, columnspacing=1.4, borderpad=0.1,
        )  # fmt: skip


def _columns(names: Sequence[str]) -> int:
    most = max(1, int((ROOM + 6) / (max(map(len, names)) + 8)))
    return math.ceil(len(names) / math.ceil(len(names) / most))  # rows as long as each other


def _crowded(words: Sequence[str]) -> bool:
    return len(words) * (max(map(len, words)) + 1.5) > ROOM


def _near(places: Sequence[float], names: Sequence[str], limits: tuple[float, float]) -> bool:
    """Whether the words over two neighbouring rules would touch."""
    at = sorted((_OVER * (place - limits[0]) / (limits[1] - limits[0]), len(name)) for place, name in zip(
        places, names, strict=True))  # fmt: skip
    return any(b - a < (long + wide) / 2 + 1 for (a, long), (b, wide) in pairwise(at))


def finite(column: Sequence[Any] | None, count: int = 0) -> Numbers:
    """A column with nan for what is not finite (None in study.json); without one, `count` of them."""
    values = np.array([math.nan if value is None else value for value in column or [None] * count], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _arms(y: Numbers, low: Numbers, high: Numbers) -> Numbers:
    """Lengths of error bars below and above, [2, n]."""
    return np.maximum(0, np.stack([y - low, high - y]))
