"""What several studies show alike: training curves with their spread over seeds, and figures as `mean ± deviation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resnets.studies.statistics import interval
from resnets.studies.study import Chart, Line, Settings, Trained


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`8.75 ± 0.12`: mean and standard deviation; of one value that value, of none a dash."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return "diverged" if values else "–"
    text = f"{np.mean(finite):.{digits}f}"
    if len(finite) > 1:
        text += f" ± {np.std(finite, ddof=1):.{digits}f}"
    return text + (f" ({len(values) - len(finite)} diverged)" if len(finite) < len(values) else "")


def training_curves(settings: Settings, trained: Sequence[Trained], *, by: str = "group", of: str = "") -> list[Chart]:
    """Training error and, where images were held out, validation error against iterations, a line a case.

    Cases that share the fact `by` share a colour; `of` tells charts of several groups apart.
    """
    names = list(dict.fromkeys(run.case.name for run in trained))
    charts = [_curves(settings, trained, names, "training", by, of)]
    if any(record.get("validation") for run in trained for record in run.curve):
        charts.append(_curves(settings, trained, names, "validation", by, of))
    return [chart for chart in charts if chart.lines]


def _curves(
    settings: Settings, trained: Sequence[Trained], names: Sequence[str], split: str, by: str, of: str
) -> Chart:
    lines = []
    for name in names:
        runs = [run for run in trained if run.case.name == name and run.curve and run.diverged is None]
        if not runs:
            continue
        steps = [int(record["step"]) for record in runs[0].curve]
        errors = [row for run in runs if (row := _errors(run.curve, split)) and len(row) == len(steps)]
        if len(errors) < len(runs):
            continue
        columns = list(zip(*errors, strict=True))
        # Bands of two seeds are eighteen deviations wide and hide the lines.
        ranges = [found for column in columns if len(column) > 2 and (found := interval(column))]
        lines.append(
            Line(
                name, steps, [float(np.mean(column)) for column in columns],
                low=[max(0.0, found[1]) for found in ranges] or None,
                high=[min(100.0, found[2]) for found in ranges] or None,
                group=str(runs[0].case.facts.get(by, name)),
            )
        )  # fmt: skip
    marks = [(float(step), "rate / 10") for step in settings.overrides.get("milestones", ())]
    what = "The training images, augmented, over each epoch." if split == "training" else "The images held out."
    band = " Mean over the seeds; the band is its 95 % interval." if len(settings.seeds) > 2 else ""
    suffix, where = (f"-{of.split()[0]}", f", {of}") if of else ("", "")
    return Chart(
        f"{split}-error{suffix}", f"{split.capitalize()} error while training{where}", f"{what}{band}", "iterations",
        f"{split} error, %", lines=lines, marks=marks,
    )  # fmt: skip


def _errors(curve: Sequence[Mapping[str, Any]], split: str) -> list[float]:
    """Percent, an epoch each; empty where some epoch has none."""
    if split == "training":
        return [100.0 - float(record["accuracy"]) for record in curve]
    found = [record.get("validation") for record in curve]
    return [100.0 - float(item["top1"]) for item in found if item] if all(found) else []
