"""`resnets evaluate`: measure a finished run on its own source or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from resnets.cli import output
from resnets.cli.loading import importing
from resnets.errors import counted

if TYPE_CHECKING:
    from resnets.evaluation import Evaluation, RegressionEvaluation

EXAMPLES = """\
resnets evaluate runs/digits
resnets evaluate runs/photos other-photos/ --split train --flips
resnets evaluate runs/digits --json"""


def evaluate(
    run: Annotated[str, Parameter(help="a run folder")],
    source: Annotated[
        str | None, Parameter(help="images with the run's classes [default: the run's own source]")
    ] = None,
    /,
    *,
    split: Annotated[
        Literal["test", "validation", "train"] | None,
        Parameter(help="which images [default: test, else validation, else all]"),
    ] = None,
    flips: Annotated[
        bool, Parameter(negative=(), show_default=False, help="average over each image and its mirror image")
    ] = False,
    skip_unreadable: Annotated[
        bool, Parameter(negative=(), show_default=False, help="leave damaged images out, and list them")
    ] = False,
    calibrated: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="divide the logits by the run's temperature"),
    ] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Measure a run: top-1, top-5, loss, and the accuracy of each class; of a regression the errors of each target.

    Every image or row counts once. Classes and targets are matched by name, and images are prepared as they were for
    training.
    """
    with importing():
        from resnets.evaluation import RegressionEvaluation, Run

    found = Run.open(run)
    evaluation = found.evaluate(
        source, split=split, flips=flips, skip_unreadable=skip_unreadable, calibrated=calibrated
    )
    for name, reason in evaluation.skipped:
        output.say(f"skipped {name}: {reason}")
    for note in evaluation.notes:
        output.say(f"note: {note}")
    if json:
        output.document({"run": str(found.path), **evaluation.to_dict()})
    elif isinstance(evaluation, RegressionEvaluation):
        _show_numbers(evaluation)
    else:
        _show(evaluation)


def _show(figures: Evaluation) -> None:
    first = f"top-{min(5, len(figures.per_class))}"
    overall = output.table(
        f"{figures.source}, {figures.split}",
        {"top-1 %": True, "95 % interval": True, f"{first} %": True, "loss": True, "ECE %": True, "images": True},
    )
    ends = figures.intervals["top1"] or (0, 100)
    overall.add_row(
        f"{figures.top1:.2f}", f"{ends[0]:.2f} to {ends[1]:.2f}", f"{figures.top5:.2f}", f"{figures.loss:.4f}",
        f"{100 * figures.ece:.2f}", f"{figures.n:,}",
    )  # fmt: skip
    each = output.table("", {"class": False, "top-1 %": True, "images": True})
    for (name, accuracy), row in zip(figures.per_class.items(), figures.confusion, strict=True):
        each.add_row(output.one_line(name), "–" if accuracy is None else f"{accuracy:.2f}", f"{sum(row):,}")
    output.show(overall, each)


def _show_numbers(figures: RegressionEvaluation) -> None:
    table = output.table(
        f"{figures.source}, {figures.split}: {counted(figures.n, 'case')}",
        {"target": False, "unit": False, "MAE": True, "RMSE": True, "95 % interval": True, "R²": True,
         "in their intervals": True},
    )  # fmt: skip
    for target in figures.targets:
        ends = target.intervals.get("rmse")
        table.add_row(
            output.one_line(target.name), output.one_line(target.unit) or "–",
            f"{target.mae:.4g}", f"{target.rmse:.4g}",
            f"{ends[0]:.4g} to {ends[1]:.4g}" if ends else "–", "–" if target.r2 is None else f"{target.r2:.3f}",
            "–" if target.coverage is None else f"{100 * target.coverage:.1f} %",
        )  # fmt: skip
    output.show(table)
