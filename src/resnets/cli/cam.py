"""`resnets cam`: where in images a network finds its classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output
from resnets.errors import InputError

EXAMPLES = """\
resnets cam runs/photos some/picture.jpg
resnets cam runs/photos holiday/ --top 3 --out maps
resnets cam runs/photos pet.jpg --class cat --class dog --json"""


def cam(
    run: Annotated[str, Parameter(help="a run folder")],
    /,
    *images: Annotated[str, Parameter(help="files, folders or patterns")],
    classes: Annotated[
        list[str] | None,
        Parameter(name="--class", negative=(), help="a class to show; may be given several times"),
    ] = None,
    top: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=1),
            help="how many of the likeliest classes to show [default: 1, unless --class is given]",
        ),
    ] = None,
    out: Annotated[Path, Parameter(help="the folder for the overlays, one PNG an image")] = Path("cam"),
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Show where in images a class's logit comes from: exact class activation maps, laid over the images.

    One class is drawn at the image's own size, several side by side on one scale. The mean of a map plus the bias of
    its class is the logit. Files that are already there are not overwritten.

    A file that cannot be read is named on an error line; the others are still done, and the exit code is then 2.
    """
    if not images:
        raise InputError("no images to explain: name files, folders or patterns")
    from resnets.evaluation import cam as explain

    results = explain(run, images, classes=classes or (), top=top, out=out)
    if json:
        output.document([result.to_dict() for result in results])
    for result in results:
        if result.error is not None:
            output.error(f"{result.path}: {result.error}")
        elif not json:
            words = ", ".join(
                f"{item.name} {100 * item.probability:.1f} % (logit {item.logit:.2f})" for item in result.maps
            )
            output.show(output.one_line(f"{result.path}: {words} -> {result.out}"))
    if any(result.error is not None for result in results):
        sys.exit(2)
