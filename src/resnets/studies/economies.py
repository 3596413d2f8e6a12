"""What networks cost and how well they fit: what the studies of the two economies, bottleneck and pooling, share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.studies.curves import spread
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
        "train_top1": run.evaluate(split="train").top1,
    }


def fitted_error(run: Trained) -> float:
    """Percent of the training images, as they are evaluated, that a finished network gets wrong; 100 if it diverged."""
    return 100.0 - float(run.measured["train_top1"]) if run.measured else 100.0


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
        tests, trains = [run.test_error for run in runs], [fitted_error(run) for run in runs]
        rows.append([
            kind, cost(trained, kind, "parameters"), cost(trained, kind, "multiply_adds"),
            spread(trains), spread(tests),
            spread([test - train for test, train in zip(tests, trains, strict=True)]), published.get(kind, "–"),
        ])  # fmt: skip
    return Table(
        "costs", "Costs and errors",
        ("network", "parameters", "multiply-adds", "training error, %", "test error, %", "gap, points", paper), rows,
        "Mean ± standard deviation over the seeds. Both errors are of images that are not augmented; the gap is the"
        " test error less the training error.",
        paper=(paper,),
    )  # fmt: skip


def errors_chart(trained: Sequence[Trained], caption: str) -> Chart:
    """Training and test error of every kind, as bars: means over the seeds."""
    kinds = list(dict.fromkeys(str(run.case.facts["kind"]) for run in trained))
    lines = []
    for name, value in (("training", fitted_error), ("test", lambda run: run.test_error)):
        rows = [[value(run) for run in runs_of(trained, kind)] for kind in kinds]
        lines.append(Line(name, kinds, [sum(row) / len(row) for row in rows], group=name))
    return Chart("errors", "Training and test error", caption, "", "error, %", kind="bars", lines=lines)
