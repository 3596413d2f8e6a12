"""What networks cost and how well they fit: what the studies of the two economies, bottleneck and pooling, share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.studies.curves import spread
from resnets.studies.statistics import interval
from resnets.studies.study import Case, Chart, Line, Settings, Table, Trained


def measure(folder: Path, case: Case, settings: Settings) -> dict[str, Any]:
    """Count a run's network, and measure it on its training images as it is used: not augmented, without dropout.

    Returns:
        `parameters`, `multiply_adds` (of one image), and `train_top1` (percent).
    """
    from resnets.evaluation import Run
    from resnets.inspection.inspect import inspect

    run = Run.open(folder)
    counted = inspect(run.spec)
    return {
        "parameters": counted.parameters,
        "multiply_adds": counted.multiply_adds,
        "train_top1": run.evaluate(split="train").to_dict()["top1"],
    }


def fitted_error(run: Trained) -> float:
    """Percent of the training images, as they are evaluated, that a finished network gets wrong; 100 if it diverged."""
    return 100.0 - float(run.measured["train_top1"]) if run.measured else 100.0


def gap(run: Trained) -> float:
    """Test error less training error, in points, both of images that are not augmented; nan if it diverged.

    With both errors at 100 %, a network that diverged would pass for one that does not over-fit.
    """
    return run.test_error - fitted_error(run) if run.diverged is None else math.nan


def runs_of(trained: Sequence[Trained], kind: str) -> list[Trained]:
    """The runs of a kind (`facts["kind"]`), in the order of seeds."""
    return [run for run in trained if run.case.facts["kind"] == kind]


def cost(trained: Sequence[Trained], kind: str, what: str) -> int | None:
    """`parameters` or `multiply_adds` of a kind; None where no run of it is finished."""
    return next((int(run.measured[what]) for run in runs_of(trained, kind) if run.measured), None)


def table(trained: Sequence[Trained], paper: str, published: dict[str, str]) -> Table:
    """Costs and errors of every kind; `published` are the paper's figures, under the heading `paper`."""
    rows = []
    for kind in dict.fromkeys(str(run.case.facts["kind"]) for run in trained):
        runs = runs_of(trained, kind)
        rows.append([
            kind, cost(trained, kind, "parameters"), cost(trained, kind, "multiply_adds"),
            *(spread([value(run) for run in runs]) for value in (fitted_error, lambda run: run.test_error, gap)),
            published.get(kind, "–"),
        ])  # fmt: skip
    return Table(
        "costs", "Costs and errors",
        ("network", "parameters", "multiply-adds", "training error, %", "test error, %", "gap, points", paper), rows,
        "Mean ± standard deviation over the seeds. Both errors are of images that are not augmented; the gap is the"
        " test error less the training error.",
        paper=(paper,),
    )  # fmt: skip


def errors_chart(trained: Sequence[Trained], caption: str) -> Chart:
    """Training and test error of every kind, as bars: means over the seeds, with 95 % intervals from three seeds on."""
    kinds = list(dict.fromkeys(str(run.case.facts["kind"]) for run in trained))
    lines = []
    for name, value in (("training", fitted_error), ("test", lambda run: run.test_error)):
        rows = [[value(run) for run in runs_of(trained, kind)] for kind in kinds]
        # Intervals of two seeds are eighteen deviations wide and hide the bars.
        found = [item for row in rows if len(row) > 2 and (item := interval(row))]
        whole = bool(found) and len(found) == len(rows)
        lines.append(Line(
            name, kinds, [sum(row) / len(row) for row in rows], group=name,
            low=[max(0.0, item[1]) for item in found] if whole else None,
            high=[min(100.0, item[2]) for item in found] if whole else None,
        ))  # fmt: skip
    if any(line.low for line in lines):
        caption += " The arms are 95 % intervals."
    if any(run.diverged for run in trained):
        caption += " A run that diverged counts as 100 % of error."
    return Chart("errors", "Training and test error", caption, "", "error, %", kind="bars", lines=lines)
