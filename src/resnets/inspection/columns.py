"""Networks side by side as in figure 3 of [R] (1512.03385): aligned by their output sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, zip_longest

from resnets.errors import InputError
from resnets.inspection.captions import network_caption
from resnets.inspection.chain import Arc, Block, Item, chain, folded
from resnets.inspection.diagram import BAND, INK, MUTED, PAPER, Box, Diagram, Label, Line, text_width
from resnets.inspection.layers import Trace
from resnets.inspection.targets import Target

MOST = 48  # boxes of a column that is drawn in full: ResNet-34 has 36, ResNet-50 has 52
_HEIGHT, _INSIDE, _BETWEEN = 14.5, 5.0, 11.5  # of a box, and of the gaps in a unit and between units
_PAD, _GUTTER, _MARGIN, _BULGE = 0.0, 26.0, 14.0, 27.0
_TEXT, _SMALL, _TITLE = 10.5, 9.0, 13.0

# (fill, edge) of maps of one size: those before the units, those with units, vectors.
_EARLY = (("#e6e9ef", "#8490a5"), ("#d5efec", "#3d968f"))
_STAGES = (
    ("#e7ddf6", "#8260b5"), ("#d9efd4", "#4c9640"), ("#fbdfd1", "#cc6a3a"), ("#d4e4fa", "#3a72c2"),
    ("#fbeec6", "#b18a1d"), ("#f9d9e4", "#c0507c"),
)  # fmt: skip
_VECTORS = ("#ececec", "#777777")

Size = tuple[int, int]
Zone = tuple[Size, ...]  # what stands at one height


@dataclass(frozen=True)
class _Column:
    """A network's blocks and its place: the middle of its boxes, and their width."""

    number: int
    title: tuple[str, ...]
    blocks: list[Block]
    x: float
    box: float


def side_by_side(seen: Sequence[tuple[Target, Trace]]) -> Diagram:
    """Lay out whole networks, repeated units folded where one of them has more than `MOST` boxes.

    Raises:
        InputError: several networks, and the maps of one of them grow again: their sizes cannot be aligned.
    """
    chains = [chain(trace) for _, trace in seen]
    if max(sum(len(block.items) for block in blocks) - 1 for blocks in chains) > MOST:
        chains = [folded(blocks) for blocks in chains]
    zones = _zones(chains, [target.name for target, _ in seen])
    widest = max(text_width(f"size: {_sizes(zone)}", _TEXT, True) for zone in zones)
    left, columns = _MARGIN + widest + _GUTTER, []
    for number, ((target, trace), blocks) in enumerate(zip(seen, chains, strict=True)):
        title = network_caption(target, trace)
        box = max(text_width(item.text, _TEXT) for block in blocks for item in block.items) + 22
        beside = _BULGE if any(block.arcs for block in blocks) else 0
        before = max(
            (text_width(f"×{block.times}", _TEXT, True) + 14 for block in blocks if block.times > 1), default=0
        )
        words = max(text_width(line, _TITLE if k == 0 else _SMALL, k == 0) for k, line in enumerate(title)) / 2
        x = left + max(box / 2 + before, words)
        columns.append(_Column(number, title, blocks, x, box))
        left = x + max(box / 2 + beside, words) + _GUTTER
    legend = _legend(chains)
    right = left - _GUTTER + _MARGIN
    right = max([right, *(_MARGIN + 34 + text_width(words, _SMALL) + _MARGIN for words, _ in legend)])
    return _placed(columns, zones, legend, right)


def _sizes(zone: Zone) -> str:
    return ", ".join(str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}" for size in zone)


def _zones(chains: Sequence[Sequence[Block]], names: Sequence[str]) -> list[Zone]:
    """The sizes of maps from top to bottom.

    Of several networks, sizes that differ by rounding (AlexNet's 27 and VGG's 28) share a zone.
    """
    own = [[size for size, _ in groupby(block.size for block in blocks)] for blocks in chains]
    if len(chains) == 1:
        return [(size,) for size in own[0]]
    for sizes, name in zip(own, names, strict=True):
        if sizes != sorted(sizes, key=_area, reverse=True):
            raise InputError(f"{name}: its maps grow again, so it cannot stand beside others; draw it alone")
    zones: list[Zone] = []
    for size in sorted({size for sizes in own for size in sizes}, key=lambda size: (-_area(size), size)):
        close = zones and _area(zones[-1][0]) <= 1.5 * _area(size)
        if close and not any(size in sizes and set(sizes) & set(zones[-1]) for sizes in own):
            zones[-1] = (*zones[-1], size)
        else:
            zones.append((size,))
    return zones


def _area(size: Size) -> int:
    return size[0] * size[1]


def _grouped(blocks: Sequence[Block], zones: Sequence[Zone]) -> list[list[Block]]:
    """The blocks of each zone."""
    found: list[list[Block]] = [[] for _ in zones]
    zone = 0
    for block in blocks:
        while block.size not in zones[zone]:
            zone += 1
        found[zone].append(block)
    return found


def _tall(blocks: Sequence[Block]) -> float:
    inside = sum(len(block.items) * (_HEIGHT + _INSIDE) - _INSIDE for block in blocks)
    return inside + sum(_gap(*pair) for pair in pairwise(blocks))


def _gap(block: Block, following: Block) -> float:
    return _BETWEEN if block.in_unit or following.in_unit else _INSIDE


