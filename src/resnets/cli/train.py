"""`resnets train`: train a network on a source of images into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from resnets.cli import output
from resnets.cli.loading import importing
from resnets.errors import InputError

if TYPE_CHECKING:
    from resnets.evaluation import Run

EXAMPLES = """\
resnets train digits --out runs/digits
resnets train photos/ --arch resnet18 --epochs 30 --out runs/photos
resnets train table.csv --target price --out runs/prices
resnets train --resume --out runs/photos"""


def train(
    source: Annotated[
        str | None,
        Parameter(help="`digits`, `cifar10`, …; a folder of class folders, or of parquet shards; or a CSV file"),
    ] = None,
    /,
    *,
    arch: Annotated[
        str | None, Parameter(help="the network: a name of `resnets list`, or a JSON file [default: auto]")
    ] = None,
    recipe: Annotated[
        str | None,
        Parameter(help="paper, fast, long, speedrun, imagenet, finetune or table [default: fast; of tables: table]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        Parameter(
            name="--set",
            negative=(),
            consume_multiple=True,
            help="settings of the recipe to change: key=value …",
        ),
    ] = None,
    epochs: Annotated[int | None, Parameter(validator=Number(gte=1), help="passes over the training images")] = None,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0), help="of every random choice [default: 0]")] = None,
    out: Annotated[Path | None, Parameter(help="the run folder [default: a new one under runs/]")] = None,
    resume: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="go on with the run in --out, with the settings it has"),
    ] = False,
    workers: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=0),
            help="threads that decode [default: one a core if images do not fit in memory]",
        ),
    ] = None,
    device: Annotated[str | None, Parameter(help="cpu, cuda, cuda:1, mps, … [default: auto]")] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None, Parameter(help="of the arithmetic [default: auto]")
    ] = None,
    deterministic: Annotated[
        bool, Parameter(negative=(), show_default=False, help="the same bits at every run; slower")
    ] = False,
    memory: Annotated[
        Literal["normal", "low"] | None,
        Parameter(help="low: less of it, for half to three quarters more time and the same weights [default: normal]"),
    ] = None,
    cache: Annotated[
        bool, Parameter(negative=(), show_default=False, help="keep photographs decoded in the user's cache folder")
    ] = False,
    skip_unreadable: Annotated[
        bool, Parameter(negative=(), show_default=False, help="leave damaged images out, and list them")
    ] = False,
    size: Annotated[
        int | None,
        Parameter(validator=Number(gte=1), help="side of the images in pixels [default: by the images]"),
    ] = None,
    weights: Annotated[
        str | None,
        Parameter(
            help="what to start from, as with --recipe finetune: a run folder, a weights file, torchvision:resnet50,"
            " hf:OWNER/NAME"
        ),
    ] = None,
    threads: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="processor threads [default: all cores]")
    ] = None,
    target: Annotated[
        list[str] | None,
        Parameter(negative=(), help="of a CSV file: the column to predict; several by commas, or given again"),
    ] = None,
    task: Annotated[
        Literal["classification", "regression"] | None,
        Parameter(help="refuse a source that is for the other one [default: as the source is]"),
    ] = None,
    json: Annotated[
        bool, Parameter(negative=(), show_default=False, help="print one JSON document at the end")
    ] = False,
) -> None:
    """Train a network on images or a table, keeping everything about the run in one folder.

    A validation split is held out of the training images when the source has none; every choice is made on
    it, and the test split is read once, at the end. Ctrl-C saves at the current step; --resume goes on.
    """
    given: dict[str, Any] = {
        "arch": arch, "recipe": recipe, "overrides": set_, "seed": seed, "epochs": epochs, "workers": workers,
        "device": device, "precision": precision, "size": size, "weights": weights,
        "threads": threads, "memory": memory, "task": task,
        "target": target,
    }  # fmt: skip
    _check(source, out, resume)
    with importing():
        from resnets import training
    from resnets.cli.display import display

    run = training.train(
        source,
        out=out,
        resume=resume,
        deterministic=deterministic,
        skip_unreadable=skip_unreadable,
        cache=cache,
        display=display,
        # What was not given is left to the defaults of `training.train` or, when resuming, to the run.
        **{key: value for key, value in given.items() if value is not None},
    )
    if json:
        output.document(_document(run))
    else:
        _summarise(run)


def _check(source: str | None, out: Path | None, resume: bool) -> None:
    """Refuse the slips that only the command line can see."""
    is_run = source is not None and (Path(source) / "run.json").is_file()
    if resume and out is None:
        hint = source if is_run else "RUN"
        raise InputError(f"--resume goes on with the run in --out; write `resnets train --resume --out {hint}`")
    if is_run:
        raise InputError(
            f"{source}: this is a run folder, not a source of images; to go on with it, write "
            f"`resnets train --resume --out {source}`"
        )
    if source is None and not resume:
        raise InputError(
            "nothing to train on: name a source, as in `resnets train digits`, or a folder of class folders"
        )


def _document(run: Run) -> dict[str, Any]:
    info = run.info
    return {
        "run": str(run.path),
        "weights_sha256": info["weights"]["sha256"],
        "arch": info["arch"],
        "parameters": info["parameters"],
        "seed": info["seed"],
        **info["results"],
    }


def _figure(found: dict[str, Any]) -> str:
    if "top1" in found:
        return f"top-1 {found['top1']:.2f} %"
    unit = found["targets"][0]["unit"] if len(found["targets"]) == 1 else "standard deviations"
    return f"RMSE {found['rmse']:.4g} {unit}".rstrip()


def _summarise(run: Run) -> None:
    figures = [
        f"{split} {_figure(found)}" for split in ("validation", "test") if (found := run.info["results"].get(split))
    ]
    output.show(f"{run.path}: {', '.join(figures)}")
    what = "TABLE.csv" if run.encoding is not None else "IMAGE…"
    output.say(f"next: resnets evaluate {run.path}    or    resnets predict {run.path} {what}")
