"""The charts of the study of gradients, and how its looks are read. Plain data, no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnets.studies.flow import Flow, flow
from resnets.studies.statistics import interval
from resnets.studies.study import Case, Chart, Line, Trained

KINDS = ("plain", "residual")
NORMS = {"batch": "with batch normalisation", "none": "without normalisation"}
LEAST = 3  # values of a band: with two, it reaches thirteen standard errors to each side and hides everything
_TINY = 1e-45  # a gradient of zero is drawn as the smallest number in single precision


@dataclass(frozen=True)
class Look:
    """A network at one step: `Signals.to_dict` and what its gradients say."""

    step: int
    seen: Mapping[str, Any]
    flow: Flow

    def unit(self, index: int) -> str:
        """`20 (layer3.2)`, the number as `shortcut_units` counts."""
        return unit_name(self.seen, index)


def unit_name(seen: Mapping[str, Any], index: int) -> str:
    """`20 (layer3.2)`: the unit's number, as `shortcut_units` counts, and its name in the state_dict."""
    return f"{index} ({seen['units']['name'][index]})"


def looks(run: Trained) -> list[Look]:
    """Every look at a run that found finite figures, by step, each once."""
    by_step = {step: seen for step, seen in run.watched if seen.get("finite")}
    return [Look(step, seen, flow(seen)) for step, seen in sorted(by_step.items())]


def orders_by_step(run: Trained) -> list[tuple[int, float]]:
    """(step, log10 of the gradient at the first unit over that at the last) of every look."""
    return [(look.step, look.flow.orders) for look in looks(run)]


def look_at(run: Trained, step: int) -> Look | None:
    """The look at this step, if there was one with finite figures."""
    return next((look for look in looks(run) if look.step == step), None)


def last_look(run: Trained) -> Look | None:
    """The last look with finite figures after the first step."""
    found = [look for look in looks(run) if look.step > 0]
    return found[-1] if found else None


def mean_share(look: Look | None) -> float | None:
    """The share of the gradient that comes through the shortcuts, mean over the units that have one."""
    shares = [] if look is None else [share for share in look.seen["units"]["share"] if share is not None]
    return sum(shares) / len(shares) if shares else None


def label(kind: str, norm: str) -> str:
    """`plain` or `plain without normalisation`."""
    return kind if norm == "batch" else f"{kind} without normalisation"


def named(case: Case) -> str:
    """`plain-56` or `plain-56 without normalisation`."""
    return label(f"{case.facts['kind']}-{case.facts['depth']}", case.facts["norm"])


def relative_gradient(seen: Mapping[str, Any]) -> list[float]:
    """The gradient's norm at the stem's output and at every unit's, over that at the last unit's."""
    norms = [seen["stem"]["gradient"], *seen["units"]["gradient"]]
    return [max(norm, _TINY) / max(norms[-1], _TINY) for norm in norms]


def signal(seen: Mapping[str, Any]) -> list[float]:
    """The root mean square of the activations at the stem's output and at every unit's."""
    return [max(value, _TINY) for value in (seen["stem"]["signal"], *seen["units"]["signal"])]


def share(seen: Mapping[str, Any]) -> list[float]:
    """The shortcut's share of the gradient by unit, zero for a unit without one."""
    return [value or 0.0 for value in seen["units"]["share"]]


def by_unit(trained: Sequence[Trained], depth: int) -> list[Chart]:
    """Gradient, signal and share by unit, for the networks of one depth, before training and at the last look."""
    groups = [
        (norm, [run for run in trained if (run.case.facts["depth"], run.case.facts["norm"]) == (depth, norm)])
        for norm in NORMS
    ]
    found = []
    for norm, runs in groups:
        found.append(_chart(
            f"gradient-{norm}", f"The gradient at every unit, {NORMS[norm]}", runs, relative_gradient, logarithmic=True,
            y="norm, over the last unit's",
            caption="From the loss (right) back to the stem (0, left). A level line is a gradient that reaches every"
            " unit undiminished ([I], equation 5).",
        ))  # fmt: skip
        found.append(_chart(
            f"signal-{norm}", f"The signal at every unit, {NORMS[norm]}", runs, signal, logarithmic=True,
            y="root mean square of the activations", caption="At the output of the stem (0) and of every unit.",
        ))  # fmt: skip
    residual = [run for _, runs in groups for run in runs if run.case.facts["kind"] == "residual"]
    found.append(_chart(
        "share", "The share of the gradient that comes through the shortcut: the 1 +", residual, share, first=1,
        y="share of the gradient", logarithmic=False,
        caption="The rest comes through F. The two sum to 1; beyond 1 they point against each other.",
    ))  # fmt: skip
    return [chart for chart in found if chart.lines]