def _placed(
    columns: Sequence[_Column], zones: Sequence[Zone], legend: Sequence[tuple[str, bool]], right: float
) -> Diagram:
    grouped = [_grouped(column.blocks, zones) for column in columns]
    colours = _colours(zones, grouped)
    bands, lines, boxes, labels = [], list[Line](), list[Box](), list[Label]()
    top = _MARGIN + 8 + 11.5 * max(len(column.title) for column in columns)
    ends = [0.0] * len(columns)  # where each column's last box ends
    for k, zone in enumerate(zones):
        tall = max(max(_tall(blocks[k]) for blocks in grouped), 2 * _SMALL + 6) + 2 * _PAD + _BETWEEN
        if k % 2 == 0:
            bands.append(Box(f"band:{k}", right / 2, top + tall / 2, right, tall, (), BAND, BAND))
        for row, words in enumerate(("output", f"size: {_sizes(zone)}")):
            y = top + _PAD + _BETWEEN / 2 + 5 + row * (_TEXT + 3)
            labels.append(Label(f"size-{row}:{k}", _MARGIN, y, words, _TEXT, "left", row == 1, MUTED))
        for column, blocks in zip(columns, grouped, strict=True):
            y = top + _PAD + _BETWEEN / 2
            for block, following in zip_longest(blocks[k], blocks[k][1:]):
                ends[column.number] = _block(column, block, y, ends[column.number], colours[k], lines, boxes, labels)
                y = ends[column.number] + (_gap(block, following) if following else 0)
        top += tall
    for column in columns:
        for row, words in enumerate(column.title):
            y = _MARGIN + 2 + (0 if row == 0 else 4 + 11.5 * row)
            style = {"size": _TITLE, "bold": True} if row == 0 else {"size": _SMALL, "colour": MUTED}
            labels.append(Label(f"title-{row}:{column.number}", column.x, y, words, **style))
    for row, (words, dashed) in enumerate(legend):
        y = top + _PAD + 8 + row * 13
        sample = ((_MARGIN, y), (_MARGIN + 26, y))
        lines.append(Line(f"legend:{row}", "ML", sample, dashed=dashed))
        labels.append(Label(f"legend-text:{row}", _MARGIN + 34, y, words, _SMALL, "left", colour=MUTED))
    title = ", ".join(column.title[0] for column in columns)
    height = top + (_PAD + 8 + 13 * len(legend) if legend else 0) + _MARGIN / 2
    return Diagram(title, right, height, tuple(bands), tuple(lines), tuple(boxes), tuple(labels))


def _block(
    column: _Column, block: Block, y: float, end: float, colour: tuple[str, str],
    lines: list[Line], boxes: list[Box], labels: list[Label],
) -> float:  # fmt: skip
    """Place a block's boxes from `y` on, joined to a box that ends at `end`; returns where its last box ends."""
    n, x = column.number, column.x
    top = y
    for item in block.items:
        if end:
            lines.append(Line(f"flow:{n}:{item.name}", "ML", ((x, end), (x, y)), MUTED))
        boxes.append(_box(item, n, x, y, column.box, colour))
        end = y + _HEIGHT
        y = end + _INSIDE
    lines += [_arc(arc, column, top) for arc in block.arcs]
    if block.times > 1:
        edge = x - column.box / 2 - 5
        corners = ((edge, top), (edge - 5, top), (edge - 5, end), (edge, end))
        first = block.items[0].name
        lines.append(Line(f"bracket:{n}:{first}", "MLLL", corners, INK, arrow=False))
        labels.append(
            Label(f"times:{n}:{first}", edge - 8, (top + end) / 2, f"×{block.times}", _TEXT, "right", bold=True)
        )
    return end


def _box(item: Item, n: int, x: float, y: float, width: float, colour: tuple[str, str]) -> Box:
    plain = item.kind in ("max-pool", "avg-pool", "image")
    fill, edge = (PAPER if plain else colour[0]), (INK if item.kind == "image" else colour[1])
    key = f"{item.kind}:{n}" if item.kind == "image" else f"{item.kind}:{n}:{item.name}"
    return Box(key, x, y + _HEIGHT / 2, width, _HEIGHT, (item.text,), fill, edge, _TEXT)


def _arc(arc: Arc, column: _Column, top: float) -> Line:
    """A shortcut: from the line into its first box to the line out of its last, around the right of the boxes."""
    step = _HEIGHT + _INSIDE
    start = top + arc.first * step - 4.6
    stop = top + arc.last * step + _HEIGHT + 2.8
    side = column.x + column.box / 2 + 1
    bend = side + (_BULGE - 2) * 4 / 3
    points = ((column.x, start), (side, start), (bend, start), (bend, stop), (side, stop), (column.x, stop))
    key = f"{'dashed' if arc.changes else 'solid'}-shortcut:{column.number}:{arc.name}"
    return Line(key, "MLCCCL", points, INK, 1.2, dashed=arc.changes)


def _colours(zones: Sequence[Zone], grouped: Sequence[Sequence[Sequence[Block]]]) -> list[tuple[str, str]]:
    """Of each zone: those with residual units have the papers' stages' colours."""
    units = [any(block.in_unit for blocks in grouped for block in blocks[k]) for k in range(len(zones))]
    found, early, stage = [], 0, 0
    for k, zone in enumerate(zones):
        if zone == ((1, 1),) and not units[k]:
            found.append(_VECTORS)
        elif any(units[k:]) and not any(units[: k + 1]):
            found.append(_EARLY[min(early, 1)])
            early += 1
        else:
            found.append(_STAGES[stage % len(_STAGES)])
            stage += 1
    return found


def _legend(chains: Sequence[Sequence[Block]]) -> list[tuple[str, bool]]:
    arcs = [arc for blocks in chains for block in blocks for arc in block.arcs]
    found = []
    if any(not arc.changes for arc in arcs):
        found.append(("shortcut", False))
    if any(arc.changes for arc in arcs):
        found.append(("shortcut where the dimensions change", True))
    return found
