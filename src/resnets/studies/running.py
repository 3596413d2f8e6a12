"""Run a study: train what is missing, analyse, and write study.json, the figures and the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import is_litter, make_folder, sweep
from resnets.studies import catalogue, document, grid, store
from resnets.studies.planning import StudyPlan, make_plan, source_name
from resnets.training import folder, lock


def carry_out(plan: StudyPlan) -> Iterator[grid.Event]:
    """Train what is missing, yielding what happens; then analyse and write everything into the plan's folder.

    It may be stopped at any point, and continued by a new plan with the same arguments: nothing finished is repeated.

    Raises:
        InputError: a run was refused, or another process works in the folder.
    """
    begin = time.monotonic()
    with lock.holding(plan.out):
        make_folder(plan.out)
        sweep(plan.out)
        before = store.read_document(plan.out) or {}
        found = document.begun(plan, before)
        store.write_document(plan.out, found)
        with _counting(plan.out, found, begin):
            yield from grid.train_missing(
                plan.left, plan.settings, plan.out, study=plan.study.name, options=plan.options, jobs=plan.jobs,
                device=plan.device,
            )  # fmt: skip
        same = all(before.get(key) == found[key] for key in ("seeds", "depths", "criterion"))
        if not plan.left and before.get("status") == "finished" and same:
            found.update(command=before["command"], finished=before["finished"])
        else:
            found["finished"] = folder.now()
        trained = [
            store.trained(plan.settings, case, store.Place(plan.out, case.name, seed))
            for case in plan.cases for seed in plan.settings.seeds
        ]  # fmt: skip
        analysis = plan.study.analyse(plan.settings, trained)
        seconds = float(before.get("seconds") or 0.0) + (time.monotonic() - begin if plan.left else 0.0)
        found.update(
            status="finished", seconds=seconds, runs=[document.run_row(item, plan.out) for item in trained],
            **document.results(analysis),
        )  # fmt: skip
        document.finish(plan.out, found, earlier=before.get("charts") or ())


@contextmanager
def _counting(out: Path, found: Mapping[str, Any], begin: float) -> Iterator[None]:
    """Keep the seconds of a sitting that ends early."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # a full disk must not hide what happened
            store.write_document(out, {**found, "seconds": found["seconds"] + time.monotonic() - begin})
        raise


def run_study(name: str, *, out: str | os.PathLike[str], **asked: Any) -> dict[str, Any]:
    """Run a study to its end; the arguments are those of `make_plan`.

    Returns:
        The content of study.json: plain data.

    Raises:
        InputError: see `make_plan` and `carry_out`.
    """
    plan = make_plan(name, out=out, **asked)
    for _ in carry_out(plan):
        pass
    return store.read_document(plan.out) or {}


def study_existing(
    name: str, runs: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None, options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Analyse networks that are there already: run folders, or weights where the study takes them.

    Args:
        name: of a study that does: gradients, responses, lesions, landscape.
        runs: run folders, or what `--weights` takes.
        out: a new folder for study.json, figures and report.
        data: images; None takes each run's own.
        options: of the study.

    Returns:
        The content of study.json.

    Raises:
        InputError: the study takes no existing runs, one cannot be opened, or `out` holds something.
    """
    study = catalogue.find(name)
    if study.existing is None:
        known = ", ".join(item.name for item in catalogue.every() if item.existing)
        raise InputError(f"the study {name} trains its own networks; --run is for {known}")
    place = Path(out)
    _check_free(place)
    begin, started = time.monotonic(), folder.now()
    analysis = study.existing([os.fspath(run) for run in runs], os.fspath(data) if data else None, options or {})
    with lock.holding(place):
        found = {
            **document.head(study), "status": "finished", "scale": None, "why": "",
            "data": source_name(data) if data else None,
            "seeds": [], "depths": [], "recipe": None, "overrides": {},
            "options": {**(options or {}), "runs": [os.fspath(run) for run in runs]},
            "size": None, "command": folder.command(), "versions": folder.versions(),
            "hardware": folder.hardware("cpu"), "started": started, "finished": folder.now(),
            "seconds": time.monotonic() - begin, "cases": [], "runs": [], **document.results(analysis),
        }  # fmt: skip
        document.finish(place, found)
    return store.read_document(place) or {}


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out names a new folder for the study")
    if out.exists() and not all(is_litter(file.name) for file in out.iterdir()):
        raise InputError(f"{out} is not empty; --out names a new folder for the study")
