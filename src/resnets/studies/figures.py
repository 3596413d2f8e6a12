"""Charts drawn: as files that stand alone (SVG, PNG) and as SVG inside the page, from the same data.

Colours: lines of one group share one; within a group a line is told apart by strength and mark, and a dashed line has
the colour and mark of the full one of the same place. The colours are told apart by the colour-blind too.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnets.files import make_folder, write_bytes
from resnets.pages.ink import PLACEHOLDERS, drawing, inline_svg, render, short
from resnets.pages.page import light
from resnets.studies.contours import surfaces
from resnets.studies.plots import bars, curves, is_sideways, legend_rows, words_of
from resnets.studies.study import Chart, Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.6  # inches: a column of a page; at 360 pixels its letters are 9 pixels high
DPI = 200  # of the PNGs: 920 pixels


def chart_of(data: Mapping[str, Any]) -> Chart:
    """Return the chart that stands in study.json, where what is not finite is None."""
    return Chart(**{**data, "lines": [Line(**line) for line in data.get("lines", ())]})


def inline(chart: Chart, key: str = "") -> str:
    """Return the chart as SVG for a page, in the page's own colours; `key` is unique on the page."""
    return inline_svg(chart.title, size(chart), lambda figure: draw(chart, figure, PLACEHOLDERS), key=key or chart.name)


@contextmanager
def on_paper(chart: Chart) -> Iterator[Figure]:
    """Give the chart drawn by itself, on white and with letters as outlines, which are alike everywhere."""
    from matplotlib.figure import Figure

    colours = light()
    with drawing(chart.name, colours, svg_fonttype="path", figure_facecolor=colours["paper"]):
        figure = Figure(figsize=size(chart), layout="constrained")
        draw(chart, figure, colours)
        yield figure


def files(chart: Chart) -> dict[str, bytes]:
    """Return the chart as files by their suffixes, `.svg` and `.png`; the same bytes each time."""
    with on_paper(chart) as figure:
        return {".svg": render(figure), ".png": render(figure, "png", dpi=DPI)}


def write_figures(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    """Write every chart of study.json into `folder`/figures as NAME.svg and NAME.png, and return their paths.

    Raises:
        OSError: they cannot be written; what was there is then still there, whole.
    """
    written = []
    make_folder(folder / "figures")
    for data in document["charts"]:
        chart = chart_of(data)
        for suffix, content in files(chart).items():
            written.append(folder / "figures" / f"{file_name(chart.name)}{suffix}")
            write_bytes(written[-1], content)
    return written


def file_name(name: str) -> str:
    """A chart's name without what has no place in the name of a file."""
    return re.sub(r"[^\w.-]+", "-", name).lstrip(".-") or "figure"


def size(chart: Chart) -> tuple[float, float]:
    """Width and height in inches; what words need is added to the height."""
    title = 0.16 * _title(chart).count("\n")
    if chart.kind == "surface":
        panels = len(chart.grid or ())
        return WIDTH, 0.6 + title + (3.4 if panels == 1 else 2.15 * ((panels + 1) // 2))
    height = (3.2 if len(chart.lines) > 6 else 2.6) + title + 0.17 * legend_rows(chart)
    if is_sideways(chart):
        height = 0.9 + title + 0.17 * legend_rows(chart)
        height += len(words_of(chart)) * (0.1 + 0.17 * max(1, len(chart.lines)))
    elif words_of(chart) or chart.marks:
        height += 0.3
    return WIDTH, height


def draw(chart: Chart, figure: Figure, colours: Mapping[str, str]) -> None:
    """Draw the chart on an empty figure in these colours, by the names of the page's variables."""
    figure.suptitle(_title(chart), fontsize=9.5)
    {"bars": bars, "surface": surfaces}.get(chart.kind, curves)(chart, figure, colours)


def _title(chart: Chart) -> str:
    return "\n".join(textwrap.wrap(short(chart.title, 160), 54)) or " "
