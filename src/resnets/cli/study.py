"""`resnets study`: one of the papers' experiments, as a grid of ordinary runs with a verdict at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from resnets.cli import output
from resnets.errors import InputError

EXAMPLES = """\
resnets study --list
resnets study degradation --out studies/degradation
resnets study orderings --scale paper --plan
resnets study lesions --run runs/digits --out studies/lesions
resnets study gradients --diagnose runs/plain --out studies/diagnosis"""


def study(
    name: Annotated[str | None, Parameter(help="degradation, gradients, …: see --list")] = None,
    /,
    *,
    data: Annotated[str | None, Parameter(help="a source of images [default: the scale's own]")] = None,
    scale: Annotated[
        Literal["minutes", "hours", "paper"] | None,
        Parameter(help="how large: for a laptop, for an evening, or as in the paper [default: minutes]"),
    ] = None,
    seeds: Annotated[int | None, Parameter(help="how many [default: the scale's own]")] = None,
    depths: Annotated[
        list[int] | None,
        Parameter(
            negative=(), consume_multiple=True, help="of the networks, in weight layers [default: the scale's own]"
        ),
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="the study's folder [default: studies/NAME-SCALE; for --diagnose: none]")
    ] = None,
    jobs: Annotated[int | None, Parameter(help="runs at once, one thread each [default: one a core]")] = None,
    device: Annotated[str, Parameter(help="cpu, cuda, …", show_default=True)] = "auto",
    run: Annotated[
        list[str] | None,
        Parameter(negative=(), consume_multiple=True, help="study these run folders instead of training"),
    ] = None,
    diagnose: Annotated[
        str | None,
        Parameter(help="with gradients: say where this run's gradient dies, and which units need a shortcut"),
    ] = None,
    retrofit: Annotated[
        str | None, Parameter(help="with gradients: train this run's network again with shortcuts on just those units")
    ] = None,
    units: Annotated[
        int | None, Parameter(help="with --retrofit: how many units get one [default: as diagnosed]")
    ] = None,
    plan: Annotated[bool, Parameter(negative=(), show_default=False, help="say what it would do, and stop")] = False,
    list_: Annotated[bool, Parameter(name="--list", negative=(), show_default=False, help="the studies")] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Repeat an experiment of the papers: the question, a grid of runs, and a verdict with its confidence interval.

    It may be stopped at any point: the same command goes on, and repeats no finished run. More --seeds or --depths in
    the same folder add what is missing. The folder gets study.json, figures/ and report.html; its runs are ordinary
    run folders.
    """
    if list_:
        _list(json)
        return
    if name is None:
        raise InputError("no study named: `resnets study --list` shows them")
    _check(name, scale, seeds, depths, run, diagnose, retrofit, units, plan)
    if diagnose is not None:
        _diagnose(diagnose, data, out, json)
        return
    out = out or Path("studies") / f"{name}-{'runs' if run else 'retrofit' if retrofit else scale or 'minutes'}"
    from resnets.cli import study_view
    from resnets.studies import planning, running, store

    if run:
        study_view.finished(running.study_existing(name, run, out=out, data=data), out, json)
        return
    options = {"run": retrofit, "count": units} if retrofit is not None else None
    made = planning.make_plan(
        "retrofit" if retrofit is not None else name, out=out, scale=scale or "minutes", data=data, seeds=seeds,
        depths=depths, jobs=jobs, device=device, options=options,
    )  # fmt: skip
    if plan and json:
        output.document(study_view.plan_document(made))
        return
    study_view.plan(made)
    if plan:
        return
    study_view.follow(running.carry_out(made), made)
    study_view.finished(store.read_document(out) or {}, out, json)


def _check(
    name: str, scale: str | None, seeds: int | None, depths: list[int] | None, run: list[str] | None,
    diagnose: str | None, retrofit: str | None, units: int | None, plan: bool,
) -> None:  # fmt: skip
    """Refuse what contradicts itself."""
    for option, value in (("--diagnose", diagnose), ("--retrofit", retrofit)):
        if value is not None and name != "gradients":
            raise InputError(f"{option} belongs to the study gradients: resnets study gradients {option} RUN")
    given = [word for word, value in (("--run", run), ("--diagnose", diagnose), ("--retrofit", retrofit)) if value]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one of them")
    if units is not None and retrofit is None:
        raise InputError("--units says how many units --retrofit gives a shortcut; name a run with --retrofit RUN")
    trains = [word for word, value in (("--scale", scale), ("--seeds", seeds), ("--depths", depths)) if value]
    if trains and (run or diagnose):
        raise InputError(f"{given[0]} looks at what is trained already; leave out {', '.join(trains)}")
    if plan and (run or diagnose):
        raise InputError(f"{given[0]} trains nothing that could be planned; leave out --plan")


def _list(json: bool) -> None:
    from resnets.studies import catalogue

    found = catalogue.every()
    if json:
        output.document([
            {"name": item.name, "title": item.title, "question": item.question, "source": item.source,
             "effect": item.effect, "scales": sorted(item.presets), "takes_runs": item.existing is not None}
            for item in found
        ])  # fmt: skip
        return
    for item in found:
        output.show(f"{item.name:<14} {item.question}", f"{'':<14} {item.source}")


def _diagnose(run: str, data: str | None, out: Path | None, json: bool) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out names a folder for diagnosis.json")
    from resnets.files import make_folder, readable, write_text
    from resnets.studies import store
    from resnets.studies.diagnosis import diagnose, diagnosis_words

    found = diagnose(run, data)
    if json:
        output.document(found)
    else:
        for line in diagnosis_words(found):
            output.show(line)
    if out is not None:
        make_folder(out)
        write_text(out / "diagnosis.json", readable(store.plain(found)) + "\n")
        output.say(f"diagnosis: {out / 'diagnosis.json'}")