def _chart(
    name: str, title: str, runs: Sequence[Trained], of: Callable[[Mapping[str, Any]], list[float]], *, y: str,
    caption: str, logarithmic: bool, first: int = 0,
) -> Chart:  # fmt: skip
    lines, marks = [], []
    alike = len({run.case.facts["norm"] for run in runs}) == 1  # what the lines have in common, the title says
    for case in dict.fromkeys(run.case.name for run in runs):
        of_case = [run for run in runs if run.case.name == case]
        for when, pick in (("before", lambda run: look_at(run, 0)), ("last look", last_look)):
            seen = [look.seen for run in of_case if (look := pick(run)) is not None]
            if seen:
                marks = stages(seen[0])
                middle, low, high = _band([of(each) for each in seen], logarithmic)
                facts = of_case[0].case.facts
                word = f"{facts['kind']}-{facts['depth']}" if alike else NORMS[facts["norm"]]
                lines.append(Line(
                    f"{word}, {when}", list(range(first, first + len(middle))), middle, low, high,
                    group=facts["group"], dashed=when == "before",
                ))  # fmt: skip
    band = " The band is the 95 % interval over the seeds." if any(line.low for line in lines) else ""
    dashes = " Dashed: before training; whole: the last look in training."
    return Chart(name, title, caption + dashes + band, "unit", y, lines=lines, log_y=logarithmic, marks=marks)


def _band(
    rows: Sequence[Sequence[float]], logarithmic: bool
) -> tuple[list[float], list[float] | None, list[float] | None]:
    """Mean (geometric, where logarithmic) and its interval by column."""
    columns = [[math.log10(value) if logarithmic else value for value in column] for column in zip(*rows, strict=True)]

    def back(value: float) -> float:
        return 10 ** min(300.0, max(-300.0, value)) if logarithmic else value

    middle = [back(sum(column) / len(column)) for column in columns]
    found = [interval(column) for column in columns]
    if len(rows) < LEAST or any(item is None for item in found):
        return middle, None, None
    return middle, [back(item[1]) for item in found if item], [back(item[2]) for item in found if item]


def while_training(trained: Sequence[Trained]) -> list[Chart]:
    """What the gradient loses or gains between the last unit and the first, against iterations, a line a network."""
    found = []
    for norm in NORMS:
        lines = []
        for case in dict.fromkeys(run.case.name for run in trained if run.case.facts["norm"] == norm):
            runs = [run for run in trained if run.case.name == case]
            orders = [{look.step: look.flow.orders for look in looks(run)} for run in runs]
            steps = sorted(set.intersection(*(set(each) for each in orders)))
            if steps:
                middle, low, high = _band([[each[step] for step in steps] for each in orders], logarithmic=False)
                facts = runs[0].case.facts
                lines.append(Line(f"{facts['kind']}-{facts['depth']}", steps, middle, low, high, group=facts["group"]))
        if lines:
            found.append(Chart(
                f"training-{norm}", f"The gradient at the first unit while training, {NORMS[norm]}",
                "log10 of its norm over that at the last unit: at 0 it arrives as it set out, under -2 it has vanished,"
                " over +2 exploded. Runs that diverged end where their last look was; a line ends with the first of its"
                " runs.", "iterations", "orders of magnitude", kind="points", lines=lines,
            ))  # fmt: skip
    return found


def of_looks(found: Sequence[tuple[str, Look]]) -> list[Chart]:
    """Gradient, signal and share by unit, of single networks: (name, look)."""
    charts = []
    for name, title, y, of, first in (
        ("gradient", "The gradient at every unit", "norm, over the last unit's", relative_gradient, 0),
        ("signal", "The signal at every unit", "root mean square of the activations", signal, 0),
        ("share", "The share of the gradient that comes through the shortcut", "share of the gradient", share, 1),
    ):
        lines = [
            Line(word, list(range(first, first + len(values))), values, group=word, dashed=word.endswith("initial"))
            for word, look in found
            if (values := of(look.seen)) and (name != "share" or mean_share(look) is not None)
        ]
        if lines:
            marks = stages(found[0][1].seen) if len({len(line.x) for line in lines}) == 1 else []
            charts.append(Chart(
                name, title, "From the stem (0) to the last unit.", "unit", y, lines=lines, log_y=name != "share",
                marks=marks,
            ))  # fmt: skip
    return charts


def stages(seen: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Where each stage after the first begins: (number of its first unit, from 1; words)."""
    names = [str(name).split(".") for name in seen["units"]["name"]]
    return [
        (float(place), f"stage {stage.removeprefix('layer')}")
        for place, (stage, unit) in enumerate(names, start=1)
        if unit == "0" and stage != "layer1"
    ]
