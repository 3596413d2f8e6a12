"""Every word of a drawing can be read: measured with the renderer, over all that a specification can say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawings import complaints, seen
from hypothesis import HealthCheck, given, settings
from specs import network_specs

from resnets.architecture import ORDERINGS
from resnets.inspection.closeup import close_ups
from resnets.inspection.columns import side_by_side
from resnets.inspection.diagram import Line


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


@pytest.mark.parametrize(
    "names",
    [
        ["vgg19", "plain34", "resnet34"], ["resnet152"], ["resnet1202", "preact-resnet164", "wrn-28-10"],
        ["resnext101-32x8d", "resnet18", "resmlp10"], ["resnet50-d,norm=group", "resnet20"],
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.slow
def test_every_word_of_whole_networks_can_be_read(names):
    assert complaints(side_by_side(seen(*names))) == []


SHORTCUTS = ["A", "B", "C", "D", "none", "scaling:0.3,0.7", "exclusive-gating", "shortcut-only-gating", "dropout"]


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.slow
def test_every_word_of_close_ups_can_be_read(shortcut):
    names = [f"resnet{depth},shortcut={shortcut},ordering={word}" for depth in (14, 20) for word in ORDERINGS]
    found = seen(*(name.replace("resnet20", "resnet20-bottleneck") for name in names))
    for unit in ("1.1", "2.1", "2.2"):
        assert complaints(close_ups(found, unit)) == []


@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(spec=network_specs(image_side=128))
def test_any_network_can_be_read(spec):
    found = seen(spec.replace(name="a network"))  # of letters that the font lacks nobody knows the height
    assert complaints(side_by_side(found)) == []
    if spec.unit != "vgg":
        assert complaints(close_ups(found, "typical")) == []
