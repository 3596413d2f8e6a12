"""The plan of a run that goes on: from its own run.json alone, on the very images that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnets.architecture import NetworkSpec
from resnets.data import Packed, Rows, Streamed, hold_out, open_source
from resnets.errors import InputError
from resnets.evaluation.losses import RunTarget
from resnets.evaluation.run import read_prepared
from resnets.training.device import Execution, choose_execution
from resnets.training.images import load_images, lost_cache_notes
from resnets.training.plan import Plan, workers_for
from resnets.training.recipe import Recipe
from resnets.training.regression import learnt

# What this machine may lack: what to say where a run must go on as it began, and where it goes on.
_LOST = (
    (
        "native", "kernels that were compiled, and there is no C compiler here any more; install gcc or clang",
        "no C compiler here any more: it goes on by torch's own convolutions, rounded otherwise",
    ),
    (
        "tiles", "the tile multiplier (AMX), which a run cannot use here",
        "no tile multiplier (AMX) here: it goes on with torch's own filters' gradients, rounded otherwise",
    ),
)  # fmt: skip


def resumed_plan(path: Path, info: dict[str, Any], workers: int | None) -> Plan:
    """The plan of a run to resume, from its own run.json alone."""
    recorded, facts = info["source"], info["execution"]
    targets = tuple(map(RunTarget.from_dict, info.get("targets", ())))
    source = open_source(recorded["path"] or recorded["name"], target=[item.name for item in targets] or None)
    if recorded["held_out"]:
        source = hold_out(source, **recorded["held_out"])
    sizes = {name: len(split) for name, split in source.splits.items()}
    if sizes != recorded["splits"] or list(source.classes) != info["classes"]:
        raise InputError(f"{path}: the source {recorded['name']} has changed since the run began; it cannot be resumed")
    prepared, recipe = read_prepared(info["preprocessing"]), Recipe.from_dict(info["recipe"])
    loaded = load_images(
        source, prepared, recipe, recorded["skip_unreadable"], recorded["packed"], recorded.get("kept_side")
    )
    _check_skipped(path, recorded, loaded)
    # Refuses a device that is gone; without a compiler there are no kernels of ours.
    now = choose_execution(device=facts["device"], precision=info["precision"], native=facts.get("native", False))
    facts = {"tiles": now.tiles, **facts}  # not in older runs
    execution = Execution(precision=info["precision"], deterministic=info["deterministic"], **facts)
    notes = lost_cache_notes(loaded["train"])
    for name, began, goes_on in _LOST:
        if getattr(execution, name) and not getattr(now, name):
            if execution.deterministic:
                raise InputError(f"{path}: cannot be resumed bit for bit: it began with {began}")
            notes += (goes_on,)
            break  # without a compiler there are no tiles either
    kept = {name: getattr(execution, name) and getattr(now, name) for name in ("native", "tiles")}
    execution, info = replace(execution, **kept), {**info, "execution": {**facts, **kept}}
    return Plan(
        path, source, NetworkSpec.from_dict(info["spec"]), recipe, prepared, execution,
        info["seed"], workers_for(workers, loaded["train"]), learnt(loaded["train"], targets),
        loaded.get("validation"), {**info, "status": "running"}, notes, targets,
    )  # fmt: skip


def _check_skipped(path: Path, recorded: Mapping[str, Any], loaded: Mapping[str, Packed | Streamed | Rows]) -> None:
    """Refuse to go on with other images than the run began with: one left out, or back again, moves all the others."""
    before = {item["path"] for item in recorded["skipped"]}
    now = {name for part in loaded.values() for name, _ in part.skipped}
    for name in sorted(before ^ now):
        what = "could not be read when the run began, and now can" if name in before else "cannot be read any more"
        raise InputError(f"{path}: cannot be resumed: the image {name} {what}; put it back as it was")
