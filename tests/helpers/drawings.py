"""Reading a drawing back: the words and ids of an SVG, and whatever a reader of a diagram could not make out."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from resnets.inspection.drawing import render
from resnets.inspection.targets import resolve
from resnets.inspection.trace import trace

SVG = "{http://www.w3.org/2000/svg}"


class Drawn:
    """An SVG as its ids and the words in its elements."""

    def __init__(self, path):
        parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
        self.root = ElementTree.parse(path, parser).getroot()
        self.groups = [group for group in self.root.iter(f"{SVG}g") if ":" in group.get("id", "")]
        self.ids = [group.get("id") for group in self.groups]
        self.words = {  # matplotlib writes an outlined text as a comment too
            group.get("id"): next(node.text for node in group.iter() if node.tag is ElementTree.Comment).strip()
            for group in self.groups if any(node.tag is ElementTree.Comment for node in group.iter())
        }  # fmt: skip

        assert len(set(self.ids)) == len(self.ids)

    def of(self, kind, column=0):
        return [known for known in self.ids if known.startswith(f"{kind}:{column}")]

    def counts(self, column=0):
        return Counter(known.split(":")[0] for known in self.ids if known.split(":")[1] == str(column))

    @property
    def size(self):
        return tuple(float(self.root.get(key).removesuffix("pt")) for key in ("width", "height"))

    def dashed(self, known):
        group = next(group for group in self.groups if group.get("id") == known)
        return "stroke-dasharray" in next(group.iter(f"{SVG}path")).get("style")


def outlines(diagram):
    """The rectangles that texts and boxes take on paper, by their ids, in pixels of Agg; and the lines' paths."""
    figure = render(diagram)
    canvas = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    axes = figure.axes[0]
    texts = {text.get_gid(): text.get_window_extent(renderer) for text in axes.texts}
    patches = {patch.get_gid(): patch for patch in axes.patches if patch.get_gid()}
    boxes = {box.key: patches[box.key].get_window_extent(renderer) for box in diagram.boxes}
    lines = {line.key: patches[line.key].get_transform().transform_path(patches[line.key].get_path())
             for line in diagram.lines}  # fmt: skip
    return figure.bbox, texts, boxes, lines


def extents(found, margin=0.0):
    """Rectangles as rows x0, y0, x1, y1, each a little smaller than it is: touching is no overlap."""
    rows = [(box.x0 + margin, box.y0 + margin, box.x1 - margin, box.y1 - margin) for box in found.values()]
    return np.array(rows).reshape(-1, 4)


def overlapping(some, others):
    """Pairs of places whose rectangles overlap."""
    a, b = some[:, None], others[None]
    return np.argwhere((np.maximum(a[..., :2], b[..., :2]) < np.minimum(a[..., 2:], b[..., 2:])).all(-1))


def within(outer, inner):
    return bool((outer[:2] <= inner[:2]).all() and (inner[2:] <= outer[2:]).all())


def loose_ends(diagram):
    """Lines of a close-up that do not begin and end where their ids say: at a box, or on another line of that box."""
    frames = {}
    for box in diagram.boxes:
        name = tuple(box.key.split(":")[1:])
        frames[name] = (box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2)
    courses = {tuple(line.key.split(":")[1:]): line.points for line in diagram.lines if line.key.startswith("line:")}

    def on(frame, point):
        return frame[0] - 1 <= point[0] <= frame[2] + 1 and frame[1] - 1 <= point[1] <= frame[3] + 1

    for (number, *ends), points in courses.items():
        if ends == ["out"]:
            continue
        source, target = ((number, end) for end in ends)
        others = [other for (column, start, *_), other in courses.items() if (column, start) == source]
        upright = [other for other in others if len(other) == 2 and other != points]
        starts = [frames[source]] if source in frames else []
        starts += [(other[0][0], other[0][1], other[1][0], other[1][1]) for other in upright]
        # A signal that comes from outside, or passes unchanged, has no box: its line begins or ends anywhere.
        if starts and not any(on(frame, points[0]) for frame in starts):
            yield f"{ends[0]} to {ends[1]} begins nowhere"
        if target in frames and not on(frames[target], points[-1]):
            yield f"{ends[0]} to {ends[1]} ends nowhere"


def complaints(diagram):
    """Whatever a reader could not make out."""
    page, texts, boxes, lines = outlines(diagram)
    page, words, frames = extents({"": page})[0], extents(texts), extents(boxes, 0.5)
    text_keys, box_keys = list(texts), list(boxes)
    found = [f"{key} leaves the page" for key, row in zip(text_keys, words, strict=True) if not within(page, row)]
    found += [f"{key} leaves the page" for key, row in zip(box_keys, frames, strict=True) if not within(page, row)]
    for text, box in overlapping(words, frames):
        own = text_keys[text] == f"text-{text_keys[text][5:6]}:{box_keys[box]}"
        if not own or not within(frames[box], words[text]):
            found.append(f"{text_keys[text]} lies over the edge of {box_keys[box]}")
    found += [f"{text_keys[a]} and {text_keys[b]} overlap" for a, b in overlapping(words, words) if a < b]
    found += [f"{box_keys[a]} and {box_keys[b]} overlap" for a, b in overlapping(frames, frames) if a < b]
    courses = list(lines.values())
    corners = extents({key: path.get_extents() for key, path in lines.items()}, -0.5)
    found += loose_ends(diagram)
    free = np.array([not key.startswith("text-") for key in text_keys])
    for text, line in overlapping(words, corners):
        if free[text] and courses[line].intersects_bbox(Bbox.from_extents(*words[text]), filled=False):
            found.append(f"{list(lines)[line]} runs through {text_keys[text]}")
    return found


@cache
def traced(what):
    target = resolve(what)
    return target, trace(target.module, target.input_shape)


def seen(*names):
    return [traced(name) for name in names]
