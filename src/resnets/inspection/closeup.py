"""A unit drawn step by step with its shapes, as in figure 4 of [I] (1603.05027): F(x) on the left, shortcuts beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resnets.inspection.captions import unit_caption
from resnets.inspection.diagram import INK, MUTED, PAPER, Box, Diagram, Label, Line, Point, text_width
from resnets.inspection.lanes import forks, heights, lanes_of, with_passes
from resnets.inspection.layers import Trace
from resnets.inspection.targets import Target
from resnets.inspection.units import Node, find_unit

_TEXT, _SMALL, _TITLE = 10.0, 8.5, 12.0
_GAP, _WIDE, _LANE, _MARGIN, _APART = 12.0, 22.0, 22.0, 14.0, 32.0
_FORK = 11.0  # from a step down to where a line forks off
_COLOURS = {
    "conv": ("#d4e4fa", "#3a72c2"), "linear": ("#d4e4fa", "#3a72c2"), "norm": ("#fbeec6", "#b18a1d"),
    "relu": ("#d9efd4", "#4c9640"), "sigmoid": ("#e7ddf6", "#8260b5"), "subtract": ("#e7ddf6", "#8260b5"),
    "dropout": ("#f9d9e4", "#c0507c"), "scale": ("#fbdfd1", "#cc6a3a"),
}  # fmt: skip
_OTHER = ("#ececec", "#777777")
_SHAPED = (
    "entry",
    "conv",
    "linear",
    "max-pool",
    "avg-pool",
    "pad",
    "slice",
    "concat",
)  # their results' shape is written


@dataclass(frozen=True)
class _Step:
    """A step of a unit with its place: its lane, the middle of its box, and the box's measures."""

    node: Node
    lane: int
    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


def close_ups(seen: Sequence[tuple[Target, Trace]], which: str) -> Diagram:
    """Lay out one unit of each network, side by side.

    Raises:
        InputError: a network without that unit.
    """
    lines, boxes, labels = list[Line](), list[Box](), list[Label]()
    graphs = [find_unit(target, trace, which) for target, trace in seen]
    titles = [unit_caption(target, graph) for (target, _), graph in zip(seen, graphs, strict=True)]
    top, left, low = _MARGIN + 14 * max(map(len, titles)) + 10, _MARGIN, 0.0
    for number, (graph, title) in enumerate(zip(graphs, titles, strict=True)):
        nodes = with_passes(graph.nodes)
        lanes = lanes_of(nodes)
        words = [text_width(line, _TITLE if row == 0 else _TEXT, row == 0) for row, line in enumerate(title)]
        steps, right = _steps(nodes, lanes, left, top)
        for row, line in enumerate(title):
            size = _TITLE if row == 0 else _TEXT
            y = _MARGIN + 4 + 14.5 * row
            labels.append(
                Label(f"title-{row}:{number}", left, y, line, size, "left", row == 0, INK if row < 2 else MUTED)
            )
        lines += _lines(number, steps, lanes)
        boxes += [_box(number, step) for step in steps.values() if step.node.lines]
        labels += _labels(number, list(steps.values()))
        low = max(low, *(point[1] for line in lines for point in line.points))
        left = max(right, left + max(words)) + _APART
    whole = "; ".join(map(", ".join, titles))
    return Diagram(whole, left - _APART + _MARGIN, low + _MARGIN, (), tuple(lines), tuple(boxes), tuple(labels))


def _steps(
    nodes: Sequence[Node], lanes: Sequence[Sequence[int]], left: float, top: float
) -> tuple[dict[int, _Step], float]:
    """Every step in its place, and the right edge of them all."""
    sizes = [_measures(node) for node in nodes]
    last = lanes[0][-1]
    tops = heights(
        nodes, lanes, [height for _, height in sizes],
        lambda k: _WIDE if nodes[k].kind in _SHAPED and k != last else 2 * _FORK if _forks(nodes, k) else _GAP,
    )  # fmt: skip
    steps: dict[int, _Step] = {}
    for lane, members in enumerate(lanes):
        box = max(sizes[k][0] for k in members) / 2
        label = max((text_width(shape(nodes[k]), _SMALL) + 7 for k in members if nodes[k].kind in _SHAPED), default=0.0)
        if any(nodes[k].kind == "pass" for k in members):
            label = max(label, text_width("identity", _SMALL) + 7)
        x = left + (max(box, label) if lane == 0 else box)
        left = x + (box if lane == 0 else max(box, label)) + _LANE
        for k in members:
            steps[k] = _Step(nodes[k], lane, x, top + tops[k] + sizes[k][1] / 2, *sizes[k])
    return steps, left - _LANE


