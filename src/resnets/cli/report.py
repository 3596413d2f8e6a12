"""`resnets report`: write the report of a finished run again."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from resnets.cli import output

EXAMPLES = """\
resnets report runs/digits
resnets report runs/photos photos/
resnets report runs/imported some/photos --json"""


def report(
    run: Annotated[str, Parameter(help="a run folder")],
    source: Annotated[
        str | None, Parameter(help="where the run's images are [default: where they were when it was trained]")
    ] = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Write report.html of a finished run again: figures, confusions, calibration, mistakes, suspected labels, copies.

    Every run ends with it. Its figures are those of `resnets evaluate`. Imported weights have no images, so name some.

    Beside it in the run folder stands suspects.csv: every image examined, the label most likely to be wrong first, with
    the columns split, name, label, suggested, score, p_label, p_suggested. Splits are merged by share: the first 2 % of
    the file are the first 2 % of each split. --json has its path, the number of images and the first 20.
    """
    from resnets.evaluation import Run
    from resnets.evaluation.report.renewing import renew

    found = renew(Run.open(run), source)
    for note in found.notes:
        output.say(f"note: {note}")
    if json:
        output.document(found.to_dict())
    else:
        output.show(output.one_line(str(found.report)))
