"""Pictures in a page: small copies as data, with and without a class activation map."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch
from PIL import Image

from resnets.data import Split, UnreadableImage
from resnets.errors import InputError
from resnets.evaluation import overlay
from resnets.evaluation.activation import class_activation_maps
from resnets.evaluation.run import Run
from resnets.pages.page import escape

_SIDE = 128  # pixels of a picture at most
_SMALL = 64  # pixels up to which a picture is kept as it is, and shown pixel by pixel


def shown(picture: Image.Image, words: str) -> str:
    """Return an `<img>` that holds a small copy of a picture; `words` are for those who do not see it."""
    file = io.BytesIO()
    small = picture.convert("RGB")
    if max(small.size) <= _SMALL:
        small.save(file, "PNG", optimize=True)
        kind, style = "png", ' class="pixels"'
    else:
        small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        small.save(file, "JPEG", quality=80)
        kind, style = "jpeg", ""
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img{style} src="data:image/{kind};base64,{data}" alt="{escape(words)}"/>'


def opened(split: Split, index: int) -> Image.Image | None:
    """The picture of a split, or None if it cannot be read any more."""
    try:
        return split.image(index)
    except UnreadableImage:
        return None


def mapped(run: Run, split: Split, indices: Sequence[int], classes: Sequence[int]) -> dict[int, Image.Image]:
    """Lay the class activation map of one class over each of some pictures.

    Args:
        run: whose network it is.
        split: the pictures.
        indices: which of them.
        classes: the class to show, of each.

    Returns:
        By index; nothing of a network that has no such maps.
    """
    preprocessing, prepared = run.preprocessing, []
    for index, place in zip(indices, classes, strict=True):
        try:
            prepared.append((index, place, split.reduced(index, preprocessing.reduction)))
        except UnreadableImage:
            continue
    if not prepared:
        return {}
    batch = preprocessing.normalise(torch.stack([preprocessing.image(given) for _, _, given in prepared]))
    wanted = sorted({place for _, place, _ in prepared})
    try:
        maps, _ = class_activation_maps(run.model(), batch, wanted)
    except InputError:
        return {}
    found = {}
    for row, (index, place, given) in enumerate(prepared):
        picture = given.picture
        scale = _scale(picture)
        size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
        picture = picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
        left, top, right, bottom = preprocessing.seen(*given.whole)
        across, down = size[0] / given.whole[0], size[1] / given.whole[1]
        values = maps[row, wanted.index(place)].float().numpy()
        seen = (across * left, down * top, across * right, down * bottom)
        found[index] = overlay.overlay(picture, values, seen)
    return found


def cards(items: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Return pictures in a grid: of each entry the `<img>`s side by side, and lines of text under them."""
    made = "".join(
        f"<figure><div>{''.join(images)}</div><figcaption>{'<br/>'.join(map(_line, lines))}</figcaption></figure>"
        for images, lines in items
    )
    return f'<div class="pictures">{made}</div>'


def _scale(picture: Image.Image) -> float:
    """So that a map over it can be seen, and the page stays small."""
    longest = max(picture.size)
    return _SIDE / longest if longest > _SIDE else float(max(1, 96 // longest))


def _line(text: str) -> str:
    """Escaped, and with no line break between a figure and its percent sign."""
    return escape(text).replace(" %", "\u00a0%")
