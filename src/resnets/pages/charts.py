"""The charts of a run's report: curves, and the matrix of confusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnets.pages.ink import COLOURS, PLACEHOLDERS, inline_svg, short, thinned, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, FIRST, SECOND, RIGHT, WRONG, ON_MIDDLE, ON_FULL = list(PLACEHOLDERS.values())[:9]
COUNTED = 20  # classes up to which a confusion matrix shows its counts
LABELLED = 40  # classes up to which it names its rows and columns


@dataclass(frozen=True)
class Curve:
    """One line of a chart: its name and its points; `marked` sets a dot at each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    marked: bool = False


def line_chart(title: str, x_label: str, y_label: str, curves: Sequence[Curve], *, from_zero: bool = False) -> str:
    """Return an SVG of curves over common axes; a chart of one curve has no legend.

    Args:
        title: says what is shown; also the text for those who do not see the chart.
        x_label: with its unit.
        y_label: with its unit.
        curves: at most eight, told apart by colour and by their dots.
        from_zero: the vertical axis starts at zero.
    """

    def draw(axes: Axes) -> None:
        for curve, colour in zip(curves, COLOURS, strict=False):
            x, y = thinned(curve.x, curve.y)
            marker: dict[str, Any] = {"marker": "o", "markersize": 3.2} if curve.marked or len(x) == 1 else {}
            axes.plot(x, y, color=PLACEHOLDERS[colour], linewidth=1.5, label=curve.name, **marker)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(True, color=RULE, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(thousands)
        axes.locator_params(axis="x", nbins=5)
        if max(max(curve.y) for curve in curves) >= 1000:
            axes.yaxis.set_major_formatter(thousands)
        axes.set_xlim(left=0)
        if from_zero:
            axes.set_ylim(bottom=0)
        if len(curves) > 2:  # so many names would stand on the curves
            axes.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        elif len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)

    return _svg(title, (4.2, 2.7 + (0.2 * ((len(curves) + 1) // 2) if len(curves) > 2 else 0)), draw)


def confusion_chart(title: str, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> tuple[str, float]:
    """Return the heat map of a confusion matrix (rows true, columns predicted) and its width in points.

    What is right has one colour, by its share of the true class; what is wrong has another on a scale of its
    own, up to the most frequent confusion, since on the scale of the diagonal a good network's errors cannot
    be seen. Up to 20 classes each cell has its count; up to 40 rows and columns are named.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    count = len(classes)
    labels = [short(name) for name in classes]
    side = 4.4 if count <= 10 or count > LABELLED else 1.3 + count * (0.3 if count <= COUNTED else 0.2)

    first = 0 if count <= LABELLED else 1  # unnamed classes are counted from 1, as in the table of classes
    last = first + count - 1

    def draw(axes: Axes) -> None:
        if count <= COUNTED:
            _cells(axes, counts)
        else:
            axes.imshow(
                _picture(counts), interpolation="none", extent=(first - 0.5, last + 0.5, last + 0.5, first - 0.5)
            )
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.set_ylim(last + 0.5, first - 0.5)
        axes.set_aspect("equal")
        axes.tick_params(length=0 if count <= LABELLED else 3)
        if count <= LABELLED:
            upright = max(map(len, labels)) > 2 or count > COUNTED
            # Turned labels hang from their ends: a browser's font has other widths than the one measured with.
            turned: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "rotation_mode": "anchor"}
            axes.set_xticks(range(count), labels, **(turned if upright else {}))
            axes.set_yticks(range(count), labels)
        order = "" if count <= LABELLED else ", by its place in the table of classes"
        axes.set_xlabel(f"predicted class{order}")
        axes.set_ylabel(f"true class{order}")

    return _svg(title, (side, side), draw), side * 72


def confusion_shares(confusion: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return each cell as a share of its row's images, in [0, 1]; a row without images is all zero."""
    counts = np.asarray(confusion, dtype=np.float64)
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def _strengths(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Opacity of every cell: its share of the row, for errors relative to the most frequent one."""
    shares = confusion_shares(counts.tolist())
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    strengths = wrong / max(wrong.max(), 1e-12)
    np.fill_diagonal(strengths, shares.diagonal())
    return strengths


def _cells(axes: Axes, counts: NDArray[np.int64]) -> None:
    from matplotlib.patches import Rectangle

    strengths = _strengths(counts)
    size = 8 if len(counts) <= 10 else 7
    for row, column in zip(*np.nonzero(counts), strict=True):
        right, strength = row == column, float(strengths[row, column])
        alpha = 0.08 + 0.92 * strength
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=RIGHT if right else WRONG, alpha=alpha, linewidth=0)
        )
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=size,
            color=INK if alpha < 0.6 else ON_MIDDLE if alpha < 0.85 else ON_FULL,
        )


def _picture(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The matrix as RGBA [K, K, 4] in two colours that show on light and on dark paper."""
    picture = np.zeros((*counts.shape, 4), np.uint8)
    picture[..., :3] = (232, 89, 12)
    diagonal = np.arange(len(counts))
    picture[diagonal, diagonal, :3] = (59, 130, 246)
    strengths = _strengths(counts)
    picture[..., 3] = np.where(counts > 0, np.round(255 * (0.12 + 0.88 * strengths)), 0)
    return picture


def _svg(title: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """Draw on fresh axes and return the figure as SVG for an HTML page."""

    def whole(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)

    return inline_svg(title, size, whole)
