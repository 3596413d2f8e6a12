"""Bottleneck: three layers 1x1, 3x3, 1x1 against two of 3x3, at equal operations ([R] section 4.1, figure 5)."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.architecture import spec
from resnets.errors import InputError
from resnets.studies import economies
from resnets.studies.curves import training_curves
from resnets.studies.depths import only
from resnets.studies.economies import cost, runs_of
from resnets.studies.statistics import differences, finding
from resnets.studies.study import Analysis, Case, Preset, Settings, Study, Trained

KINDS = ("basic", "bottleneck")
_PAPER = (
    "[R] table 3, ImageNet top-1 error, 10 crops, option B: 24.52 % with basic units (ResNet-34, 3.6 G), 22.85 % with"
    " bottlenecks (ResNet-50, 3.8 G); arXiv 1603.05027, table 2, CIFAR-10: 6.61 % (ResNet-110), 5.93 % (ResNet-164)"
)
_PUBLISHED = {"basic": "6.61 (ResNet-110)", "bottleneck": "5.93 (ResNet-164)"}


def cases(settings: Settings) -> list[Case]:
    """As many units of either kind in every stage, of equal width in the 3x3: 18 w² against 17 w² operations a place.

    Raises:
        InputError: several depths, or one that is not 6n+2, with which basic units are counted.
    """
    depth = only("bottleneck", settings.depths)
    if depth < 8 or (depth - 2) % 6:
        raise InputError(f"bottleneck counts depth with basic units, 6n+2 such as 14 or 20, not {depth}")
    names = {"basic": f"resnet{depth}-basic", "bottleneck": f"resnet{(depth - 2) // 6 * 9 + 2}-bottleneck"}
    width = int(settings.options["width"])
    found = []
    for kind in KINDS:
        network = spec(names[kind], widths=(width, 2 * width, 4 * width), stem_width=width)
        if settings.options["alike"]:
            network = network.replace(shortcut="A")
        found.append(Case(f"{kind}-{network.depth}", network, {"kind": kind, "depth": network.depth}))
    return found


def analyse(settings: Settings, trained: Sequence[Trained]) -> Analysis:
    """Bottleneck less basic, paired by seed, with the difference in cost beside it."""
    basic, narrow = (runs_of(trained, kind) for kind in KINDS)
    found = [
        finding(
            "At equal operations, bottleneck units give a lower test error than basic ones",
            differences([run.test_error for run in narrow], [run.test_error for run in basic]),
            unit="points of test error", positive=False, paper=_PAPER,
        ),
        finding(
            "At equal operations, bottleneck units give a lower training loss than basic ones",
            differences([run.training_loss for run in narrow], [run.training_loss for run in basic]),
            unit="nats of training loss", positive=False,
        ),
    ]  # fmt: skip
    costs = {what: [cost(trained, kind, what) for kind in KINDS] for what in ("multiply_adds", "parameters")}
    return Analysis(
        _verdict(found[0].shown, costs), found,
        tables=[economies.table(trained, "arXiv 1603.05027: test error, %", _PUBLISHED)],
        charts=[
            economies.errors_chart(trained, "Images not augmented; means over the seeds."),
            *training_curves(settings, trained),
        ],
        measures=costs,
    )  # fmt: skip


def _verdict(shown: str, costs: dict[str, list[int | None]]) -> str:
    says = {
        "shown": "bottleneck units are the better use of the operations: their test error is lower",
        "opposite": "basic units are the better use of the operations here: their test error is lower",
        "not shown": "neither kind of unit is shown to be the better use of the operations",
    }[shown]
    more = ", ".join(f"{_more(pair)} {what.replace('_', '-')}" for what, pair in costs.items())
    return f"Bottleneck against basic units ({more}): {says}."


def _more(pair: list[int | None]) -> str:
    basic, narrow = pair
    return f"{100 * (narrow / basic - 1):+.1f} %" if basic and narrow else "unknown"


STUDY = Study(
    name="bottleneck",
    title="Bottleneck",
    question="At equal operations, are bottleneck units a better use of them than basic units?",
    source="[R] He et al., Deep Residual Learning, arXiv 1512.03385, section 4.1, figure 5 and table 3",
    effect="At about equal operations the network of bottleneck units has the lower error (ResNet-50 against 34).",
    departs=(
        "The paper's pair is ResNet-34 and ResNet-50 on ImageNet; here the networks are of the CIFAR family, with as"
        " many units of either kind. The first 1x1 has the stride, as in the paper; except at paper scale both have"
        " parameter-free shortcuts (A), so that the units alone differ. Operations agree within 5 %, the bottlenecks"
        " having fewer."
    ),
    presets={
        "minutes": Preset(
            "digits", 5, "paper", {"iterations": 240, "milestones": [120, 180], "padding": 1, "validation": 0.0},
            "Two units a stage at a quarter of the paper's channels, which a laptop trains in seconds.",
            depths=(14,), options={"width": 8, "alike": True},
        ),
        "hours": Preset(
            "cifar10", 5, "paper", {"iterations": 4000, "milestones": [2000, 3000], "padding": 2},
            "ResNet-20 and its equal in operations at 16x16 pixels, ten epochs, the rate falling as in the paper.",
            depths=(20,), options={"width": 16, "alike": True}, size=16,
        ),
        "paper": Preset(
            "cifar10", 5, "paper", {}, "ResNet-110 and ResNet-164 as published: 252.9 and 244.5 million multiply-adds.",
            depths=(110,), options={"width": 16, "alike": False},
        ),
    },
    cases=cases,
    analyse=analyse,
    measure=economies.measure,
)  # fmt: skip
