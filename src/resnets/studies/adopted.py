"""Runs that are there already, as what a study's analysis takes: the cases are read off their run.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.architecture import NetworkSpec
from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.studies.study import Case, Settings, Trained


def adopt(runs: Sequence[str], measure: Callable[[Run], Mapping[str, Any]]) -> tuple[Settings, list[Trained]]:
    """Measure finished runs: runs of one network, recipe and source are seeds of one case.

    Args:
        runs: their folders.
        measure: as `Study.measure`.

    Returns:
        Settings that hold no more than the analysis needs, and the runs. A case's facts are `facts_of`'s; `alike` tells
        what two runs must share to be compared: all but shortcuts and seed.

    Raises:
        InputError: no runs, a folder that holds none, or what `measure` refuses.
    """
    if not runs:
        raise InputError("no run is named; give the folder of a finished one, or several: --run RUN")
    opened = [Run.open(path) for path in runs]
    names: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    found = []
    for run in opened:
        facts = {**facts_of(run.spec), "alike": _alike(run)}
        kind = json.dumps([run.spec.to_dict(), facts["alike"]])
        name = names.get(kind) or _free(run.spec.name or str(run.info.get("arch") or "network"), names.values())
        seed = int(run.info.get("seed") or 0)
        if (name, seed) in seen:  # the same run again, or one that differs in what no field here says
            name, kind = _free(run.path.resolve().name, names.values()), str(run.path.resolve())
        names[kind] = name
        seen.add((name, seed))
        curve = [record for record in run.records() if record["kind"] == "epoch"]
        found.append(
            Trained(Case(name, run.spec, facts), seed, run.path, run.info.get("results") or {}, curve, measure(run))
        )
    seeds = tuple(sorted({run.seed for run in found}))
    sources = ", ".join(sorted({str(run.source.get("name", "")) for run in opened}))
    return Settings("existing", sources, seeds, "", {}, tuple(sorted({run.spec.depth for run in opened}))), found


def facts_of(spec: NetworkSpec) -> dict[str, Any]:
    """`kind` (plain: no unit has a shortcut; else residual) and `depth` in layers."""
    plain = not any(spec.has_shortcut(index) for index in range(spec.total_units))
    return {"kind": "plain" if plain else "residual", "depth": spec.depth}


def of_imported(name: str, spec: NetworkSpec, measured: Mapping[str, Any]) -> Trained:
    """Weights that are no run, measured."""
    return Trained(Case(name, spec, {**facts_of(spec), "alike": name}), 0, Path(name), {}, [], measured)


def _alike(run: Run) -> str:
    spec = {
        key: value for key, value in run.spec.to_dict().items() if key not in ("shortcut", "shortcut_units", "name")
    }
    recipe = {key: value for key, value in run.recipe.items() if key != "name"}
    return json.dumps([spec, recipe, run.source.get("name"), run.source.get("path")], sort_keys=True)


def _free(name: str, taken: Any) -> str:
    used, count = set(taken), 2
    free = name
    while free in used:
        free, count = f"{name} ({count})", count + 1
    return free
