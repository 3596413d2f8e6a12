"""Run a study: plan it, train what is missing, analyse, and write study.json, the figures and the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnets.errors import InputError
from resnets.files import make_folder, sweep
from resnets.studies import catalogue, estimate, grid, store
from resnets.studies.estimate import Cost
from resnets.studies.report import write_figures, write_report
from resnets.studies.study import SCALES, Analysis, Case, Settings, Study
from resnets.training import folder, lock
from resnets.training.device import choose_execution


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do.

    Attributes:
        study: which; `options` is what `catalogue.find` needed besides its name.
        settings: its size.
        cases: its networks.
        costs: case name → what one run of it costs.
        left: the runs that are still to be trained or measured.
        jobs: processes at once.
        device: where.
        out: the study's folder.
    """

    study: Study
    options: Mapping[str, Any]
    settings: Settings
    cases: Sequence[Case]
    costs: Mapping[str, Cost]
    left: Sequence[tuple[Case, int]]
    jobs: int
    device: str
    out: Path

    @property
    def hours(self) -> float:
        """Expected, for what is left."""
        return estimate.hours(self.costs, [(case.name, seed) for case, seed in self.left], self.jobs)

    @property
    def h200_hours(self) -> float:
        """Calculated, for what is left, one run at a time on an H200."""
        return sum(self.costs[case.name].h200_seconds for case, _ in self.left) / 3600


