"""Drawings read back: the boxes, arcs and words of the SVG against the papers, and the files that hold them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
import torch
from drawings import Drawn, complaints, traced
from torch import nn
from torchvision import models

import resnets
from resnets import ZOO, InputError
from resnets.inspection.closeup import close_ups
from resnets.inspection.columns import side_by_side

ORDERINGS = {  # figure 4 of 1603.05027, from the unit's input down
    "original": "conv BN ReLU conv BN + ReLU",
    "bn-after-addition": "conv BN ReLU conv + BN ReLU",
    "relu-before-addition": "conv BN ReLU conv BN ReLU +",
    "relu-only-preactivation": "ReLU conv BN ReLU conv BN +",
    "full-preactivation": "BN ReLU conv BN ReLU conv +",
}


def drawn(tmp_path, what, **options):
    return Drawn(resnets.draw(what, tmp_path / "drawing.svg", **options))


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
    ("name", "depth"),
    [
        pytest.param("resnet1202", 1202, marks=pytest.mark.slow),
        ("resnet152", 152),
        ("preact-resnet164", 164),
        ("resnet44", 44),
    ],
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


@pytest.mark.slow
def test_1202_layers_take_the_room_of_110():
    heights = {side_by_side([traced(name)]).height for name in ("resnet110", "resnet1202")}
    assert len(heights) == 1


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
    assert complaints(close_ups([traced(googlenet)], "inception3a")) == []


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


@pytest.mark.parametrize("name", [name for name in ZOO if not re.search(r"1202|1001|152|101", name)])
def test_the_zoo_is_drawn_with_as_many_layers_as_its_depth(name):
    diagram = side_by_side([traced(name)])
    boxes = Counter(box.key.split(":")[0] for box in diagram.boxes)
    if not any(label.key.startswith("times") for label in diagram.labels):
        stem = len(ZOO[name].spec.stem_widths())  # a deep stem's convolutions count as one
        assert boxes["conv"] + boxes["linear"] == ZOO[name].spec.depth + stem - 1
    assert boxes["image"] == 1 and diagram.height < 1200
