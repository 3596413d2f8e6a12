"""`resnets import`: weights from elsewhere as a run folder."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output

EXAMPLES = """\
resnets import resnet50.pth --out runs/resnet50
resnets import model.safetensors --origin timm --crop 0.95 --out runs/a1
resnets import torchvision:resnet50 --out runs/resnet50
resnets import converted.pth --origin keras --out runs/keras
resnets import w.pth --mean 0.46 0.44 0.4 --std 0.23 0.22 0.2 --classes names.txt --out runs/w"""


def import_file(
    file: Annotated[str, Parameter(help="a .safetensors or .pth file, torchvision:NAME or hf:OWNER/NAME")],
    /,
    *,
    out: Annotated[str, Parameter(help="the run folder to make")],
    origin: Annotated[
        Literal["torchvision", "timm", "keras"] | None,
        Parameter(help="whose habits hold for what keys cannot say [default: as the keys tell]"),
    ] = None,
    arch: Annotated[str | None, Parameter(help="the network, where the keys do not tell it")] = None,
    stride_in: Annotated[
        Literal["3x3", "1x1"] | None, Parameter(help="where bottlenecks halve the map [default: the origin's]")
    ] = None,
    norm_eps: Annotated[
        float | None, Parameter(validator=Number(gt=0), help="what normalisation adds to the variance")
    ] = None,
    size: Annotated[int | None, Parameter(validator=Number(gte=1), help="side of the input in pixels")] = None,
    crop: Annotated[
        float | None, Parameter(validator=Number(gt=0, lte=1), help="centre of the resized image that is seen")
    ] = None,
    interpolation: Annotated[
        Literal["nearest", "bilinear", "bicubic", "lanczos"] | None, Parameter(help="how images are resized")
    ] = None,
    mean: Annotated[
        list[float] | None,
        Parameter(consume_multiple=True, negative=(), help="of each channel, as the network has them"),
    ] = None,
    std: Annotated[
        list[float] | None, Parameter(consume_multiple=True, negative=(), help="deviation of each channel")
    ] = None,
    channel_order: Annotated[Literal["RGB", "BGR"] | None, Parameter(help="in which the network takes colours")] = None,
    value_range: Annotated[
        Literal[1, 255] | None, Parameter(help="the largest value of the scale that --mean and --std are on")
    ] = None,
    classes: Annotated[
        str | None, Parameter(help="a text file of class names, one a line, in the logits' order")
    ] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Make a run folder of weights of torchvision, timm or ours, for every command that takes a run.

    The network is read off the keys and shapes; a key that does not fit is named and nothing is written. What keys
    cannot say, such as how images are prepared, is the origin's habit unless an option says otherwise. Where the
    library is installed, its own network is given the same weights, and the largest difference of logits is printed.
    """
    from resnets.evaluation import import_weights

    run = import_weights(
        file, out, origin=origin, arch=arch, stride_in=stride_in, norm_eps=norm_eps, size=size, crop_fraction=crop,
        interpolation=interpolation, mean=mean, std=std, channel_order=channel_order, value_range=value_range,
        classes=classes,
    )  # fmt: skip
    facts = dict(run.imported or {})
    for note in facts["notes"]:
        output.say(f"note: {note}")
    output.say(facts["proof"])
    if json:
        output.document(
            {
                "run": str(run.path),
                "arch": run.info["arch"],
                "parameters": run.info["parameters"],
                "classes": len(run.classes),
                "preprocessing": run.preprocessing.to_dict(),
                "imported": facts,
            }
        )
    else:
        output.show(
            output.one_line(
                f"{run.path}: {run.info['arch']}, {run.info['parameters']:,} parameters, {len(run.classes):,} classes"
            )
        )
