"""A contact sheet: some images of each class, so that a person can see what a source holds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from resnets.data.decoding import UnreadableImage
from resnets.data.sources import open_tolerantly
from resnets.data.split import Source, Split
from resnets.errors import InputError

_GAP = 4
_INK, _PAPER, _FAINT = (32, 32, 32), (255, 255, 255), (225, 225, 225)


def montage(
    source: str | os.PathLike[str] | Source,
    path: str | os.PathLike[str],
    *,
    rows: int = 20,
    columns: int = 10,
    tile: int = 64,
) -> None:
    """Write a PNG with a row of images for each class of a source's first split, evenly spaced over the class.

    An unreadable image is a crossed-out tile.

    Args:
        source: a source, or what `open_source` takes; a damaged one will do.
        path: of the PNG.
        rows: classes shown; of more, evenly spaced ones are.
        columns: images of each class.
        tile: side in pixels of an image on the sheet.

    Raises:
        InputError: no such source, or the file cannot be written.
    """
    found = source if isinstance(source, Source) else open_tolerantly(source)
    name, split = next(iter(found.splits.items()))
    shown = _spaced(np.arange(len(found.classes)), rows)
    font = ImageFont.load_default(size=14)
    counts = np.bincount(split.labels, minlength=len(found.classes))
    captions = [f"{_short(found.classes[label])} ({counts[label]})" for label in shown]
    left = round(max(font.getlength(caption) for caption in captions)) + 3 * _GAP
    step = tile + _GAP
    title = f"{found.name}: {name}, {len(split)} images of {len(found.classes)} classes"
    if len(shown) < len(found.classes):
        title += f", {len(shown)} of them shown"
    width = max(left + columns * step, round(font.getlength(title)) + 2 * _GAP)
    sheet = Image.new("RGB", (width, step * (len(shown) + 1) - tile + 24), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, font)
    for row, label in enumerate(shown):
        top = 24 + _GAP + row * step
        draw.text((left - 2 * _GAP, top + tile // 2), captions[row], _INK, font, anchor="rm")
        for column, index in enumerate(_spaced(np.flatnonzero(split.labels == label), columns)):
            sheet.paste(_tile(split, int(index), tile), (left + column * step, top))
    try:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(target, format="PNG")
    except OSError as problem:
        raise InputError(f"{path} cannot be written ({problem.strerror or problem}); choose another place") from problem


def _spaced(values: np.ndarray, most: int) -> np.ndarray:
    n = min(len(values), most)
    return values[np.arange(n) * len(values) // max(n, 1)]


def _short(word: str) -> str:
    return word if len(word) <= 24 else word[:23] + "…"


def _tile(split: Split, index: int, side: int) -> Image.Image:
    canvas = Image.new("RGB", (side, side), _FAINT)
    try:
        picture = split.image(index).convert("RGB")
    except UnreadableImage:
        draw = ImageDraw.Draw(canvas)
        draw.line((0, 0, side, side), (200, 30, 30), 2)
        draw.line((0, side, side, 0), (200, 30, 30), 2)
        return canvas
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Small images show their pixels; photographs are reduced smoothly.
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    canvas.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return canvas
