"""`resnets inspect`: what a network is, to the last parameter; several side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output
from resnets.cli.loading import importing
from resnets.errors import InputError

if TYPE_CHECKING:
    from resnets.inspection.inspect import Inspection

EXAMPLES = """\
resnets inspect resnet50
resnets inspect vgg19 plain34 resnet34
resnets inspect resnet1202 --layers
resnets inspect runs/photos --json"""


def inspect(
    *names: Annotated[str, Parameter(help="names of networks, specification files, run folders or weights files")],
    layers: Annotated[
        bool, Parameter(negative=(), show_default=False, help="also one row a layer; repeated units are folded")
    ] = False,
    size: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="side of the images in pixels, if not the network's own")
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Count a network: depth, parameters, multiply-adds, memory, receptive fields and paths, stage by stage.

    Several names are compared side by side. Receptive fields go from the smallest path through the network to all
    paths together, in pixels. Memory is that of the activations of one image in float32. --json holds every layer,
    always; for several names it is a list.
    """
    if not names:
        raise InputError("no network to inspect: name one or more, such as resnet50 (`resnets list` shows them)")
    with importing():
        from resnets.inspection.inspect import inspect as look

    found = [look(name, size=size) for name in names]
    if json:
        documents = [each.to_dict() for each in found]
        output.document(documents if len(documents) > 1 else documents[0])
    else:
        _print(found, layers)


def _print(found: list[Inspection], layers: bool) -> None:
    from resnets.inspection import tables

    if len(found) > 1:
        output.show(tables.ComparisonView(found))
    else:
        output.show(tables.View(found[0]))
    for each in found if layers else []:
        output.show("", tables.LayersView(each))