def make_plan(
    name: str,
    *,
    out: str | os.PathLike[str],
    scale: str = "minutes",
    data: str | os.PathLike[str] | None = None,
    seeds: int | None = None,
    depths: Sequence[int] | None = None,
    jobs: int | None = None,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> StudyPlan:
    """Decide what a study will do, and how long it will take; writes nothing.

    Args:
        name: of the study.
        out: its folder: a new one, or one in which this very study was begun.
        scale: `minutes`, `hours` or `paper`.
        data: a source of images; None is the scale's own.
        seeds: how many; None is the scale's own.
        depths: of the networks, where the study has several.
        jobs: runs at once; None is one a core, or one on an accelerator.
        device: as for `resnets.train`.
        options: for `retrofit`: {"run": folder, "count": units}.

    Raises:
        InputError: bad input of any kind, or a folder that holds something else.
    """
    study = catalogue.find(name, options)
    if scale not in study.presets:
        raise InputError(f"unknown scale '{scale}': the scales are {', '.join(SCALES)}")
    preset = study.presets[scale]
    if seeds is not None and not 1 <= seeds <= 1000:
        raise InputError(f"--seeds {seeds}: expected a number of seeds from 1 to 1000")
    if jobs is not None and not 1 <= jobs <= 1000:
        raise InputError(f"--jobs {jobs}: expected a number of runs at once from 1 to 1000")
    if depths and not preset.depths:
        raise InputError(f"the study {name} compares no depths; leave out --depths")
    settings = Settings(
        scale=scale, data=_source(data if data is not None else preset.data), seeds=tuple(range(seeds or preset.seeds)),
        recipe=preset.recipe, overrides=store.plain(preset.overrides),
        depths=tuple(sorted(set(depths))) if depths else preset.depths,
        options=store.plain(preset.options), size=preset.size,
    )  # fmt: skip
    folder_ = Path(out)
    _check(folder_, study, settings)
    cases = study.cases(settings)
    place = choose_execution(device=device, precision="fp32").device
    count = jobs or ((os.cpu_count() or 1) if place == "cpu" else 1)
    left = grid.missing(study, settings, cases, folder_)
    costs = estimate.costs(cases, settings, place, timed={case.name for case, _ in left})
    return StudyPlan(study, dict(options or {}), settings, cases, costs, left, count, place, folder_)


def _source(data: str | os.PathLike[str]) -> str:
    """A folder by its whole path, so that the study can be continued from anywhere; a built-in source by its name."""
    from resnets.data import BUILTIN

    text = os.fspath(data)
    return text if text in BUILTIN or not Path(text).exists() else str(Path(text).resolve())


def _check(out: Path, study: Study, settings: Settings) -> None:
    """Refuse a folder in which something else was begun."""
    found = store.read_document(out)
    if found is None:
        if out.is_file() or (out / "run.json").exists():
            raise InputError(
                f"{out} is no folder of a study; --out names a new folder, or that of a study to go on with"
            )
        return
    for key, asked in (
        ("study", study.name), ("scale", settings.scale), ("data", settings.data), ("recipe", settings.recipe),
        ("overrides", store.plain(settings.overrides)), ("options", store.plain(settings.options)),
        ("size", settings.size),
    ):  # fmt: skip
        if found.get(key) != asked:
            raise InputError(f"{out} holds a study with {key} {found.get(key)}, not {asked}; choose another --out")


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
        document = _document(plan, before)
        store.write_document(plan.out, document)
        with _counting(plan.out, document, begin):
            yield from grid.train_missing(
                plan.left, plan.settings, plan.out, study=plan.study.name, options=plan.options, jobs=plan.jobs,
                device=plan.device,
            )  # fmt: skip
        if not plan.left and before.get("status") == "finished" and before.get("seeds") == document["seeds"]:
            document = {**document, "command": before["command"], "finished": before["finished"]}
        else:
            document["finished"] = folder.now()
        trained = [
            store.trained(plan.settings, case, store.Place(plan.out, case.name, seed))
            for case in plan.cases for seed in plan.settings.seeds
        ]  # fmt: skip
        analysis = plan.study.analyse(plan.settings, trained)
        seconds = float(before.get("seconds") or 0.0) + (time.monotonic() - begin if plan.left else 0.0)
        document.update(
            status="finished", seconds=seconds, runs=[_run(item, plan.out) for item in trained], **results(analysis)
        )
        finish(plan.out, document)


@contextmanager
def _counting(out: Path, document: dict[str, Any], begin: float) -> Iterator[None]:
    """Keep the seconds of a sitting that ends early."""
    try:
        yield
    except BaseException:
        store.write_document(out, {**document, "seconds": document["seconds"] + time.monotonic() - begin})
        raise


def results(analysis: Analysis) -> dict[str, Any]:
    """The part of study.json that an analysis gives."""
    return dict(store.plain({
        "verdict": analysis.verdict, "findings": [asdict(item) for item in analysis.findings],
        "tables": [asdict(item) for item in analysis.tables], "charts": [asdict(item) for item in analysis.charts],
        "measures": dict(analysis.measures),
    }))  # fmt: skip


def finish(out: Path, document: Mapping[str, Any]) -> None:
    """Write the figures, the report and, last, study.json."""
    make_folder(out)
    plain = store.plain(document)
    write_figures(out, plain)
    write_report(out, plain)
    store.write_document(out, plain)


def head(study: Study) -> dict[str, Any]:
    """What every study.json begins with."""
    return {
        "format": store.FORMAT, "study": study.name, "title": study.title, "question": study.question,
        "source": study.source, "effect": study.effect, "departs": study.departs,
    }  # fmt: skip


def _document(plan: StudyPlan, before: Mapping[str, Any]) -> dict[str, Any]:
    settings = plan.settings
    return {
        **head(plan.study), "status": "running", "scale": settings.scale, "why": plan.study.presets[settings.scale].why,
        "data": settings.data, "seeds": list(settings.seeds), "depths": list(settings.depths),
        "recipe": settings.recipe, "overrides": store.plain(settings.overrides),
        "options": store.plain(settings.options), "size": settings.size, "command": folder.command(),
        "versions": folder.versions(), "hardware": folder.hardware(plan.device), "commit": None,
        "started": before.get("started") or folder.now(), "finished": None,
        "seconds": float(before.get("seconds") or 0),
        "cases": [
            {
                "name": case.name, "facts": dict(case.facts), "spec": plan.costs[case.name].spec.to_dict(),
                "overrides": dict(case.overrides), "depth": plan.costs[case.name].spec.depth,
                "parameters": plan.costs[case.name].parameters, "multiply_adds": plan.costs[case.name].multiply_adds,
            }
            for case in plan.cases
        ],
        "runs": [], "findings": [], "tables": [], "charts": [], "measures": {}, "verdict": "",
    }  # fmt: skip


def _run(item: Any, out: Path) -> dict[str, Any]:
    validation = item.results.get("validation")
    return {
        "case": item.case.name, "seed": item.seed, "path": str(item.run.relative_to(out)),
        "test_error": item.test_error,
        "validation_error": 100.0 - validation["top1"] if validation else None,
        "training_error": item.training_error, "training_loss": item.training_loss,
        "seconds": item.results.get("train_seconds"), "diverged": item.diverged,
    }  # fmt: skip


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
    folder.free_folder(place, "study")
    begin, started = time.monotonic(), folder.now()
    analysis = study.existing([os.fspath(run) for run in runs], os.fspath(data) if data else None, options or {})
    with lock.holding(place):
        document = {
            **head(study), "status": "finished", "scale": None, "why": "", "data": _source(data) if data else None,
            "seeds": [], "depths": [], "recipe": None, "overrides": {},
            "options": {**(options or {}), "runs": [os.fspath(run) for run in runs]},
            "size": None, "command": folder.command(), "versions": folder.versions(),
            "hardware": folder.hardware("cpu"), "commit": None, "started": started, "finished": folder.now(),
            "seconds": time.monotonic() - begin, "cases": [], "runs": [], **results(analysis),
        }  # fmt: skip
        finish(place, document)
    return store.read_document(place) or {}
