"""Drawings read back: the boxes, arcs and words of the SVG against the papers, and every letter in its place."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from PIL import Image
from specs import network_specs
from torch import nn
from torchvision import models

import resnets
from resnets import ZOO, InputError
from resnets.inspection.closeup import close_ups
from resnets.inspection.columns import side_by_side
from resnets.inspection.diagram import Line
from resnets.inspection.drawing import DPI, render
from resnets.inspection.targets import resolve
from resnets.inspection.trace import trace

SVG = "{http://www.w3.org/2000/svg}"
ORDERINGS = {  # figure 4 of 1603.05027, from the unit's input down
    "original": "conv BN ReLU conv BN + ReLU",
    "bn-after-addition": "conv BN ReLU conv + BN ReLU",
    "relu-before-addition": "conv BN ReLU conv BN ReLU +",
    "relu-only-preactivation": "ReLU conv BN ReLU conv BN +",
    "full-preactivation": "BN ReLU conv BN ReLU conv +",
}


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


def drawn(tmp_path, what, **options):
    return Drawn(resnets.draw(what, tmp_path / "drawing.svg", **options))


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


def test_words_that_cannot_be_read_are_seen():
    diagram = side_by_side(seen("resnet18"))
    first, *others = diagram.boxes
    assert len(complaints(replace(diagram, boxes=(replace(first, width=20.0), *others)))) >= 1
    moved = replace(first, y=others[0].y)
    assert any("overlap" in line for line in complaints(replace(diagram, boxes=(moved, *others))))
    label = diagram.labels[0]
    across = Line("flow:0:x", "ML", ((label.x, label.y - 20), (label.x, label.y + 20)))
    assert complaints(replace(diagram, lines=(across,))) == [f"flow:0:x runs through {label.key}"]
    assert complaints(replace(diagram, width=60.0))
    unit = close_ups(seen("resnet18"), "1.2")
    assert complaints(replace(unit, lines=(replace(unit.lines[1], points=((0.0, 9.0), (5.0, 9.0))),))) == [
        "layer1.1.conv1 to layer1.1.bn1 begins nowhere", "layer1.1.conv1 to layer1.1.bn1 ends nowhere"
    ]  # fmt: skip


def test_figure_3_has_the_papers_boxes_and_shortcuts(tmp_path):
    figure = drawn(tmp_path, ["vgg19", "plain34", "resnet34"])
    vgg, plain, residual = (figure.counts(column) for column in range(3))
    assert (vgg["conv"], vgg["linear"], vgg["max-pool"], vgg["avg-pool"]) == (16, 3, 5, 0)
    for column in (plain, residual):
        assert (column["conv"], column["linear"], column["max-pool"], column["avg-pool"]) == (33, 1, 1, 1)
    assert (residual["dashed-shortcut"], residual["solid-shortcut"]) == (3, 13)
    assert not (plain + vgg)["dashed-shortcut"] and not (plain + vgg)["solid-shortcut"]
    sizes = [figure.words[f"size-1:{k}"] for k in range(7)]
    assert sizes == [f"size: {side}" for side in (224, 112, 56, 28, 14, 7, 1)]
    assert not figure.of("times")


def test_dashed_arcs_are_dashed_and_stand_where_the_stages_begin(tmp_path):
    figure = drawn(tmp_path, "resnet34")
    dashed = figure.of("dashed-shortcut")
    assert [known.split(":")[2] for known in dashed] == [f"layer{stage}.0.join" for stage in (2, 3, 4)]
    assert all(map(figure.dashed, dashed))
    assert not any(map(figure.dashed, figure.of("solid-shortcut")))


def test_the_boxes_say_what_the_paper_says(tmp_path):
    words = drawn(tmp_path, "resnet34").words
    assert words["text-0:conv:0:conv1"] == "7x7 conv, 64, /2"
    assert words["text-0:max-pool:0:maxpool"] == "pool, /2"
    assert words["text-0:conv:0:layer2.0.conv1"] == "3x3 conv, 128, /2"
    assert words["text-0:conv:0:layer2.0.conv2"] == "3x3 conv, 128"
    assert words["text-0:linear:0:fc"] == "fc 1000"
    assert [words[f"title-{row}:0"] for row in range(3)] == ["ResNet-34", "21.8 M parameters", "3.66 G multiply-adds"]


@pytest.mark.parametrize(
    ("name", "depth"), [("resnet1202", 1202), ("resnet152", 152), ("preact-resnet164", 164), ("resnet44", 44)]
)
def test_a_folded_network_still_counts_all_its_layers(tmp_path, name, depth):
    figure = drawn(tmp_path, name)
    times = {known.split(":")[2]: int(figure.words[known].removeprefix("×")) for known in figure.of("times")}
    assert bool(times) == (depth > 50)
    layers, factor = 0, 1
    for known in [*figure.of("conv"), *figure.of("linear")]:
        layer = known.split(":")[2]
        unit = re.match(r"layer\d+\.\d+", layer)
        first = next((other for other in times if unit and other.startswith(f"{unit[0]}.")), None)
        factor = times.get(first, 1)
        layers += factor
    assert layers == depth
    assert figure.size[1] < (900 if times else 1200)  # points


def test_1202_layers_take_the_room_of_110():
    heights = {side_by_side(seen(name)).height for name in ("resnet110", "resnet1202")}
    assert len(heights) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["vgg19", "plain34", "resnet34"], ["resnet152"], ["resnet1202", "preact-resnet164", "wrn-28-10"],
        ["resnext101-32x8d", "resnet18", "resmlp10"], ["resnet50-d,norm=group", "resnet20"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_word_of_whole_networks_can_be_read(names):
    assert complaints(side_by_side(seen(*names))) == []


SHORTCUTS = ["A", "B", "C", "D", "none", "scaling:0.3,0.7", "exclusive-gating", "shortcut-only-gating", "dropout"]


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_every_word_of_close_ups_can_be_read(shortcut):
    names = [f"resnet{depth},shortcut={shortcut},ordering={word}" for depth in (14, 20) for word in ORDERINGS]
    found = seen(*(name.replace("resnet20", "resnet20-bottleneck") for name in names))
    for unit in ("1.1", "2.1", "2.2"):
        assert complaints(close_ups(found, unit)) == []


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # of a name in letters that the font lacks
@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(spec=network_specs(image_side=128))
def test_any_network_can_be_read(spec):
    found = seen(spec)
    assert complaints(side_by_side(found)) == []
    if spec.unit != "vgg":
        assert complaints(close_ups(found, "typical")) == []


def steps(figure, column=0):
    """The words of the boxes from top to bottom as figure 4 has them; convolutions without their shapes."""
    heights = {}
    for group in figure.groups:
        found = re.match(rf"text-0:([\w-]+:{column}:.*)", group.get("id"))
        if found:
            place = re.search(r"translate\(([\d.]+) ([\d.]+)\)", ElementTree.tostring(group, "unicode"))
            heights[found[1]] = float(place[2]), figure.words[group.get("id")]
    return " ".join(re.sub(r"^\dx\d ", "", word) for _, word in sorted(heights.values()))


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_close_ups_have_the_papers_sequence_of_steps(tmp_path, ordering):
    names = [f"resnet110,ordering={ordering}", f"resnet164,ordering={ordering}"]
    figure = drawn(tmp_path, names, unit="1.2")
    assert steps(figure, 0) == ORDERINGS[ordering]
    third = {"conv BN +": "conv BN ReLU conv BN +", "conv + BN": "conv BN ReLU conv + BN", "conv BN ReLU +":
             "conv BN ReLU conv BN ReLU +", "conv +": "conv BN ReLU conv +"}  # fmt: skip
    end = next(end for end in third if end in ORDERINGS[ordering])
    assert steps(figure, 1) == ORDERINGS[ordering].replace(end, third[end])
    assert figure.words["text-1:conv:1:layer1.1.conv1"] == "64 → 16"
    assert [w for known, w in figure.words.items() if known.startswith("shape:0")] == ["16x32x32"] * 4 + ["identity"]


@pytest.mark.parametrize(
    ("shortcut", "expected"),
    [
        ("A", {"pad": "every 2nd pixel|+ 16 zero channels"}),
        ("B", {"conv": "1x1 conv, /2|16 → 32", "norm": "BN"}),
        ("D", {"avg-pool": "2x2 avg pool, /2", "conv": "1x1 conv|16 → 32", "norm": "BN"}),
        ("scaling:0.3,0.7", {"pad": "every 2nd pixel|+ 16 zero channels", "scale": "× 0.3"}),
        ("dropout:0.25", {"pad": "every 2nd pixel|+ 16 zero channels", "dropout": "dropout 0.25"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_shortcut_holds(tmp_path, shortcut, expected):
    name = f"resnet20,shortcut={shortcut}"
    figure = drawn(tmp_path, name, unit="2.1")
    beside = {
        known.split(":")[0]: known
        for known in figure.ids
        if re.match(r"(?!text|line|shape).*:0:.*(downsample|shortcut|dropout)", known)
    }
    rows = {}
    for kind, known in beside.items():
        texts = [figure.words.get(f"text-{row}:{known}") for row in range(2)]
        rows[kind] = "|".join(filter(None, texts))
    assert rows == expected
    # Followed from its last step upwards, the shortcut meets these steps and then the unit's input.
    lines = dict(reversed(known.split(":")[2:]) for known in figure.of("line") if not known.endswith(":out"))
    step, met = beside[next(reversed(expected))].split(":")[2], 0
    while step in lines:
        step, met = lines[step], met + 1
    assert (step, met) == ("layer1.2.relu", len(expected))


@pytest.mark.parametrize(("kind", "products"), [("exclusive-gating", 2), ("shortcut-only-gating", 1)])
def test_gates_multiply_what_the_paper_says(tmp_path, kind, products):
    figure = drawn(tmp_path, f"resnet20,shortcut={kind}", unit="1.2")
    assert len(figure.of("multiply")) == products
    assert figure.words["text-0:sigmoid:0:layer1.1.join.sigmoid"] == "g = sigmoid"
    lines = [tuple(known.split(":")[2:]) for known in figure.of("line")]
    gated = sum(source == "layer1.1.join.sigmoid" and ".multiply" in target for source, target in lines[:-1])
    assert gated == products - 1
    assert ("layer1.1.join.subtract", "layer1.1.join.multiply") in lines
    assert ("layer1.0.relu-2", "layer1.1.join.multiply") in lines or (
        "layer1.0.relu",
        "layer1.1.join.multiply",
    ) in lines


def test_a_unit_without_shortcut_has_no_addition(tmp_path):
    figure = drawn(tmp_path, "plain20", unit="2.1")
    assert steps(figure) == "conv, /2 BN ReLU conv BN ReLU"
    assert figure.words["title-2:0"] == "no shortcut"


@pytest.mark.parametrize(
    ("module", "text"),
    [(nn.BatchNorm2d, "BN"), (nn.GroupNorm, "GN"), (nn.LocalResponseNorm, "LRN")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_normalisations_are_named(tmp_path, module, text):
    norm = {nn.BatchNorm2d: "batch", nn.GroupNorm: "group", nn.LocalResponseNorm: "local-response"}[module]
    figure = drawn(tmp_path, f"resnet20,norm={norm}", unit="1.2")
    assert steps(figure) == f"conv {text} ReLU conv {text} + ReLU"


def meta(maker, **options):
    with torch.device("meta"):
        return maker(weights=None, **options)


def test_networks_from_elsewhere(tmp_path):
    googlenet = meta(models.googlenet, init_weights=False)
    figure = drawn(tmp_path, [meta(models.alexnet), googlenet, meta(models.resnet18)])
    assert figure.counts(0)["conv"] == 5 and figure.counts(0)["linear"] == 3
    assert figure.counts(1)["branches"] == 9  # 1409.4842: nine inception modules
    assert (
        figure.words["size-1:2"] == "size: 56, 55"
    )  # AlexNet's sizes stand beside those that they are almost equal to
    assert len(figure.of("dashed-shortcut", 2)) == 3
    closer = drawn(tmp_path, googlenet, unit="inception3a")
    assert closer.counts()["conv"] == 6 and len(closer.of("concat")) == 1
    target = resolve(googlenet)
    assert complaints(close_ups([(target, trace(target.module, target.input_shape))], "inception3a")) == []


def test_torchvisions_resnet_is_drawn_as_ours(tmp_path):
    ours, theirs = drawn(tmp_path, "resnet34"), None
    theirs = drawn(tmp_path, meta(models.resnet34))
    for kind in ("conv", "linear", "max-pool", "dashed-shortcut", "solid-shortcut"):
        assert len(ours.of(kind)) == len(theirs.of(kind))
    texts = [[figure.words[known] for known in figure.words if known.startswith("text")] for figure in (ours, theirs)]
    assert texts[0] == texts[1]


def test_a_network_whose_maps_grow_is_drawn_alone(tmp_path):
    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 3, 2, 2)

        def forward(self, x):
            return self.up(self.down(x))

    figure = drawn(tmp_path, Growing())
    assert [figure.words[f"size-1:{k}"] for k in range(3)] == ["size: 224", "size: 112", "size: 224"]
    with pytest.raises(InputError, match=r"Growing: its maps grow again, .* draw it alone"):
        drawn(tmp_path, [Growing(), "resnet18"])


def test_the_same_drawing_has_the_same_bytes(tmp_path):
    command = "import resnets, sys; resnets.draw(['resnet20', 'resnet110'], sys.argv[1])"
    for suffix in ("svg", "png", "pdf"):
        here, there = tmp_path / f"here.{suffix}", tmp_path / f"there.{suffix}"
        resnets.draw(["resnet20", "resnet110"], here)
        if suffix == "svg":  # another process hashes differently
            subprocess.run([sys.executable, "-c", command, str(there)], check=True, timeout=240)
        else:
            resnets.draw(["resnet20", "resnet110"], there)
        assert here.read_bytes() == there.read_bytes()


def test_a_png_has_the_svgs_measures_at_200_dots_an_inch(tmp_path):
    width, height = drawn(tmp_path, "resnet18").size
    image = Image.open(resnets.draw("resnet18", tmp_path / "drawing.PNG"))
    assert image.size == pytest.approx((width / 72 * 200, height / 72 * 200), abs=1)
    assert DPI == 200
    colours = image.convert("RGB").getcolors(1 << 24)
    assert len(colours) > 50 and max(colours)[1] == (255, 255, 255)


def test_a_name_is_drawn_as_it_stands(tmp_path):
    figure = drawn(tmp_path, resnets.spec("resnet20").replace(name="$x_1$ <&> 残差\n" + "y" * 90))
    assert figure.words["title-0:0"].startswith("$x_1$")
    assert figure.words["title-0:0"].endswith("y…")


@pytest.mark.parametrize(
    ("what", "options", "expected"),
    [
        ("resnet20", {"unit": "5.1"}, "no stage 5 in resnet20: it has 3 stages"),
        ("resnet20", {"unit": "2.9"}, "no unit 2.9 in resnet20: its stage 2 has 3"),
        ("resnet20", {"unit": "0.1"}, "no stage 0"),
        ("resnet20", {"unit": "layer2.7"}, "unknown unit 'layer2.7' of resnet20; did you mean 'layer2.[0-2]'"),
        ("vgg19", {"unit": "typical"}, "vgg19 has no units"),
        ("resnt20", {}, "did you mean 'resnet20'"),
        ([], {}, "nothing to draw"),
    ],
)
def test_errors_teach_and_nothing_is_written(tmp_path, what, options, expected):
    with pytest.raises(InputError, match=expected):
        resnets.draw(what, tmp_path / "x.svg", **options)
    assert list(tmp_path.iterdir()) == []


def test_units_have_three_names(tmp_path):
    found = [drawn(tmp_path, "resnet20", unit=word).ids for word in ("2.1", "stage2.unit1", "layer2.0")]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("place", ["x.jpg", "x", "missing/x.svg"])
def test_impossible_files_are_refused(tmp_path, place):
    with pytest.raises(InputError, match=r"ends in \.svg, \.png or \.pdf|there is no folder"):
        resnets.draw("resnet20", tmp_path / place)


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        resnets.draw("resnet20", tmp_path / "x.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


@pytest.mark.parametrize("name", [name for name in ZOO if not re.search(r"1202|1001|152|101", name)])
def test_the_zoo_is_drawn_with_as_many_layers_as_its_depth(name):
    diagram = side_by_side(seen(name))
    boxes = Counter(box.key.split(":")[0] for box in diagram.boxes)
    if not any(label.key.startswith("times") for label in diagram.labels):
        stem = len(ZOO[name].spec.stem_widths())  # a deep stem's convolutions count as one
        assert boxes["conv"] + boxes["linear"] == ZOO[name].spec.depth + stem - 1
    assert boxes["image"] == 1 and diagram.height < 1200
