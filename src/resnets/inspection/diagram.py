"""A drawing as data: boxes, lines and words with their places, in points (1/72 inch), y downwards."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

FONT = "DejaVu Sans"  # comes with matplotlib: the same widths, and so the same drawing, everywhere
INK, MUTED, PAPER, BAND = "#1c2230", "#5d6675", "#ffffff", "#f4f5f8"

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box around `x`, `y` with lines of text in it; `circle` is a round one.

    `key` is its id in an SVG: `KIND:COLUMN:LAYER`, as in `conv:0:layer1.0.conv1`.
    """

    key: str
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]
    fill: str
    edge: str
    size: float = 9.0
    circle: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """A line through `points`; `codes` says how it comes to each: M from, L straight, C a cubic curve's (three)."""

    key: str
    codes: str
    points: tuple[Point, ...]
    colour: str = INK
    width: float = 1.1
    dashed: bool = False
    arrow: bool = True


@dataclass(frozen=True)
class Label:
    """A line of text whose middle, left or right end (`anchor`) is at `x`; `y` is the middle of its small letters."""

    key: str
    x: float
    y: float
    text: str
    size: float = 9.0
    anchor: str = "center"
    bold: bool = False
    colour: str = INK


@dataclass(frozen=True)
class Diagram:
    """What is drawn, from back to front: bands, lines, boxes, labels."""

    title: str
    width: float
    height: float
    bands: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    boxes: tuple[Box, ...] = ()
    labels: tuple[Label, ...] = ()


@cache
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width in points of a line of text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)
