"""Figures as inline SVG whose colours are the page's CSS variables, so that they follow its light or dark
scheme; and what every chart needs: curves thinned, names shortened.

matplotlib is imported when a chart is drawn. Text stays text: small files, and words that can be searched and
read aloud.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnets.pages.page import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")  # of lines, in this order
_NAMES = ("ink", "muted", "rule", "first", "second", "right", "wrong", "on-middle", "on-full", *COLOURS[2:], "paper")
# matplotlib knows no CSS variables: it draws in these colours, which are then replaced in the SVG.
PLACEHOLDERS = {name: f"#{3 * f'{number:02x}'}" for number, name in enumerate(_NAMES, 1)}
Column = Sequence[float] | NDArray[np.float64]
POINTS = 300  # a curve is averaged down to at most this many points


@contextmanager
def drawing(title: str, colours: Mapping[str, str] = PLACEHOLDERS, **style: Any) -> Iterator[None]:
    """What is drawn inside has the fonts and colours of the page, and no warning of letters that the font lacks.

    Args:
        title: of the figure: the ids in its SVG are made from it, and so are the same each time.
        colours: name of a page's variable → what matplotlib draws in.
        style: changes to matplotlib's settings; an underscore stands for the dot in their names.
    """
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "text.parse_math": False,  # a class may be called `$x$`
        "font.family": "DejaVu Sans",  # comes with matplotlib, and is wider than the fonts of pages
        "font.size": 8.5,
        "axes.titlesize": 9.5,
        "text.color": colours["ink"],
        "axes.labelcolor": colours["ink"],
        "axes.titlecolor": colours["ink"],
        "xtick.color": colours["muted"],
        "ytick.color": colours["muted"],
        "axes.edgecolor": colours["muted"],
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    } | {key.replace("_", "."): value for key, value in style.items()}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def inline_svg(title: str, size: tuple[float, float], draw: Callable[[Figure], None], *, key: str = "") -> str:
    """Let `draw` draw on a fresh figure and return it as SVG for an HTML page.

    Args:
        title: also the text for those who do not see the figure.
        size: width and height in inches.
        draw: draws in the colours of `PLACEHOLDERS`.
        key: what its ids begin with, unique on the page; by default the title.
    """
    from matplotlib.figure import Figure

    with drawing(title):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        return _inline(render(figure).decode(), title, key or title)


def render(figure: Figure, kind: str = "svg", **options: Any) -> bytes:
    """Return a figure as the bytes of a file, the same each time: no date, no version."""
    file = io.BytesIO()
    nothing = {"svg": ("Date", "Creator", "Format", "Type"), "png": ("Software",)}[kind]
    figure.savefig(file, format=kind, metadata=dict.fromkeys(nothing), **options)
    return file.getvalue()


def thinned(x: Column, *columns: Column) -> list[NDArray[np.float64]]:
    """Return x and what stands over it, averaged down to at most `POINTS` points."""
    rows = [np.asarray(column, np.float64) for column in (x, *columns)]
    if len(x) <= POINTS:
        return rows
    return [np.array([part.mean() for part in np.array_split(row, POINTS)]) for row in rows]


def thousands(value: float, _position: float = 0) -> str:
    """Return a number of an axis: `10,000`, `0.25`, `1e+12`; the second argument is matplotlib's."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e12 else f"{value:g}"


def short(name: str, limit: int = 14) -> str:
    """Return a name that fits a chart: one printable line, its middle left out if it is too wide."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if sum(map(width, line)) <= limit:
        return line
    # Both ends are kept: names are often told apart by a number at the end.
    tail = line[-1:] if width(line[-1]) > 1 else line[-5:]
    kept, room = "", limit - 1 - sum(map(width, tail))
    for letter in line:
        room -= width(letter)
        if room < 0:
            break
        kept += letter
    return f"{kept.rstrip()}…{tail.lstrip()}"


def width(letter: str) -> int:
    """Columns that a letter takes: Chinese, Japanese and Korean ones are twice as wide."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _inline(svg: str, title: str, key: str) -> str:
    """Cut an SVG file down to what a page takes: no prologue, no name spaces, ids of its own, our colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    prefix = re.sub(r"\W+", "-", key).strip("-").lower()
    rest = re.sub(r'(\bid="|href="#|url\(#)', lambda match: f"{match[0]}{prefix}-", rest)
    for name, colour in PLACEHOLDERS.items():
        rest = rest.replace(colour, f"var(--{name})")
    return f'<svg {box[0]} role="img" aria-label="{escape(title)}">{rest.strip()}'
