"""`resnets predict`: the classes of image files, or the numbers of a regression, of images or rows of a table."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output
from resnets.cli.loading import importing
from resnets.errors import InputError

EXAMPLES = """\
resnets predict runs/photos some/picture.jpg
resnets predict runs/prices new.csv --json
resnets predict runs/photos holiday/ "more/*.png" --top 3 --json
find . -name "*.webp" | resnets predict runs/photos -"""


def predict(
    run: Annotated[str, Parameter(help="a run folder")],
    /,
    *images: Annotated[str, Parameter(help="files, folders or patterns; CSV files for a run of a table")],
    standard_input: Annotated[
        bool,
        Parameter(name="-", negative=(), show_default=False, help="read paths from standard input, one a line"),
    ] = False,
    top: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="how many classes to give of each image [default: 5]")
    ] = None,
    flips: Annotated[
        bool, Parameter(negative=(), show_default=False, help="average over each image and its mirror image")
    ] = False,
    calibrated: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="probabilities at the run's temperature"),
    ] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Say what image files show: the likeliest classes with their probabilities, or numbers with their intervals.

    A run of a table takes CSV files with its columns, and predicts every row.

    A file that cannot be read is named on an error line; the others are still predicted, and the exit code is
    then 2.
    """
    if not (images or standard_input):
        raise InputError("no images to predict: name files, folders or patterns, or - for a list on standard input")
    paths = [*images, *(_listed() if standard_input else ())]
    with importing():
        from resnets.evaluation import Run

    found = Run.open(run)
    if found.targets and top is not None:
        raise InputError(f"{run} predicts numbers, of which there is no --top; leave it out")
    predictions = found.predict(paths, top=5 if top is None else top, flips=flips, calibrated=calibrated)
    if json:
        output.document([prediction.to_dict() for prediction in predictions])
    for prediction in predictions:
        for note in prediction.notes:
            output.say(f"note: {note}")
        if prediction.error is not None:
            output.error(f"{prediction.path}: {prediction.error}")
        elif not json:
            output.show(output.one_line(f"{prediction.path}: {prediction.words}"))
    if any(prediction.error is not None for prediction in predictions):
        sys.exit(2)


def _listed() -> list[str]:
    """The paths on standard input, one a line."""
    paths = [line.rstrip("\r\n") for line in sys.stdin]
    if not any(paths):
        raise InputError("- stands for a list of paths on standard input, one a line, but that is empty")
    return [path for path in paths if path]
