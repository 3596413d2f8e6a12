"""`resnets compare`: runs side by side, with paired tests on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from resnets.cli import output
from resnets.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from resnets.evaluation.comparison import Comparison

EXAMPLES = """\
resnets compare runs/resnet20 runs/resnet56
resnets compare runs/a runs/b runs/c --source other-photos/ --out comparison.html
resnets compare runs/a runs/b --split validation --json"""


def compare(
    *runs: Annotated[str, Parameter(help="two to eight run folders")],
    source: Annotated[
        str | None, Parameter(help="images to measure all runs on [default: each run's own source]")
    ] = None,
    split: Annotated[Literal["test", "validation", "train"], Parameter(help="which images")] = "test",
    out: Annotated[Path | None, Parameter(help="write a page with curves and pictures into this HTML file")] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Compare runs on the same images: their figures, and whether they differ at all.

    Top-1 is compared by McNemar's test, loss by the paired bootstrap (of a regression MAE and RMSE), with Holm's
    correction where there are more than two runs. Images are matched by name.
    """
    if not runs:
        raise InputError("no runs to compare: name two run folders or more")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InputError(f"{out} is no place for a page; --out names an HTML file in a folder that is there")
    from resnets.evaluation.comparison import compare as compare_runs

    found = compare_runs(*runs, source=source, split=split)
    for note in found.notes:
        output.say(f"note: {note}")
    if out is not None:
        from resnets.evaluation.report.comparison import write_comparison

        write_comparison(found, out)
        output.say(f"page: {out}")
    if json:
        output.document(found.to_dict())
    else:
        output.show(_table(found), *(output.one_line(pair.words) for pair in found.pairs))


def _table(found: Comparison) -> Table:
    from resnets.evaluation.comparison import rows

    heads, body = rows(found)
    made = output.table(
        f"{found.source}, {found.split}: {found.n:,} {'images' if found.task == 'classification' else 'cases'}",
        {head: index > 0 and not head.startswith(("network", "recipe")) for index, head in enumerate(heads)},
    )
    for row in body:
        made.add_row(*map(output.one_line, row))
    return made
