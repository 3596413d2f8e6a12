"""`resnets data`: what a source of images holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resnets.cli import output

EXAMPLES = """\
resnets data digits
resnets data photos/ --montage photos.png
resnets data photos/ --json"""


def data(
    source: Annotated[str, Parameter(help="as for `resnets train`")],
    /,
    *,
    montage: Annotated[
        Path | None,
        Parameter(name=["--montage", "--out"], help="draw images of each class into this PNG file"),
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Examine a source of images.

    Splits, classes, sizes and modes; unreadable files, empty classes, exact duplicates across splits.
    """
    from resnets.data import examine, open_source
    from resnets.data import montage as draw

    found = open_source(source)
    report = examine(found)
    if montage is not None:
        draw(found, montage)
        output.say(f"montage: {montage}")
    if json:
        output.document(report)
