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
_PARTS = 10  # rows of a regression
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

    Of a regression a row is a tenth of the images, in the order of the first target.

    An unreadable image is a crossed-out tile.

    Args:
        source: a source, or what `open_source` takes; a damaged one will do.
        path: of the PNG.
        rows: classes shown; of more, evenly spaced ones are.
        columns: images of each class.
        tile: side in pixels of an image on the sheet.

    Raises:
        InputError: no such source, a table, or the file cannot be written.
    """
    found = source if isinstance(source, Source) else open_tolerantly(source)
    name, split = next(iter(found.splits.items()))
    groups = _groups(found, split)
    shown = [groups[place] for place in _spaced(np.arange(len(groups)), rows)]
    font = ImageFont.load_default(size=14)
    left = round(max(font.getlength(caption) for caption, _ in shown)) + 3 * _GAP
    step = tile + _GAP
    what = f"of {len(found.classes)} classes" if found.classes else f"in order of {found.targets[0]}"
    title = f"{found.name}: {name}, {len(split)} images {what}"
    if len(shown) < len(groups):
        title += f", {len(shown)} of them shown"
    width = max(left + columns * step, round(font.getlength(title)) + 2 * _GAP)
    sheet = Image.new("RGB", (width, step * (len(shown) + 1) - tile + 24), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, font)
    for row, (caption, members) in enumerate(shown):
        top = 24 + _GAP + row * step
        draw.text((left - 2 * _GAP, top + tile // 2), caption, _INK, font, anchor="rm")
        for column, index in enumerate(_spaced(members, columns)):
            sheet.paste(_tile(split, int(index), tile), (left + column * step, top))
    try:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(target, format="PNG")
    except OSError as problem:
        raise InputError(f"{path} cannot be written ({problem.strerror or problem}); choose another place") from problem


def _groups(source: Source, split: Split) -> list[tuple[str, np.ndarray]]:
    """The rows of the sheet: their captions, and the places of their images."""
    if source.tabular or not (source.classes or source.targets):
        raise InputError(f"{source.name} has no images to draw; leave out --montage")
    if source.classes:
        members = [np.flatnonzero(split.labels == label) for label in range(len(source.classes))]
        return [(f"{_short(name)} ({len(m)})", m) for name, m in zip(source.classes, members, strict=True)]
    values = split.labels[:, 0]
    parts = [part for part in np.array_split(np.argsort(values, kind="stable"), _PARTS) if len(part)]
    unit = f" {source.targets[0].unit}" if source.targets[0].unit else ""
    return [(f"{values[part[0]]:.4g} to {values[part[-1]]:.4g}{unit} ({len(part)})", part) for part in parts]


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
