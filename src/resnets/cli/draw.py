"""`resnets draw`: networks, and their units, as pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output
from resnets.errors import InputError

EXAMPLES = """\
resnets draw resnet152
resnets draw vgg19 plain34 resnet34 --out figure3.png
resnets draw preact-resnet110 --unit 2.1 --out unit.svg"""


def draw(
    *names: Annotated[str, Parameter(help="names of networks, specification files, run folders or weights files")],
    out: Annotated[
        Path | None, Parameter(help="the file to write: .svg, .png or .pdf; without it, NAME.svg if there is none yet")
    ] = None,
    unit: Annotated[
        str | None,
        Parameter(help="draw one unit, step by step: 2.1 is the first of the second stage; or `typical`"),
    ] = None,
    size: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="side of the images in pixels, if not the network's own")
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Draw networks side by side as in the papers, or one unit of each with its shapes.

    Shortcuts are arcs, dashed where the dimensions change; output sizes are aligned. A network of more than 48 layers
    is folded, and what is drawn beside it: equal units in a row are drawn once, with their number.
    """
    if not names:
        raise InputError("no network to draw: name one or more, such as resnet34 (`resnets list` shows them)")
    path = out or _free(names, unit)
    from resnets.inspection import drawing

    drawing.draw(names, path, unit=unit, size=size)
    if json:
        output.document({"out": str(path), "networks": list(names), "unit": unit})
    else:
        output.show(output.one_line(str(path)))


def _free(names: Sequence[str], unit: str | None) -> Path:
    """A file in this folder that is called like the networks and not there yet.

    Raises:
        InputError: it is there.
    """
    words = [Path(name).name for name in names] + ([] if unit is None else [f"unit-{unit}"])
    stem = re.sub(r"[^\w.+-]+", "-", "-".join(words)).strip("-.")[:100]
    path = Path(f"{stem or 'network'}.svg")
    if path.exists():
        raise InputError(f"{path} is there already; --out {path} replaces it, and another --out leaves it alone")
    return path
