"""What `resnets study` shows: the plan, a live table of the runs, the verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnets.cli import output
from resnets.cli.display import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from resnets.studies.estimate import Cost
    from resnets.studies.grid import Event
    from resnets.studies.planning import StudyPlan

_QUIET_SECONDS = 30.0  # between two plain lines where no terminal is


def plan(made: StudyPlan) -> None:
    """The question, what will be trained, and how long that will take."""
    settings, found = made.settings, made.study
    output.say(f"{found.title}: {found.question}")
    output.say(f"  {found.source}")
    table = output.table("", {"network": False, "layers": True, "parameters": True, "steps": True, "epochs": True,
                              "a run takes": True})  # fmt: skip
    for case in made.cases:
        cost = made.costs[case.name]
        table.add_row(
            case.name, str(cost.spec.depth), f"{cost.parameters:,}", f"{cost.steps:,}", f"{cost.epochs:.1f}",
            _takes(cost),
        )  # fmt: skip
    output.talk().print(table)
    total = len(made.cases) * len(settings.seeds)
    seeds = "one seed" if len(settings.seeds) == 1 else f"{len(settings.seeds)} seeds"
    done = f", {total - len(made.left)} of them done" if len(made.left) < total else ""
    where = f"{made.jobs} at once" if made.jobs > 1 else "one at a time"
    takes = f"about {duration(3600 * made.hours)} on this {made.device}, {where}" if made.left else "nothing is left"
    output.say(
        f"  {len(made.cases)} networks x {seeds} = {total} runs{done}, on {settings.data}, recipe {settings.recipe};"
        f" {takes}"
    )
    if made.left and found.measure is not None:
        output.say("  what is measured on finished runs (deleting units, loss surfaces, …) is not in this time")
    if settings.scale == "paper" and made.two_core_hours is not None and made.jobs != 2:
        output.say(f"  on two such cores about {duration(3600 * made.two_core_hours)}")
    if settings.scale == "paper":
        output.say(f"  on one H200 about {duration(3600 * made.h200_hours)} (calculated, not measured)")


def _takes(cost: Cost) -> str:
    return "–" if math.isnan(cost.seconds) else ("" if cost.measured else "≈ ") + duration(cost.seconds)


def plan_document(made: StudyPlan) -> dict[str, Any]:
    """The plan as plain data."""
    settings = made.settings
    return {
        "study": made.study.name, "scale": settings.scale, "data": settings.data, "seeds": list(settings.seeds),
        "depths": list(settings.depths), "recipe": settings.recipe, "overrides": dict(settings.overrides),
        "runs": len(made.cases) * len(settings.seeds), "runs_left": len(made.left), "jobs": made.jobs,
        "device": made.device, "hours": made.hours, "two_core_hours": made.two_core_hours,
        "h200_hours": made.h200_hours, "measuring_included": made.study.measure is None,
        "cases": [
            {
                "name": case.name, "depth": cost.spec.depth, "parameters": cost.parameters,
                "multiply_adds": cost.multiply_adds, "steps": cost.steps, "epochs": cost.epochs,
                "seconds": cost.seconds, "h200_seconds": cost.h200_seconds, "measured": cost.measured,
            }
            for case in made.cases
            for cost in [made.costs[case.name]]
        ],
    }  # fmt: skip


def follow(events: Iterable[Event], made: StudyPlan, *, console: Console | None = None,
           clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
    """Show the runs as they go: a table that moves on a terminal, else a line now and then."""
    console = console or output.talk()
    if console.is_terminal:
        _live(events, made, console)
        return
    last, done, total = (
        clock(),
        len(made.cases) * len(made.settings.seeds) - len(made.left),
        len(made.cases) * len(made.settings.seeds),
    )
    for event in events:
        done += event.kind == "done"
        if event.kind == "done" or clock() - last >= _QUIET_SECONDS:
            last = clock()
            console.print(f"{done}/{total} {_words(event)}", markup=False)


def _words(event: Event) -> str:
    where = f"{event.case}, seed {event.seed}"
    if event.kind == "done":
        return f"{where}: done"
    return f"{where}: epoch {event.epoch}/{event.epochs}, training error {event.error:.1f} %, loss {event.loss:.3f}"


def _live(events: Iterable[Event], made: StudyPlan, console: Console) -> None:
    from rich.live import Live

    waiting = {(case.name, seed) for case, seed in made.left}
    cells = {
        (case.name, seed): "waiting" if (case.name, seed) in waiting else "done"
        for case in made.cases for seed in made.settings.seeds
    }  # fmt: skip
    with Live(_grid(made, cells), console=console, refresh_per_second=4) as live:
        for event in events:
            before = cells[event.case, event.seed]
            cells[event.case, event.seed] = (
                f"{before.split(',')[-1].strip()} ✓" if event.kind == "done" and "%" in before
                else "✓" if event.kind == "done" else f"{event.epoch}/{event.epochs}, {event.error:.1f} %"
            )  # fmt: skip
            live.update(_grid(made, cells))


def _grid(made: StudyPlan, cells: Mapping[tuple[str, int], str]) -> Table:
    table = output.table("training error", {"network": False, **{f"seed {seed}": True for seed in made.settings.seeds}})
    for case in made.cases:
        table.add_row(case.name, *(cells[case.name, seed] for seed in made.settings.seeds))
    return table


def finished(document: Mapping[str, Any], out: Path, json: bool) -> None:
    """The findings and the verdict, and where the rest is."""
    if json:
        output.document(document)
        return
    for item in document["findings"]:
        output.show(f"- {item['words']}")
    output.show("", document["verdict"])
    output.say(f"report: {out / 'report.html'}")
