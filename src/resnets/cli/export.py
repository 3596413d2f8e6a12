"""`resnets export`: a run's weights for another library."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from resnets.cli import output
from resnets.errors import InputError

EXAMPLES = """\
resnets export runs/photos --to torchvision --out photos.pth
resnets export runs/photos --to timm --out photos.safetensors
resnets export runs/photos --to hf:OWNER/NAME"""


def export(
    run: Annotated[str, Parameter(help="a run folder")],
    /,
    *,
    to: Annotated[str, Parameter(help="torchvision, timm, or a repository of the hub as hf:OWNER/NAME")],
    out: Annotated[str | None, Parameter(help="the file to write: .safetensors or .pth")] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Write a run's weights under the keys of another library, or put the run on the hub as a network.

    The library's own network is given the weights first, where it is installed, and its logits are compared. The line
    of Python that loads the file is printed on standard error. No file is overwritten. On the hub, the network has its
    classes, preprocessing and a card beside it.
    """
    on_hub = to.startswith("hf:")
    if on_hub and out is not None:
        raise InputError(f"{to} is on the hub, so there is no --out to write; leave it out")
    if not on_hub and out is None:
        raise InputError("--out names the file to write, for example --out weights.safetensors")
    from resnets.evaluation import Run, export_weights, loading_line
    from resnets.models import push

    found = Run.open(run)
    if out is None:
        place, line = push(found, to), f'model = resnets.create(weights="{to}")'
    else:
        place, line = str(export_weights(found, out, to=to)), loading_line(found.spec, to, out)
    output.say(f"to load it: {line}")
    if json:
        output.document({"out": place, "to": to, "load": line})
    else:
        output.show(output.one_line(place))
