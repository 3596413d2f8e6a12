"""Drawings of networks and of their units, as SVG, PNG or PDF."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from resnets.architecture import NetworkSpec
from resnets.errors import InputError
from resnets.files import publish
from resnets.inspection.closeup import close_ups
from resnets.inspection.columns import side_by_side
from resnets.inspection.diagram import FONT, PAPER, Box, Diagram, Label, Line
from resnets.inspection.targets import resolve
from resnets.inspection.trace import trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
DPI = 200  # of PNGs: twice what a page of 900 pixels shows of the papers' three networks
_NO_DATES: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

What = str | os.PathLike[str] | NetworkSpec | nn.Module


def draw(
    what: What | Sequence[What], path: str | os.PathLike[str], *, unit: str | None = None, size: int | None = None
) -> Path:
    """Draw networks side by side, or one unit of each with its shapes.

    Args:
        what: one or several of what `resnets.inspect` takes.
        path: of the file; its suffix says the format, .svg, .png or .pdf. A file there is replaced.
        unit: the unit to draw: `2.1` (the first of the second stage), the path of a module, or `typical`; None draws
            whole networks.
        size: side of the images in pixels; None is each network's own.

    Raises:
        InputError: no such network or unit, or the file cannot be written.
    """
    target = Path(path)
    check_path(target)
    asked = [what] if isinstance(what, str | os.PathLike | NetworkSpec | nn.Module) else list(what)
    if not asked:
        raise InputError("nothing to draw: name a network, such as resnet34")
    seen = [(found, trace(found.module, found.input_shape)) for found in (resolve(one, size=size) for one in asked)]
    save(side_by_side(seen) if unit is None else close_ups(seen, unit), target)
    return target


def check_path(path: Path) -> None:
    """Refuse a file that cannot be drawn into before anything is done.

    Raises:
        InputError: another suffix, or no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a drawing is a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")


def save(diagram: Diagram, path: Path) -> None:
    """Write a diagram; the same diagram gives the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib

    suffix = path.suffix.lower()
    metadata = {**_NO_DATES[suffix], "Title": diagram.title}
    with matplotlib.rc_context(_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = render(diagram)
        try:
            publish(path, lambda aside: figure.savefig(aside, format=suffix[1:], dpi=DPI, metadata=metadata))
        except OSError as problem:
            raise InputError(f"{path} cannot be written ({problem.strerror or problem}); name another file") from None


def _style() -> dict[Any, Any]:
    return {
        "svg.fonttype": "path",  # letters as outlines: the same on a machine without the font
        "svg.hashsalt": "resnets",
        "svg.id": None,
        "text.parse_math": False,  # a run may be called `$x$`
        "font.family": FONT,
        "path.simplify": False,
    }


def render(diagram: Diagram) -> Figure:
    """The diagram as matplotlib's figure; one unit of its axes is a point, 1/72 inch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(diagram.width / 72, diagram.height / 72), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, diagram.width)
    axes.set_ylim(diagram.height, 0)
    for box in diagram.bands:
        _box(axes, box, 0)
    for line in diagram.lines:
        _line(axes, line)
    for box in diagram.boxes:
        _box(axes, box, 3)
    for label in diagram.labels:
        _label(axes, label)
    return figure


def _box(axes: Axes, box: Box, layer: int) -> None:
    from matplotlib.patches import Ellipse, FancyBboxPatch, Patch, Rectangle

    corner = (box.x - box.width / 2, box.y - box.height / 2)
    style: dict[str, Any] = {
        "facecolor": box.fill, "edgecolor": box.edge, "linewidth": 1.1 if layer else 0, "zorder": layer, "gid": box.key,
        "linestyle": (0, (3, 2)) if box.dashed else "solid",
    }  # fmt: skip
    shape: Patch
    if box.circle:
        shape = Ellipse((box.x, box.y), box.width, box.height, **style)
    elif layer:
        shape = FancyBboxPatch(corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=3", **style)
    else:
        shape = Rectangle(corner, box.width, box.height, **style)
    axes.add_patch(shape)
    for row, text in enumerate(box.lines):
        y = box.y + (row - (len(box.lines) - 1) / 2) * (box.size + 2.5)
        _label(axes, Label(f"text-{row}:{box.key}", box.x, y, text, box.size))


def _line(axes: Axes, line: Line) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path as Course

    codes = {"M": Course.MOVETO, "L": Course.LINETO, "C": Course.CURVE4}
    points = list(line.points)
    if line.arrow:
        (x, y), (end_x, end_y) = points[-2], points[-1]
        length = max(((end_x - x) ** 2 + (end_y - y) ** 2) ** 0.5, 1e-9)
        along = ((end_x - x) / length, (end_y - y) / length)
        points[-1] = (end_x - 2 * along[0], end_y - 2 * along[1])  # the line ends within its head
        back = (end_x - 4 * along[0], end_y - 4 * along[1])
        wings = [(back[0] - 2 * along[1], back[1] + 2 * along[0]), (back[0] + 2 * along[1], back[1] - 2 * along[0])]
        axes.add_patch(Polygon([line.points[-1], *wings], facecolor=line.colour, linewidth=0, zorder=2))
    axes.add_patch(
        PathPatch(
            Course(points, [codes[code] for code in line.codes]), facecolor="none", edgecolor=line.colour,
            linewidth=line.width, linestyle=(0, (3.2, 2)) if line.dashed else "solid", zorder=1, gid=line.key,
            capstyle="butt", joinstyle="round",
        )
    )  # fmt: skip


def _label(axes: Axes, label: Label) -> None:
    axes.text(
        label.x,
        label.y + 0.36 * label.size,  # half the height of a capital letter below the middle
        label.text,
        size=label.size,
        ha=label.anchor,
        va="baseline",
        weight="bold" if label.bold else "normal",
        color=label.colour,
        zorder=4,
        gid=label.key,
    )
