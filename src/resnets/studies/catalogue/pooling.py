"""Pooling: global average pooling against fully connected heads: parameters, over-fitting, test error.

[NiN] Network In Network, arXiv 1312.4400; [CAM] arXiv 1512.04150.
"""

from __future__ import annotations

from collections.abc import Sequence

from resnets.architecture import spec
from resnets.studies import economies
from resnets.studies.curves import training_curves
from resnets.studies.depths import check_basic, only
from resnets.studies.economies import cost, gap, runs_of
from resnets.studies.statistics import differences, finding
from resnets.studies.study import Analysis, Case, Finding, Preset, Settings, Study, Trained

_PAPER = (
    "[NiN] table 5, CIFAR-10 without augmentation: 10.41 % with global average pooling, 11.59 % with a fully connected"
    " layer, 10.88 % with dropout too"
)
_PUBLISHED = {
    "average": "10.41 (pooling)",
    "flat": "11.59 (fully connected)",
    "flat, hidden": "10.88 (fully connected, dropout)",
}
_MADE = {"average": "global average pooling", "flat": "a flat head", "flat, hidden": "a flat head with hidden layers"}


def cases(settings: Settings) -> list[Case]:
    """One network under three heads: pooled, flattened, and flattened with hidden layers as VGG has them.

    Raises:
        InputError: several depths, or one that is not 6n+2.
    """
    depth = only("pooling", settings.depths)
    check_basic([depth])
    width = int(settings.options["width"])
    network = spec(f"resnet{depth}", widths=(width, 2 * width, 4 * width), stem_width=width)
    flat, hidden = network.replace(head="flat"), tuple(settings.options["hidden"])
    return [
        Case("average", network, {"kind": "average"}),
        Case("flat", flat, {"kind": "flat"}),
        Case("flat-hidden", flat.replace(head_widths=hidden), {"kind": "flat, hidden", "hidden": list(hidden)}),
    ]


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """Each flat head less the pooled one, paired by seed."""
    pooled = runs_of(trained, "average")
    found: list[Finding] = []
    for kind in ("flat, hidden", "flat"):
        flat = runs_of(trained, kind)
        found += [
            finding(
                f"{_MADE[kind].capitalize()} over-fits more than {_MADE['average']}: the test error is further above"
                " the training error",
                differences([gap(run) for run in flat], [gap(run) for run in pooled]), unit="points of gap",
            ),
            finding(
                f"{_MADE[kind].capitalize()} has a higher test error than {_MADE['average']}",
                differences([run.test_error for run in flat], [run.test_error for run in pooled]),
                unit="points of test error", paper=_PAPER,
            ),
        ]  # fmt: skip
    parameters = {kind: cost(trained, kind, "parameters") for kind in _MADE}
    few, many = parameters["average"], parameters["flat, hidden"]
    saved = f"{100 * (1 - few / many):.0f} % fewer parameters" if few and many else "fewer parameters"
    return Analysis(
        f"Global average pooling has {saved} than {_MADE['flat, hidden']}. Over-fitting: {_said(found[0])}; test error:"
        f" {_said(found[1])}. Against {_MADE['flat']} without hidden layers, over-fitting: {_said(found[2])};"
        f" test error: {_said(found[3])}.",
        found, tables=[economies.table(trained, "[NiN] table 5: test error, %", _PUBLISHED)],
        charts=[
            economies.errors_chart(trained, "Images not augmented; means over the seeds."),
            *training_curves(settings, trained),
        ],
        measures={"parameters": parameters},
    )  # fmt: skip


def _said(item: Finding) -> str:
    return {
        "shown": f"it has less ({-item.effect:+.2f} points)",
        "opposite": f"it has more ({-item.effect:+.2f} points)",
        "not shown": "no difference is shown",
    }[item.shown]


STUDY = Study(
    name="pooling",
    title="Pooling",
    question="What does global average pooling save against fully connected heads, and does it over-fit less?",
    source="[NiN] Lin et al., arXiv 1312.4400, sections 3.2 and 4.6, table 5; [CAM] Zhou et al., arXiv 1512.04150",
    effect="Global average pooling needs no parameters and over-fits less than fully connected layers on the last map.",
    departs=(
        "The paper compares heads of its own network of 1x1 convolutions, without augmentation; here the network below"
        " the head is a residual one of the CIFAR family, and the recipe is [R]'s, the same for every head. The hidden"
        " layers have ReLU and dropout 0.5, as in VGG."
    ),
    presets={
        "minutes": Preset(
            "digits", 5, "paper", {"iterations": 240, "milestones": [120, 180], "padding": 1, "validation": 0.0},
            "The smallest network of the CIFAR family at half its channels; the hidden layers are twice as wide as the"
            " flattened map of 128 values, so that the head outweighs the network as VGG's does.",
            depths=(8,), options={"width": 8, "hidden": [256, 256]},
        ),
        "hours": Preset(
            "cifar10", 3, "paper", {"iterations": 3000, "milestones": [1500, 2250], "padding": 2},
            "ResNet-20 at 16x16 pixels, seven epochs; hidden layers half as wide as the flattened map.",
            depths=(20,), options={"width": 16, "hidden": [512, 512]}, size=16,
        ),
        "paper": Preset(
            "cifar10", 5, "paper", {}, "ResNet-20 of [R] as published, against a head of VGG's widths.",
            depths=(20,), options={"width": 16, "hidden": [4096, 4096]},
        ),
    },
    cases=cases,
    analyse=analyse,
    measure=economies.measure,
)  # fmt: skip
