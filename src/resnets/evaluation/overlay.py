"""Maps over pictures: colours that say where, over a picture that can still be recognised."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

# Share of the colour in the blend, for nothing and for the most; the rest is the picture in grey. With less for the
# most, dark parts of a picture would make the peaks look duller than what is around them.
_LEAST, _MOST = 0.5, 0.8
_PANEL = 192  # pixels: small pictures are enlarged about to this in panels, so that captions have room
_ACROSS = 6  # panels in a row
_INK, _FAINT, _PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)


def overlay(picture: Image.Image, values: NDArray[np.float32], seen: Box, *, scale: float | None = None) -> Image.Image:
    """Lay a map over the part of a picture that the network saw; the picture keeps its size.

    There the picture is grey under the colours of matplotlib's `inferno`, whose lightness rises evenly, so that they
    are told apart by colour-blind eyes and in print: from black for 0 and less to light yellow for `scale`. Outside
    it is as it was.

    Args:
        picture: of any size, in any mode.
        values: [height, width], the map; stretched over the part seen, as in the paper, by bicubic interpolation.
        seen: that part.
        scale: the value that has the lightest colour; None takes the map's largest.
    """
    result = picture.convert("RGB")
    left, top = min(round(seen[0]), result.width - 1), min(round(seen[1]), result.height - 1)
    right, bottom = max(left + 1, min(round(seen[2]), result.width)), max(top + 1, min(round(seen[3]), result.height))
    if scale is None:
        scale = float(values.max())
    size = (right - left, bottom - top)
    stretched = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    share = stretched / scale if scale > 0 else np.zeros_like(stretched)
    share = share.clip(0, 1)
    colours = Image.fromarray(_colours()[np.rint(255 * share).astype(np.uint8)])
    mask = Image.fromarray(np.rint(255 * (_LEAST + (_MOST - _LEAST) * share)).astype(np.uint8))
    part = result.crop((left, top, right, bottom)).convert("L").convert("RGB")
    result.paste(Image.composite(colours, part, mask), (left, top))
    return result


def panels(
    picture: Image.Image,
    title: str,
    maps: Sequence[NDArray[np.float32]],
    captions: Sequence[tuple[str, str]],
    seen: Box,
) -> Image.Image:
    """The picture, and beside it one overlay a map, on a scale that they share, so that classes can be compared.

    Every panel has the picture's own size; a small picture is enlarged by a whole factor, its pixels as squares.

    Args:
        picture: of any size, in any mode.
        title: stands above the picture.
        maps: each [height, width].
        captions: two lines above each overlay.
        seen: what the network saw of the picture.
    """
    factor = max(1, _PANEL // max(picture.size))
    if factor > 1:
        picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
        seen = (factor * seen[0], factor * seen[1], factor * seen[2], factor * seen[3])
    scale = max(float(values.max()) for values in maps)
    tiles = [picture, *(overlay(picture, values, seen, scale=scale) for values in maps)]
    size = max(14, round(max(picture.size) / 20))  # pixels: of the letters
    font, gap, line = _font(size), size, round(1.3 * size)
    cell = (max(picture.width, 9 * size) + gap, picture.height + 2 * line + gap)
    across = min(len(tiles), _ACROSS)
    rows = -(-len(tiles) // across)
    sheet = Image.new("RGB", (across * cell[0] + gap, rows * cell[1] + 2 * line), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (tile, words) in enumerate(zip(tiles, [("", title), *captions], strict=True)):
        left, top = gap + number % across * cell[0], gap // 2 + number // across * cell[1]
        for row, (text, ink) in enumerate(zip(words, (_INK, _FAINT), strict=True)):
            draw.text((left, top + row * line), _fitting(text, font, cell[0] - gap), ink, font)
        sheet.paste(tile, (left, top + 2 * line))
    _legend(sheet, draw, (gap, gap // 2 + rows * cell[1]), scale, size)
    return sheet


def _legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int], scale: float, size: int) -> None:
    """What the colours mean: a bar from 0 to the largest value."""
    font, (left, top), wide = _font(size), place, 8 * size
    bar = np.repeat(_colours()[np.linspace(0, 255, wide).astype(np.uint8)][None], size, axis=0)
    start = left + round(font.getlength("0 "))
    draw.text((left, top), "0", _FAINT, font)
    sheet.paste(Image.fromarray(bar), (start, top + round(0.2 * size)))
    most = f"{scale:.1f}" if scale > 0 else "0: nothing speaks for these classes"
    draw.text((start + wide + round(font.getlength(" ")), top), most, _FAINT, font)


@cache
def _colours() -> NDArray[np.uint8]:
    """The colour map as uint8 [256, 3]."""
    # Imported here: matplotlib takes half a second.
    from matplotlib import colormaps

    table: NDArray[np.uint8] = colormaps["inferno"](np.arange(256), bytes=True)[:, :3]
    return np.ascontiguousarray(table)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The DejaVu Sans that comes with matplotlib; it has the letters of most scripts."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text on one line, cut off where it is wider than `width` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