def _forks(nodes: Sequence[Node], k: int) -> bool:
    return sum(k in node.inputs for node in nodes) > 1


def _measures(node: Node) -> tuple[float, float]:
    if not node.lines:
        return 0.0, 0.0
    if _round(node):
        return 17.0, 17.0
    return max(64.0, *(text_width(line, _TEXT) + 14 for line in node.lines)), 6.5 + (_TEXT + 2.5) * len(node.lines)


def _round(node: Node) -> bool:
    return node.kind in ("add", "multiply", "subtract") and len(node.inputs) > 1


def shape(node: Node) -> str:
    """`64x56x56`: channels, height, width."""
    return "x".join(map(str, node.shape))


def _box(number: int, step: _Step) -> Box:
    node = step.node
    circle = _round(node)
    fill, edge = (PAPER, INK) if circle else _COLOURS.get(node.kind, _OTHER)
    key = f"{node.kind}:{number}:{node.name}"
    return Box(key, step.x, step.y, step.width, step.height, node.lines, fill, edge, 12.0 if circle else _TEXT, circle)


def _labels(number: int, steps: Sequence[_Step]) -> list[Label]:
    """The shapes of what goes over the lines, and `identity`."""
    last = [step for step in steps if step.node.main][-1]
    found = []
    for step in steps:
        words = "identity" if step.node.kind == "pass" else shape(step.node)
        if step.node.kind in (*_SHAPED, "pass") or step is last:
            side, anchor = (-6.0, "right") if step.lane == 0 else (6.0, "left")
            y = step.y if step.node.kind == "pass" else step.bottom + _WIDE / 2 - (3 if step.lane else 0)
            found.append(
                Label(f"shape:{number}:{step.node.name}", step.x + side, y, words, _SMALL, anchor, colour=MUTED)
            )
    return found


def _lines(number: int, steps: Mapping[int, _Step], lanes: Sequence[Sequence[int]]) -> list[Line]:
    """A line for every input of every step, and the one that leaves the unit."""
    found = []
    for k, step in steps.items():
        for source in step.node.inputs:
            key = f"line:{number}:{steps[source].node.name}:{step.node.name}"
            codes, points = _route(steps, lanes, source, k)
            found.append(Line(key, codes, points, INK, 1.2, arrow=step.node.kind != "pass"))
    last = steps[lanes[0][-1]]
    found.append(Line(f"line:{number}:out", "ML", ((last.x, last.bottom), (last.x, last.bottom + _WIDE + 2)), INK, 1.2))
    return found


def _route(
    steps: Mapping[int, _Step], lanes: Sequence[Sequence[int]], source: int, k: int
) -> tuple[str, tuple[Point, ...]]:
    origin, step = steps[source], steps[k]
    if origin.lane == step.lane:
        return "ML", ((origin.x, origin.bottom), (step.x, step.top))
    if forks(lanes, source, k):  # then it comes from above
        height = origin.bottom + _FORK
        return _bent((origin.x, height), (step.x, height), (step.x, step.top))
    side = step.x + step.width / 2 * (1 if origin.x > step.x else -1)
    if lanes[origin.lane][-1] == source:
        return _bent((origin.x, origin.bottom), (origin.x, step.y), (side, step.y))
    way = 1 if step.x > origin.x else -1
    edge, beside = origin.x + way * origin.width / 2, origin.x + way * (origin.width / 2 + _LANE / 2)
    return _bent((edge, origin.y), (beside, origin.y), (beside, step.y), (side, step.y))


def _bent(*points: Point) -> tuple[str, tuple[Point, ...]]:
    """A line through right angles, rounded off."""
    codes, course = "M", [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        codes += "LCCC"
        course += [start, corner, corner, end]
    return codes + "L", (*course, points[-1])


def _towards(corner: Point, other: Point, radius: float = 6.0) -> Point:
    """The point by which a rounded corner begins or ends."""
    length = abs(other[0] - corner[0]) + abs(other[1] - corner[1])
    share = min(radius, length / 2) / length if length else 0.0
    return corner[0] + share * (other[0] - corner[0]), corner[1] + share * (other[1] - corner[1])
